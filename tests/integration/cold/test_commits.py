"""The one way to commit: lost answers, conflicts, foreign hands."""

from __future__ import annotations

from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table

from storage import commits, upkeep
from storage.commits import Change, commit
from storage.errors import ColdBroken, ColdUnavailable
from storage.record import Record, record_at, record_of
from storage.upkeep import Upkeep

Both = Any


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(commits, "LONGEST_PAUSE_SECONDS", 0.002)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, *, after: bool, times: int = 1) -> None:
    """Let commits fail, before they are done or after."""
    real, left = Table._do_commit, [times]

    def do_commit(self: Table, **what: Any) -> None:
        left[0] -= 1
        if left[0] >= 0 and not after:
            raise error
        real(self, **what)
        if left[0] >= 0:
            raise error

    monkeypatch.setattr(Table, "_do_commit", do_commit)


def test_commit_landed_and_the_answer_was_lost(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    both.insert(make_block(events(5)))
    both.cold.catalog.made(both.namespace)
    failing(monkeypatch, CommitStateUnknownException("gateway timeout"), after=True)
    assert both.age() == 5
    assert both.count() == (5, 5)
    table = both.cold.catalog.table(both.namespace)
    assert len(table.metadata.snapshots) == 1
    assert table.scan().to_arrow().num_rows == 5


def landing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next commit fail, and land once it has been looked for."""
    real, landed, sent = Table._do_commit, commits._landed, []

    def do_commit(self: Table, **what: Any) -> None:
        if sent:
            real(self, **what)
            return
        sent.append((self, what))
        raise CommitStateUnknownException("gateway timeout")

    def look(*of: Any) -> bool:
        found = landed(*of)
        table, what = sent[0]
        real(table, **what)
        return found

    monkeypatch.setattr(Table, "_do_commit", do_commit)
    monkeypatch.setattr(commits, "_landed", look)


def test_a_commit_that_landed_after_all_keeps_its_files(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    """To its own next try it looks like somebody else's, whose files are not to be deleted."""
    both.insert(make_block(events(5)))
    both.cold.catalog.made(both.namespace)
    with monkeypatch.context() as patched:
        landing_late(patched)
        assert both.age() == 5
    assert len(both.cold_events()) == 5
    monkeypatch.setattr(upkeep, "COMPACT_FILES", 2)
    for _ in range(2):
        both.insert(make_block(events(5)))
        both.age()
    table = both.cold.catalog.table(both.namespace)
    with monkeypatch.context() as patched:
        landing_late(patched)
        assert Upkeep(both.ager).compact(both.namespace, table) == 1
    assert len(both.cold_events()) == 15
    assert both.count() == (15, 15)


@pytest.mark.parametrize(
    "error", [CommitFailedException("x"), CommitStateUnknownException("x"), OSError("x")]
)
def test_commit_did_not_land(
    both: Both, make_block: Any, events: Any, monkeypatch: Any, error: Exception
) -> None:
    both.insert(make_block(events(5)))
    both.cold.catalog.made(both.namespace)
    failing(monkeypatch, error, after=False, times=3)
    assert both.age() == 5
    assert both.count() == (5, 5)


def test_a_catalog_that_never_takes_it_leaves_the_events_hot(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    both.insert(make_block(events(5)))
    both.cold.catalog.made(both.namespace)
    failing(monkeypatch, ConnectionError("key=hush"), after=False, times=99)
    with pytest.raises(ColdUnavailable) as raised:
        both.age()
    assert "hush" not in str(raised.value)
    assert both.hot_rows() == 5
    monkeypatch.undo()
    assert both.age() == 5
    assert both.count() == (5, 5)


def test_records_of_commits_that_race_add_up(both: Both) -> None:
    table = both.cold.catalog.made(both.namespace)

    def plan(epoch: int) -> Any:
        def change(_table: Table, record: Record) -> Change:
            if epoch == 1 and not record.shard().epochs:  # another gets in between the plan and the commit
                commit(both.cold.catalog.table(both.namespace), "test", plan(2))
            return Change(record.with_epoch(epoch, epoch, []))

        return change

    commit(table, "test", plan(1))
    assert dict(record_at(both.cold.catalog.table(both.namespace)).shard().epochs) == {1: 1, 2: 2}


def test_a_snapshot_of_somebody_else_is_refused(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    table.append(table.scan().to_arrow())
    with pytest.raises(ColdBroken, match="only Neve may commit"):
        both.cold.pin(both.namespace)


def test_pyiceberg_does_not_try_again_by_itself(both: Both) -> None:
    table = both.cold.catalog.made(both.namespace)
    with table.transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "4"})
    commit(table, "test", lambda _table, record: Change(record.with_epoch(1, 1, [])))
    assert both.cold.catalog.table(both.namespace).properties["commit.retry.num-retries"] == "0"


def test_every_commit_of_every_kind_has_a_record(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    for snapshot in both.cold.catalog.table(both.namespace).metadata.snapshots:
        assert record_of(snapshot).shard().epochs
        assert snapshot.summary.additional_properties["neve.kind"]
