"""Shards of a cluster age into one table, each when it is there; no answer is wrong meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from neve_cold import age_all
from neve_delete import delete_there
from query import sources
from query.overview import histogram
from query.plan import make_plan
from query.tables import run_table
from storage.access.administration import Administration
from storage.ageing import Wish
from storage.cold import ColdTier
from storage.cold_config import Policy
from storage.errors import AgerBusy
from storage.native.block import SealedBlock
from storage.numbers import first_epoch
from storage.record import record_at
from storage.spreading import bring_up_to_date
from storage.upkeep import Upkeep
from tests.integration.conftest import Cluster

MakeBlock = Callable[..., SealedBlock]
Events = Callable[..., list[dict[str, Any]]]
SECOND = first_epoch(2)


def counted(cluster: Cluster, text: str = "") -> tuple[int, list[str]]:
    """How many events a search counts, and what its answer lacks; the same whoever reads the cold tier."""
    plan = make_plan(f"{text or '*'} | stats count() as n", now=time.time_ns(), namespace=cluster.namespace)
    found = []
    for least in (1, sources.APART_EVENTS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "APART_EVENTS", least)
            running = cluster.running()
            table = running.answer(plan, partial(run_table, running=running, max_rows=100, limit=None))
        found.append((table.rows[0][0], running.lacking))
    assert found[0] == found[1]
    return found[0]


def drawn(cluster: Cluster) -> tuple[int, int]:
    """How many events a histogram has in all, and how many rows were read for it."""
    running = cluster.running()
    plan = make_plan("", now=time.time_ns(), namespace=cluster.namespace)
    answer = running.answer(plan, lambda settled: histogram(settled, running, 10, None))
    return sum(one["count"] for one in answer["buckets"]), running.rows_read


def hot_rows(cluster: Cluster, number: int) -> int:
    sql = f"SELECT count() AS n FROM neve_{cluster.namespace}.events"
    return int(cluster.shards.all[number - 1].hot.scalars(sql)[0])


def delete(cluster: Cluster, text: str) -> list[dict[str, Any]]:
    home = cluster.shards.home
    asked = {"q": text, "namespace": cluster.namespace}
    return list(delete_there(home.hot, home.config, ColdTier(cluster.cold), asked, cluster.shards))


def test_both_shards_age_into_one_table(cluster: Cluster, make_block: MakeBlock, events: Events) -> None:
    cluster.insert(1, make_block(events(30)))
    cluster.insert(2, make_block(events(40)))
    assert cluster.age(1) == 30
    assert counted(cluster) == (70, [])
    assert cluster.age(2) == 40
    assert (hot_rows(cluster, 1), hot_rows(cluster, 2)) == (0, 0)
    cluster.insert(2, make_block(events(5)))
    assert counted(cluster) == (75, [])
    assert drawn(cluster)[0] == 75
    table = ColdTier(cluster.cold).catalog.table(cluster.namespace)
    record = record_at(table)
    assert record.names(1)
    assert record.names(SECOND + 1)
    assert not record.names(SECOND + 2)


def test_a_shard_that_is_away_is_left_for_later(
    cluster: Cluster, make_block: MakeBlock, events: Events
) -> None:
    cluster.insert(1, make_block(events(30)))
    cluster.insert(2, make_block(events(40)))
    cluster.age(2)
    cluster.insert(2, make_block(events(6)))
    cluster.kill(2)
    cluster.shards.lost(cluster.shards.all[1], AgerBusy("killed"))
    home = cluster.shards.home
    asked = {"namespace": cluster.namespace, "now": True, "grace": 0}
    said = list(age_all(home.hot, home.config, ColdTier(cluster.cold), asked, cluster.shards))
    assert any(one.get("step") == "away" and "shard b is away" in one["text"] for one in said)
    assert said[-1]["text"] == "30 events became cold"
    assert counted(cluster) == (70, ["shard:b"])  # what is cold of b is in it
    cluster.start(2)
    assert counted(cluster) == (76, [])
    assert cluster.age(2) == 6
    assert counted(cluster) == (76, [])
    assert drawn(cluster)[0] == 76


def test_what_another_shard_committed_and_did_not_compare_is_compared_before_queries_read_it(
    cluster: Cluster, make_block: MakeBlock, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.insert(1, make_block(events(30)))
    cluster.insert(2, make_block(events(40)))
    second = cluster.ager(2)

    def interrupted(*_: Any) -> None:
        raise AgerBusy("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("storage.ageing.Pass._drop_all", interrupted)
        with pytest.raises(AgerBusy, match="interrupted"):
            second.age(cluster.namespace, Wish(now=True, grace=0))
    cluster.steps.clear()
    assert cluster.age(1) == 30
    assert [one.epoch for one in cluster.steps if one.step == "verify"] == [1, SECOND + 1]
    assert counted(cluster) == (70, [])


def test_what_is_deleted_is_gone_from_all_shards_and_stays_hidden_when_it_comes_late(
    cluster: Cluster, make_block: MakeBlock, events: Events
) -> None:
    cluster.insert(1, make_block(events(10)))
    cluster.insert(2, make_block(events(10)))
    cluster.age()
    cluster.insert(1, make_block(events(10)))
    cluster.insert(2, make_block(events(10)))
    said = delete(cluster, '"number 3"')
    assert said[-1]["text"] == "nothing is left that can be found"
    assert counted(cluster) == (36, [])
    assert drawn(cluster)[0] == 36
    cluster.insert(1, make_block(events(10)))
    cluster.insert(2, make_block(events(10)))
    assert counted(cluster) == (54, [])  # both are older than the request
    assert counted(cluster, '"number 3"') == (0, [])
    assert drawn(cluster)[0] == 54
    cluster.kill(2)
    cluster.shards.lost(cluster.shards.all[1], AgerBusy("killed"))
    assert "shard b is away" in delete(cluster, '"number 4"')[0]["error"]["message"]
    assert counted(cluster, '"number 3"') == (0, ["shard:b"])


def test_what_is_deleted_stays_hidden_on_a_shard_that_is_new(
    cluster: Cluster, make_block: MakeBlock, events: Events
) -> None:
    cluster.insert(1, make_block(events(10)))
    delete(cluster, '"number 3"')
    second = cluster.shards.all[1]
    where = {"n": cluster.namespace}
    second.hot.execute("DELETE FROM neve.deletions WHERE namespace = {n:String}", where)
    cluster.insert(2, make_block(events(10)))
    bring_up_to_date(cluster.shards, second)
    assert counted(cluster) == (18, [])
    cluster.age()
    assert counted(cluster) == (18, [])


def test_a_range_comes_back_to_one_shard_from_all(
    cluster: Cluster, make_block: MakeBlock, events: Events
) -> None:
    cluster.insert(1, make_block(events(10)))
    cluster.insert(2, make_block(events(10)))
    cluster.age()
    start = 1_700_000_000 * 10**9
    cluster.ager(2).thaw(cluster.namespace, start, start + 5 * 10**9)
    assert hot_rows(cluster, 2) == 10
    assert counted(cluster) == (20, [])
    assert drawn(cluster)[0] == 20


def test_upkeep_keeps_the_table_of_all_shards(
    cluster: Cluster, make_block: MakeBlock, events: Events
) -> None:
    for _ in range(5):
        for number in (1, 2):
            cluster.insert(number, make_block(events(2)))
        cluster.age()
    upkeep = Upkeep(cluster.ager(1))
    cluster.age(1)  # so that the record knows what was dropped last
    table = ColdTier(cluster.cold).catalog.table(cluster.namespace)
    upkeep.run(cluster.namespace)
    assert any(one.step == "compact" for one in cluster.steps), record_at(table)
    assert counted(cluster) == (20, [])
    policy = Policy(grace_seconds=0, keep_days=1)
    assert upkeep.retain(cluster.namespace, table, policy) > 0
    cluster.age(1)
    assert drawn(cluster)[0] == counted(cluster)[0]


def test_keys_that_are_made_while_a_shard_is_away_are_known_when_it_is_back_alone(cluster: Cluster) -> None:
    kept = Administration(cluster.spread, check_filter=lambda _text: None)
    kept.set_role("before", {})
    cluster.kill(2)
    cluster.shards.lost(cluster.shards.all[1], AgerBusy("killed"))
    kept.set_role("meanwhile", {})
    kept.delete_role("before")
    cluster.start(2)
    cluster.shards.home.state.away = "as if"
    assert set(kept.roles()) == {"meanwhile"}
    cluster.shards.home.state.away = ""
    kept.delete_role("meanwhile")
    assert not kept.roles()
