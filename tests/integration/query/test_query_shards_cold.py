"""Each shard reads a part of the cold tier's files: all of them are read, once, whoever goes or cannot read them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from query import asking
from query.plan import make_plan
from query.search import search
from query.tables import run_table
from query.tiers import COLD, HOT
from storage.native.block import SealedBlock
from storage.shards import Shard
from tests.integration.conftest import Cluster

from .test_query_shards import HALF_HOUR, START, plain

pytestmark = pytest.mark.usefixtures("apart")
MakeBlock = Callable[..., SealedBlock]
NOW = START + 400 * HALF_HOUR
Over = tuple[str, dict[str, Any]]


@pytest.fixture
def aged(cluster: Cluster, make_block: MakeBlock) -> Cluster:
    """Eighty cold events of both shards, in five files, and a hot one of each."""
    cluster.insert(1, make_block(plain(40, step=HALF_HOUR)))
    cluster.insert(2, make_block(plain(40, 60, step=HALF_HOUR)))
    assert cluster.age() == 80
    for number in (1, 2):
        cluster.insert(number, make_block(plain(1, 200 + number, step=HALF_HOUR)))
    return cluster


class Statements:
    """Those that are sent over shards, which `before` may look at and change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.before: Callable[[dict[str, Any]], None] = lambda _bound: None
        self.readers: list[int] = []
        real = asking.over

        def over(sql: str, params: Mapping[str, Any], shards: Sequence[Shard]) -> Over:
            text, bound = real(sql, params, shards)
            if "cold_path" in bound:
                self.readers.append(len(shards) if asking.PART in sql else 1)
            if asking.PART in sql:
                self.before(bound)
            return text, bound

        monkeypatch.setattr(asking, "over", over)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Statements:
    return Statements(monkeypatch)


def counted(cluster: Cluster, text: str = "*", **bounds: str) -> tuple[Any, list[str], int]:
    """The rows of a table, what the answer lacks, and how many rows were read."""
    running = cluster.running()
    plan = make_plan(f"{text} | stats count() as n", now=NOW, namespace=cluster.namespace, **bounds)
    table = running.answer(plan, lambda settled: run_table(settled, running, 100, None))
    assert running.tiers == {HOT, COLD}
    return table.rows, running.lacking, running.rows_read


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_part_of_a_shard_that_goes_is_read_by_the_others(
    aged: Cluster, statements: Statements, how: signal.Signals
) -> None:
    pid = aged.servers[1].pid
    assert pid is not None

    def go(_bound: object) -> None:
        """It was well when the query was planned."""
        statements.before = lambda _bound: None
        os.kill(pid, how)

    statements.before = go
    try:
        assert counted(aged)[:2] == ([[81]], ["shard:b"])
        assert statements.readers == [2, 1]
        assert counted(aged)[:2] == ([[81]], ["shard:b"])
        assert statements.readers == [2, 1, 1]
    finally:
        if how is signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)


def test_where_a_shard_cannot_read_the_files_one_reads_them(aged: Cluster, statements: Statements) -> None:
    statements.before = lambda bound: bound.update(cold_path="/nowhere")
    assert counted(aged)[:2] == ([[82]], [])
    assert statements.readers == [2, 1]
    assert counted(aged)[:2] == ([[82]], [])
    assert statements.readers == [2, 1, 1]  # it is known for a while


def test_a_shard_that_lacks_the_namespace_has_no_part(aged: Cluster, statements: Statements) -> None:
    second = aged.shards.all[1].hot
    second.execute(f"DROP DATABASE neve_{aged.namespace}")
    second.execute("DELETE FROM neve.migrations WHERE scope = {n:String}", {"n": aged.namespace})
    assert counted(aged)[:2] == ([[81]], ["shard:b"])
    assert statements.readers == [2, 1]


def test_what_is_read_is_added_up_over_shards(
    aged: Cluster, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    *both, together = counted(aged, "user:u1")
    monkeypatch.setattr("query.sources.APART_EVENTS", 1 << 40)
    *one, alone = counted(aged, "user:u1")
    assert statements.readers == [2, 1]
    assert both == one
    assert together == alone >= 82


def test_few_events_are_read_by_one_shard(
    aged: Cluster, statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the length of the range, of all that is cold: forty of eighty are half of the time that they span, or so."""
    monkeypatch.setattr("query.sources.APART_EVENTS", 60)
    assert counted(aged)[0] == [[82]]
    assert counted(aged, to="2026-02-01T07:00:00Z")[0] == [[38]]
    assert statements.readers == [2, 1]


def test_pages_over_parts_have_each_event_once(aged: Cluster, statements: Statements) -> None:
    found: list[Any] = []
    plan = make_plan("number", now=NOW, namespace=aged.namespace, limit=9)
    while True:
        running = aged.running()
        page = running.answer(plan, lambda settled: search(settled, running))  # noqa: B023
        found += [event["message"] for event in page.events()]
        if page.next_cursor is None:
            break
        plan = plan.with_cursor(page.next_cursor)
    assert found == [f"number {n}" for n in (202, 201, *range(99, 59, -1), *range(39, -1, -1))]
    assert set(statements.readers) == {2}
