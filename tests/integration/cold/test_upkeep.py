"""Retention, compaction, expiry, orphans, and a catalog that was lost."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage import upkeep
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.errors import ColdBroken
from storage.record import record_at, record_of
from storage.restoring import restore, stored_namespaces
from storage.upkeep import Upkeep, data_files

Both = Any
DAY = 86400
START = 1_700_000_000 // DAY * DAY


def days(both: Both, make_block: Any, events: Any, count: int) -> None:
    both.insert(make_block([one for day in range(count) for one in events(5, (START + day * DAY) * 10**9)]))
    both.age()


def test_retention_drops_old_days_and_their_counts(both: Both, make_block: Any, events: Any) -> None:
    days(both, make_block, events, 10)
    both.insert(make_block(events(3, (START + 20 * DAY) * 10**9)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    chores = Upkeep(both.ager, now=lambda: START + 12 * DAY + 1)
    assert chores.retain(both.namespace, table, Policy(keep_days=5)) == 35
    assert both.count() == (18, 18)
    assert both.hot.scalars(f"SELECT sum(count) AS n FROM {both.database}.rollup") == [18]
    assert record_at(table).shard().names(1)
    assert chores.retain(both.namespace, table, Policy(keep_days=5)) == 0
    assert chores.retain(both.namespace, table, Policy(keep_days=0)) == 0


def test_retention_by_service(both: Both, make_block: Any, events: Any) -> None:
    """Some are kept for shorter, some for longer, some for ever."""
    policy = Policy(keep_days=5, services={"short": 2, "long": 8, "ever": 0})
    both.ager.cold.config.namespaces[both.namespace] = policy

    def insert() -> None:
        both.insert(
            make_block(
                [
                    one
                    for day in range(10)
                    for service in ("short", "long", "ever", "other")
                    for one in events(3, (START + day * DAY) * 10**9, service=service)
                ]
            )
        )

    insert()
    both.age()
    insert()
    both.ager.close_present(both.namespace)

    def left(now: float) -> dict[str, int]:
        Upkeep(both.ager, now=lambda: now).run(both.namespace)
        sql = f"SELECT service, sum(count) AS n FROM {both.database}.rollup GROUP BY service HAVING n > 0"
        found = dict(both.hot.query(sql).rows)
        assert both.count() == (sum(found.values()),) * 2
        return {service: n // 6 for service, n in found.items()}

    assert left(START + 10 * DAY) == {"short": 2, "long": 8, "ever": 10, "other": 5}
    assert left(START + 10 * DAY + 60) == {"short": 2, "long": 8, "ever": 10, "other": 5}
    assert left(START + 12 * DAY) == {"long": 6, "ever": 10, "other": 3}
    both.age()
    assert left(START + 99 * DAY) == {"ever": 10}


def test_compaction_makes_few_files_of_many(
    both: Both, make_block: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "COMPACT_FILES", 3)
    for number in range(5):
        both.insert(
            make_block(
                [*events(20, step=10**7, service=f"s{number}"), {"message": b"\xff", "tags": {"a": b"\xfe"}}]
            )
        )
        both.age()
    table = both.cold.catalog.table(both.namespace)
    before = both.cold_events()
    pinned = both.cold.pin(both.namespace)
    assert Upkeep(both.ager).compact(both.namespace, table) == 2
    # The last epoch is not known to be dropped by the record, so its files wait.
    assert len(data_files(table)) == 4
    assert both.cold_events() == before
    old = both.hot.query(f"SELECT count() AS n FROM ({pinned.select(['row'])})", pinned.parameters)
    assert old.rows == [(105,)]  # who pinned the snapshot before still reads it
    assert Upkeep(both.ager).compact(both.namespace, table) == 0


def test_expiry_keeps_the_last_and_the_young(both: Both, make_block: Any, events: Any) -> None:
    for _ in range(3):
        both.insert(make_block(events(5)))
        both.age()
    table = both.cold.catalog.table(both.namespace)
    assert Upkeep(both.ager).expire(both.namespace, table, Policy(snapshot_days=1)) == 0
    later = Upkeep(both.ager, now=lambda: time.time() + 2 * DAY)
    assert later.expire(both.namespace, table, Policy(snapshot_days=1)) == 2
    assert len(table.metadata.snapshots) == 1
    assert record_of(table.current_snapshot()).shard().epochs
    assert both.count() == (15, 15)


def test_orphans_go_and_what_is_named_stays(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    folder = Path(table.location().removeprefix("file://"))
    old, young = folder / "data" / "old.parquet", folder / "data" / "young.parquet"
    for path in (old, young):
        path.write_bytes(b"x")
    for path in folder.rglob("*"):
        if path != young and path.is_file():
            os.utime(path, (1, 1))
    assert Upkeep(both.ager).remove_orphans(both.namespace, table) == 1
    assert not old.exists()
    assert young.exists()
    assert both.count() == (5, 5)


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_orphans_stay_while_the_catalog_is_an_old_one(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    backup = (both.cold.config.folder / "catalog.db").read_bytes()
    both.insert(make_block(events(6)))
    both.age()
    (both.cold.config.folder / "catalog.db").write_bytes(backup)
    cold = ColdTier(both.cold.config)
    table = cold.catalog.table(both.namespace)
    assert table.scan().count() == 5
    both.ager.cold = cold
    assert Upkeep(both.ager, now=lambda: time.time() + 9 * DAY).remove_orphans(both.namespace, table) == 0
    restore(both.hot, cold, both.namespace, replace=True)
    both.cold = cold
    assert both.count() == (11, 11)


def test_nothing_is_built_upon_an_old_catalog(both: Both, make_block: Any, events: Any) -> None:
    """Its next snapshots would say that all is cold which has left the hot tier, and some day be read."""
    both.insert(make_block(events(5)))
    both.age()
    catalog = both.cold.config.folder / "catalog.db"
    backup = catalog.read_bytes()
    both.insert(make_block(events(6)))
    both.age()

    def refused(replace: bool) -> None:
        both.cold = both.ager.cold = ColdTier(both.cold.config)
        for _ in range(3):
            both.insert(make_block(events(1)))
            with pytest.raises(ColdBroken, match="older state than what queries read"):
                both.age()
        restore(both.hot, both.cold, both.namespace, replace=replace)
        both.age()

    catalog.write_bytes(backup)
    refused(replace=True)
    assert both.count() == (14, 14)
    catalog.unlink()
    refused(replace=False)
    assert both.count() == (17, 17)


def test_what_another_process_has_published_is_compared_before_it_is_dropped(
    both: Both, make_block: Any, events: Any
) -> None:
    both.insert(make_block(events(5)))
    both.age(grace=99.0, wait=False)
    both.hot.query(
        f"ALTER TABLE {both.database}.events DELETE WHERE message = 'number 1'",
        settings={"mutations_sync": 2},
    )
    other = Ager(both.hot, both.clickhouse.config, both.cold)
    with pytest.raises(ColdBroken, match="cannot trust the cold copy"):
        other.age(both.namespace, Wish(grace=0))
    assert both.hot_rows() == 4


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_lost_catalog_is_made_again(both: Both, make_block: Any, events: Any) -> None:
    for count in (5, 6):
        both.insert(make_block(events(count)))
        both.age()
    for path in both.cold.config.folder.glob("catalog.db*"):
        path.unlink()
    cold = ColdTier(both.cold.config)
    assert cold.pin(both.namespace) is None
    assert stored_namespaces(cold.catalog) == [both.namespace]
    restore(both.hot, cold, both.namespace)
    both.cold = cold
    assert both.count() == (11, 11)
    with pytest.raises(ColdBroken, match="the catalog has it"):
        restore(both.hot, cold, both.namespace)


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_warehouse_that_lacks_a_file_is_not_restored(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    table.io.delete(data_files(table)[0].file_path)
    with pytest.raises(ColdBroken, match="no metadata file is whole"):
        restore(both.hot, both.cold, both.namespace, replace=True)


def test_a_namespace_without_a_cold_tier(
    new_both: Any, config: ColdConfig, make_block: Any, events: Any
) -> None:
    both = new_both(replace(config, default=Policy(tier="hot", keep_days=3)))
    both.insert(make_block(events(5)))
    both.ager.close_present(both.namespace)
    both.insert(make_block(events(2)))
    Upkeep(both.ager).run(both.namespace)
    assert both.hot_rows() == 7
    Upkeep(both.ager, now=lambda: time.time() + 4 * DAY).run(both.namespace)
    assert both.hot_rows() == 2
    assert both.hot.scalars(f"SELECT sum(count) AS n FROM {both.database}.rollup") == [2]


def test_a_namespace_without_a_cold_tier_keeps_a_service_for_longer(
    new_both: Any, config: ColdConfig, make_block: Any, events: Any
) -> None:
    both = new_both(replace(config, default=Policy(tier="hot", keep_days=3, services={"audit": 30})))
    now = time.time_ns()
    both.insert(make_block([*events(4, now, service="audit"), *events(1, now, service="web")]))
    both.ager.close_present(both.namespace)
    Upkeep(both.ager, now=lambda: time.time() + 4 * DAY).run(both.namespace)
    assert both.hot.scalars(f"SELECT service FROM {both.database}.events") == ["audit"] * 4
    Upkeep(both.ager, now=lambda: time.time() + 32 * DAY).run(both.namespace)
    assert both.hot_rows() == 0


def test_what_is_cold_of_a_namespace_that_has_a_cold_tier_no_more_goes_when_it_is_old(
    both: Both, make_block: Any, events: Any
) -> None:
    days(both, make_block, events, 3)
    both.insert(make_block(events(2, (START + 4 * DAY) * 10**9)))
    both.age()
    both.ager.cold.config.namespaces[both.namespace] = Policy(tier="hot", keep_days=3, snapshot_days=0)
    both.insert(make_block(events(4, time.time_ns())))
    Upkeep(both.ager, now=lambda: START + 6 * DAY).run(both.namespace)
    assert both.count() == (6, 6)
    both.ager.close_present(both.namespace)
    Upkeep(both.ager, now=lambda: time.time() + 5 * DAY).run(both.namespace)
    assert both.count() == (0, 0)
    assert both.hot.scalars(f"SELECT sum(count) AS n FROM {both.database}.rollup") == [0]
    Upkeep(both.ager, now=lambda: time.time() + 7 * DAY).run(both.namespace)
    table = both.cold.catalog.table(both.namespace)
    assert not [path for path, _ in upkeep.stored_files(table) if path.endswith(".parquet")]
