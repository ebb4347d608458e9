"""Epochs age: what was hot is cold, the same to the byte, and each event is seen once at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storage import ageing, copying
from storage.ageing import Wish
from storage.errors import AgerBusy, ColdBroken
from storage.inserters import Holding, Who
from storage.leases import held
from storage.record import record_at, record_of

DAY = 86400 * 10**9
Both = Any


def test_an_epoch_becomes_cold_and_reads_the_same(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(500, tags={"region": "eu", "user_id": "u1"}, trace_id="t", level="warn")))
    before = both.hot_events()
    assert both.age() == 500
    assert both.hot_rows() == 0
    assert both.cold_events() == before
    assert both.said() == ["close", "copy", "commit", "verify", "drop"]
    assert both.count() == (500, 500)


def test_every_snapshot_has_the_whole_record(both: Both, make_block: Any, events: Any) -> None:
    first = both.insert(make_block(events(3)))
    both.age()
    second = both.insert(make_block(events(4)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    records = [record_of(one).shard() for one in table.metadata.snapshots]
    assert [(one.through, dict(one.epochs)) for one in records] == [(0, {first: 3}), (first, {second: 4})]


def test_nanoseconds_and_old_dates(both: Both, make_block: Any) -> None:
    moments = [
        1,
        999,
        10**9 + 123_456_789,
        -1,
        -DAY,
        -DAY - 1,
        2**62,
        20 * 365 * DAY + 999_999_999,
        -40 * 365 * DAY + 1,
    ]
    both.insert(make_block([{"timestamp": at, "message": str(at)} for at in moments]))
    before = both.hot_events()
    both.age()
    assert both.cold_events() == before
    days = {task.file.partition[0] for task in both.cold.catalog.table(both.namespace).scan().plan_files()}
    assert days == {at // DAY for at in moments}


def test_many_days_and_big_days_are_read_apart(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(copying, "GROUP_ROWS", 60)
    both.insert(make_block(events(200, step=DAY // 25) + events(70, start=1_800_000_000 * 10**9, step=1)))
    before = both.hot_events()
    assert both.age() == 270
    assert both.cold_events() == before


def test_hours(new_both: Any, config: Any, make_block: Any, events: Any) -> None:
    hourly = new_both(replace(config, default=replace(config.default, partition="hour")))
    hourly.insert(make_block(events(30, step=600 * 10**9)))
    before = hourly.hot_events()
    hourly.age()
    assert hourly.cold_events() == before
    assert len(list(hourly.cold.catalog.table(hourly.namespace).scan().plan_files())) == 6
    pinned = hourly.cold.pin(hourly.namespace)
    hour = 3600 * 10**9
    times = [int(one[0]) for one in before]
    assert (pinned.low, pinned.high) == (min(times) // hour * hour, max(times) // hour * hour + hour)


def test_events_that_come_while_others_age_stay_hot(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.ager.close_present(both.namespace)
    both.insert(make_block(events(7)))
    assert both.ager.age(both.namespace, Wish(grace=0)) == 5
    assert both.hot_rows() == 7
    assert both.count() == (12, 12)


def test_before_leaves_younger_epochs(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.ager.close_present(both.namespace)
    assert both.ager.age(both.namespace, Wish(before=1.0, grace=0)) == 0
    assert both.ager.age(both.namespace, Wish(before=4e9, grace=0)) == 5


def test_each_event_is_seen_once_between_commit_and_drop(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    counts = []
    both.ager._sleep = lambda _seconds: counts.append((both.count(), both.hot_rows()))
    both.age(grace=0.3)
    assert counts
    assert set(counts) == {((5, 5), 5)}
    assert both.count() == (5, 5)
    assert both.hot_rows() == 0


def test_a_wrong_copy_is_taken_back(both: Both, make_block: Any, events: Any, monkeypatch: Any) -> None:
    both.insert(make_block(events(5)))
    real = ageing.copy_epoch

    def damaging(*args: Any) -> Any:
        both.hot.execute(
            f"ALTER TABLE {both.database}.events UPDATE message = 'x' WHERE 1 SETTINGS mutations_sync = 2"
        )
        copied = real(*args)
        both.hot.execute(
            f"ALTER TABLE {both.database}.events UPDATE message = 'y' WHERE 1 SETTINGS mutations_sync = 2"
        )
        return copied

    monkeypatch.setattr(ageing, "copy_epoch", damaging)
    with pytest.raises(ColdBroken, match="cannot trust the cold copy"):
        both.age()
    assert both.hot_rows() == 5
    assert both.count() == (5, 5)
    table = both.cold.catalog.table(both.namespace)
    assert not record_at(table).shard().epochs
    assert table.scan().to_arrow().num_rows == 0
    monkeypatch.undo()
    assert both.age() == 5
    assert both.count() == (5, 5)


def test_an_inserter_that_holds_a_block_keeps_the_epoch(both: Both, make_block: Any, events: Any) -> None:
    epoch = both.insert(make_block(events(5)))
    who = Who("slow", f"slow-{both.namespace}", "gateway", "host")
    both.hot.registry.say(who, 1, [Holding(both.namespace, epoch, epoch)])
    both.hot.open_epoch(both.namespace)
    assert both.ager.age(both.namespace, Wish(grace=0)) == 0
    assert both.hot_rows() == 5
    both.hot.registry.say(who, 2, [Holding(both.namespace, epoch + 1, epoch + 1)])
    assert both.ager.age(both.namespace, Wish(grace=0)) == 5


def test_one_ager_at_a_time(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    with held(both.hot, f"ager of {both.namespace}"), pytest.raises(AgerBusy):
        both.age()
    assert both.age() == 5


def test_two_agers_without_a_lease_do_no_harm(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    """As when one slept through its lease: it comes back with files that another has committed meanwhile."""
    both.insert(make_block(events(5)))
    real = ageing.copy_epoch

    def slow(*args: Any) -> Any:
        copied = real(*args)
        monkeypatch.undo()
        monkeypatch.setattr("storage.leases._others", lambda *_: [])
        assert both.ager.age(both.namespace, Wish(grace=0)) == 5
        return copied

    monkeypatch.setattr(ageing, "copy_epoch", slow)
    assert both.age() == 0
    assert both.count() == (5, 5)
    assert both.cold.catalog.table(both.namespace).scan().to_arrow().num_rows == 5


def test_rollup_stays(both: Both, make_block: Any, events: Any) -> None:
    epoch = both.insert(make_block(events(5)))
    both.age()
    counted = f"SELECT sum(count) AS n FROM {both.database}.rollup"
    assert both.hot.scalars(counted) == [5]
    both.hot.rebuild_rollup(both.namespace, epoch)  # as by an inserter that comes back late
    assert both.hot.scalars(counted) == [5]


def test_nothing_to_age(both: Both) -> None:
    assert both.age() == 0
    assert both.cold.pin(both.namespace) is None
