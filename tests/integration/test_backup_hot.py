"""The tables of one server, as another gets them out of its disk for backups: whole, exact, fenced, and migrated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neve_restore import spread_deletions
from storage import deletions
from storage.backup import hot as hot_backup
from storage.config import ShardConfig
from storage.deletions import Deletion
from storage.embedded import EmbeddedServer
from storage.embedded_files import BACKUP_DISK, backups_folder
from storage.errors import BackupRefused, ConfigError, EpochClosed
from storage.hot import Hot
from storage.matching import Matching
from storage.native.block import SealedBlock
from storage.shards import Shards

ID = "0123456789abcdef"
MakeBlock = Callable[..., SealedBlock]


def insert(hot: Hot, namespace: str, block: SealedBlock, epoch: int) -> None:
    hot.insert_blocks(namespace, [block], epoch, block.header.block_id.hex())


def test_tables_come_back_on_another_server(
    hot: Hot, clickhouse: EmbeddedServer, namespace: str, make_block: MakeBlock, tmp_path: Path
) -> None:
    epoch = hot.current_epoch(namespace)
    block, late = (
        make_block([{"message": "one"}, {"message": "two", "fingerprint": 7}]),
        make_block([{"message": "x"}]),
    )
    insert(hot, namespace, block, epoch)
    hot.open_epoch(namespace)
    assert hot.epochs.close(namespace, epoch, 10).closed
    hot.add_templates(namespace, [(7, "two <*>")])
    part = hot_backup.freeze(hot)
    try:
        insert(hot, namespace, late, epoch + 1)  # what comes later is not in it
        hot_backup.write(hot, part, BACKUP_DISK, ID)
    finally:
        hot_backup.thaw(hot)
    folder = backups_folder(clickhouse.data_dir) / ID
    with EmbeddedServer(tmp_path / "clickhouse") as server, Hot(server.config) as other:
        (backups_folder(server.data_dir) / ID).symlink_to(folder)
        newer = replace(part, migrations={**part.migrations, namespace: (1, 2, 999)})
        with pytest.raises(ConfigError, match="cannot make tables of version 999: a newer neve made them"):
            hot_backup.restore(other, newer, BACKUP_DISK, ID)
        hot_backup.restore(other, part, BACKUP_DISK, ID)
        with pytest.raises(
            ConfigError, match="a backup was not put back to its end there; wait for neve restore"
        ):
            other.migrate()
        with pytest.raises(BackupRefused, match="an earlier restore did not finish on this clickhouse; drop"):
            hot_backup.restore(other, part, BACKUP_DISK, ID)
        hot_backup.finish(other)
        assert other.migrate() == 0
        assert other.rows_present(namespace, [block.header.block_id, late.header.block_id]) == {
            block.header.block_id: 2,
            late.header.block_id: 0,
        }
        database = f"neve_{namespace}"
        assert other.scalars(f"SELECT sum(count) AS n FROM {database}.rollup") == [2]
        assert other.scalars(f"SELECT sum(count) AS n FROM {database}.counts") == [2]
        assert other.scalars(f"SELECT template AS t FROM {database}.templates WHERE fingerprint = 7") == [
            "two <*>"
        ]
        assert other.epochs.closed_through(namespace) == epoch
        with pytest.raises(EpochClosed):
            insert(other, namespace, late, epoch)
        insert(other, namespace, late, other.current_epoch(namespace))
        assert other.scalars(f"SELECT sum(count) AS n FROM {database}.rollup") == [3], "the views count on"
        assert other.registry.all() == []
        with pytest.raises(BackupRefused, match="this clickhouse has databases of neve"):
            hot_backup.restore(other, part, BACKUP_DISK, ID)


@pytest.mark.parametrize(("disk", "path"), [("a', '", ID), ("", ID), ("backups", "../x"), ("backups", "a'b")])
def test_what_could_leave_a_statement_is_refused(disk: str, path: str) -> None:
    nobody: Any = None
    part = hot_backup.HotPart("", "", (("neve", "epochs"),), {})
    with pytest.raises(BackupRefused, match="cannot use disk of clickhouse"):
        hot_backup.write(nobody, part, disk, path)


def test_a_deletion_that_only_some_shards_know_holds_on_all(
    hot: Hot, clickhouse: EmbeddedServer, second_clickhouse: EmbeddedServer, namespace: str
) -> None:
    """It was being asked for while tables were cloned."""
    configs = [ShardConfig("a", 1, clickhouse.config), ShardConfig("b", 2, second_clickhouse.config)]
    shards = Shards(configs)
    first, second = shards.all
    try:
        second.hot.migrate()
        second.hot.create_namespace(namespace)
        epoch = second.hot.current_epoch(namespace)
        asked = Deletion(
            namespace, "service:gone", Matching("service = {p0:String}", {"p0": "gone"}), until=7
        )
        deletions.record(hot, replace(asked, done=True, through=7, hot_rows=3))
        spread_deletions(shards.all)
        spread_deletions(shards.all)
        [known] = deletions.active(second.hot, namespace)
        assert (known.id, known.query, known.matching) == (asked.id, asked.query, asked.matching)
        assert (known.until, known.through, known.done, known.hot_rows) == (epoch, 0, False, 0)
        [same] = deletions.active(first.hot, namespace)
        assert (same.until, same.done) == (7, True)
    finally:
        for one in shards:
            one.hot.execute("DELETE FROM neve.deletions WHERE namespace = {n:String}", {"n": namespace})
        second.hot.execute(f"DROP DATABASE neve_{namespace}")
        second.hot.execute("DELETE FROM neve.migrations WHERE scope = {n:String}", {"n": namespace})
        shards.close()
