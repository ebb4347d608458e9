"""What a backup holds in a warehouse that it does not copy, and what one that was killed leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neve_backup import ASIDE, Place, clear, let_go
from storage.backup import cold as cold_backup
from storage.backup import hot as hot_backup
from storage.cold import ColdTier
from storage.cold_config import Policy
from storage.hot import Hot
from storage.published import tier_state
from storage.upkeep import Upkeep

Both = Any
FUTURE = 4_000_000_000  # after every snapshot of the test


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_what_is_held_outlives_expiry_and_comes_back(
    both: Both, make_block: Any, events: Any, tmp_path: Path
) -> None:
    both.insert(make_block(events(5)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    part = cold_backup.hold(table, "0123456789abcdef")
    assert part is not None
    assert cold_backup.hold(table, "0123456789abcdef") == replace(part, metadata=table.metadata_location)
    cold_backup.keep_metadata(table, part, tmp_path)
    policy = both.cold.config.policy(both.namespace)
    chores = Upkeep(both.ager, now=lambda: FUTURE)
    assert chores.retain(both.namespace, table, Policy(keep_days=1)) == 5
    table.refresh()
    chores.expire(both.namespace, table, policy)
    chores.remove_orphans(both.namespace, table)

    empty = replace(
        both.cold.config,
        folder=both.cold.config.folder / "again",
        catalog={
            **both.cold.config.catalog,
            "uri": f"sqlite:///{tmp_path}/catalog.db",
            "type": "sql",
        },
        warehouse=both.cold.config.warehouse_uri,
    )
    cold = ColdTier(empty)
    assert "as it was" in cold_backup.restore_held([both.hot], cold, part, tmp_path)
    pinned = cold.pin(both.namespace)
    assert pinned is not None
    assert (pinned.rows, pinned.snapshot_id) == (5, part.snapshot_id)
    read = tier_state(both.hot, cold.config, both.namespace).pinned
    assert read is not None
    assert both.hot.scalars(f"SELECT count() AS n FROM ({read.select(['row'])})", read.parameters) == [5]
    assert "keeps what it has" in cold_backup.restore_held([both.hot], cold, part, tmp_path)

    assert let_go(both.cold, "0123456789abcdef") == 1
    assert let_go(both.cold, "0123456789abcdef") == 0
    table.refresh()
    assert chores.expire(both.namespace, table, policy) >= 1
    assert chores.remove_orphans(both.namespace, table) >= 1


def test_what_a_killed_backup_left_is_removed(
    both: Both, make_block: Any, events: Any, tmp_path: Path
) -> None:
    both.insert(make_block(events(2)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    place = Place(tmp_path, "", embedded=False)
    (tmp_path / ASIDE / "fedcba9876543210" / "spool").mkdir(parents=True)
    cold_backup.hold(table, "fedcba9876543210")
    part = hot_backup.freeze(both.hot)
    assert (both.database, "events") in part.tables
    assert clones(both.hot)
    assert clear([both.hot], both.cold, place) == ["fedcba9876543210"]
    assert not clones(both.hot)
    table.refresh()
    assert set(table.metadata.refs) == {"main"}
    assert not list((tmp_path / ASIDE).iterdir())
    assert clear([both.hot], both.cold, place) == []


def clones(hot: Hot) -> list[str]:
    sql = "SELECT name FROM system.databases WHERE startsWith(name, {start:String})"
    return hot.scalars(sql, {"start": hot_backup.CLONES})
