"""Deletion of what a query finds: in both tiers, of what comes late, and out of the files themselves."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from query.plan import make_plan
from query.sources import matching
from storage import deletions, upkeep
from storage.ageing import Wish
from storage.cold_config import Policy
from storage.deletions import Deletion
from storage.record import record_at
from storage.removing import count_both
from storage.restoring import restore
from storage.upkeep import Upkeep, named_files, stored_files

Both = Any
DAY = 86400
SECRET = "jane.roe@example.org"


def deletion(both: Both, query: str, **range_: str) -> Deletion:
    plan = make_plan(query, now=time.time_ns(), namespace=both.namespace, **range_)
    return Deletion(both.namespace, query, matching(plan), until=both.hot.epochs.last(both.namespace)[0])


def delete(both: Both, query: str, **range_: str) -> Deletion:
    asked = deletion(both, query, **range_)
    both.ager.ask_deletion(asked)
    both.ager.delete_pending(both.namespace)
    return next(one for one in deletions.active(both.hot, both.namespace) if one.id == asked.id)


def counted(both: Both) -> int:
    return int(both.hot.scalars(f"SELECT sum(count) AS n FROM {both.database}.rollup")[0])


def mixed(events: Any, count: int, start: int = 1_700_000_000 * 10**9) -> list[dict[str, Any]]:
    """Every third has the secret, in one of the places that a text can be in."""
    made = events(count, start)
    for number, event in enumerate(made[::3]):
        place = number % 3
        event["message"] = f"mail of {SECRET} bounced" if place == 0 else "bounced"
        event["trace_id"] = SECRET if place == 1 else ""
        event["tags"] = {"mail": SECRET} if place == 2 else {}
    return made


ANY = f'"{SECRET}" OR trace_id:"{SECRET}" OR mail:"{SECRET}"'


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_both_tiers(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(mixed(events, 30)))
    both.insert(
        make_block([{**one, "message": b"\xff" + one["message"].encode()} for one in mixed(events, 9)])
    )
    both.age()
    both.insert(make_block(mixed(events, 12)))
    both.ager.close_present(both.namespace)
    both.insert(make_block(mixed(events, 6)))
    kept = [
        one
        for one in both.cold_events() + both.hot_events()
        if SECRET.encode().hex().upper() not in repr(one)
    ]
    assert len(kept) == 20 + 6 + 8 + 4
    done = delete(both, ANY)
    assert (done.done, done.hot_rows, done.cold_rows) == (True, 6, 13)
    assert both.cold_events() + both.hot_events() == kept
    assert both.count() == (38, 38)
    assert counted(both) == 38
    assert count_both(both.hot, both.cold, both.namespace, done.what) == (0, 0)
    assert both.age() == 12
    assert both.count() == (38, 38)
    assert sorted(both.cold_events()) == sorted(kept)


def test_only_the_range(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(10)))
    both.age()
    both.insert(make_block(events(10)))
    done = delete(both, "service:shop", from_="1700000002", to="1700000005")
    assert (done.hot_rows, done.cold_rows) == (3, 3)
    assert both.count() == (14, 14)


def test_all_that_there_is(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(10)))
    both.age()
    both.insert(make_block(events(7)))
    delete(both, "*")
    assert both.count() == (0, 0)
    assert counted(both) == 0
    both.insert(make_block(events(5, time.time_ns() + 10**9)))
    both.age()
    assert both.count() == (5, 5)


def test_what_comes_late_goes_and_what_is_new_stays(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(4)))
    delete(both, "service:shop")
    both.insert(make_block(events(5)))  # from a spool, say
    both.insert(make_block(events(6, time.time_ns())))
    both.ager.tend_deletions(both.namespace)
    assert both.count() == (6, 6)
    both.insert(make_block(events(3)))
    assert both.age() == 6
    assert both.count() == (6, 6)
    assert counted(both) == 6


def test_a_namespace_that_is_hot_alone(new_both: Any, config: Any, make_block: Any, events: Any) -> None:
    both = new_both(type(config)(config.folder, default=Policy(tier="hot")))
    both.insert(make_block(mixed(events, 9)))
    delete(both, ANY)
    assert both.count() == (6, 6)


def texts(table: Any) -> Iterator[str]:
    """Everything that can be read from the data and metadata files in a table's folder."""
    for location, _ in list(stored_files(table)):
        with table.io.new_input(location).open() as file:
            data = file.read()
        if location.endswith(".parquet"):
            parquet = pq.ParquetFile(io.BytesIO(data))
            yield repr(parquet.read().to_pylist())
            yield repr([parquet.metadata.row_group(0).to_dict()])
        elif location.endswith(".json"):
            yield data.decode()


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_the_bytes_are_gone_after_expiry(
    both: Both, make_block: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "COMPACT_FILES", 2)
    for _ in range(3):
        both.insert(make_block(mixed(events, 9)))
        both.age()
    table = both.cold.catalog.table(both.namespace)
    assert any(SECRET in one for one in texts(table))
    delete(both, ANY)
    chores = Upkeep(both.ager, now=lambda: time.time() + 9 * DAY)
    table.refresh()
    assert chores.compact(both.namespace, table) == 1
    both.insert(make_block(events(1)))
    both.age()
    table.refresh()
    chores.expire(both.namespace, table, Policy())
    both.ager.publish(both.namespace, table)
    chores.remove_orphans(both.namespace, table)
    assert both.count() == (19, 19)
    assert {place for place, _ in stored_files(table)} <= named_files(table)
    assert len(table.metadata.snapshots) == 1
    assert not any(SECRET in one for one in texts(table))
    for manifest in table.current_snapshot().manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, False):
            file = entry.data_file
            assert table.io.new_input(file.file_path).exists()
            bounds = [*(file.lower_bounds or {}).values(), *(file.upper_bounds or {}).values()]
            assert not any(SECRET.encode() in one for one in bounds)


def test_another_pass_goes_on_where_one_was_cut(
    both: Both, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    both.insert(make_block(mixed(events, 9)))
    both.age()
    both.insert(make_block(mixed(events, 9)))
    with monkeypatch.context() as patched:
        patched.setattr("storage.removing.recount_cold", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            delete(both, ANY)
    assert both.ager.age(both.namespace, Wish(grace=0)) == 6
    assert both.count() == (12, 12)
    assert counted(both) == 12
    assert all(one.done for one in deletions.active(both.hot, both.namespace))
    assert record_at(both.cold.catalog.table(both.namespace))


def test_a_cold_tier_that_was_put_back_to_before_is_cleaned_again(
    both: Both, make_block: Any, events: Any
) -> None:
    both.insert(make_block(mixed(events, 9)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    old = {place for place, _ in stored_files(table)}
    delete(both, ANY)
    for place, _ in list(stored_files(table)):
        if place not in old and place.endswith(".metadata.json"):
            table.io.delete(place)
    restore(both.hot, both.cold, both.namespace, replace=True)
    assert both.count() == (9, 9)
    both.ager.tend_deletions(both.namespace)
    assert both.count() == (6, 6)
    assert counted(both) == 6


def test_a_cold_tier_that_is_left_behind_is_reached(both: Both, make_block: Any, events: Any) -> None:
    """Of a namespace that is to be hot alone from now on."""
    both.insert(make_block(mixed(events, 9)))
    both.age()
    both.cold.config.namespaces[both.namespace] = Policy(tier="hot")
    assert delete(both, ANY).cold_rows == 3
    assert both.count() == (6, 6)
