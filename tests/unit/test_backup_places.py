"""Whether a backup of a cluster, and the configuration that it is to come back to, fit."""

from pathlib import Path
from typing import Any

import pytest

from neve_backup import Backup, Place
from neve_restore import check_places
from storage.backup.manifest import HotPart, Manifest
from storage.config import ClickHouseConfig, ShardConfig
from storage.errors import BackupRefused
from storage.shards import Shards

NOBODY: Any = None


def servers(*names: str) -> list[ShardConfig]:
    return [
        ShardConfig(name, number, ClickHouseConfig(f"{name}.example")) for number, name in enumerate(names, 1)
    ]


def backup_of(*names: str) -> Manifest:
    parts = tuple(HotPart("26.9.1", "far", (), {}, number, name) for number, name in enumerate(names, 1))
    return Manifest("aa", "0.1.0", "2026-01-31T10:00:00Z", parts, shards=names)


ALONE = Manifest("aa", "0.1.0", "2026-01-31T10:00:00Z", (HotPart("26.9.1", "", (), {}),))


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c"), ("c", "d")])
def test_as_many_shards_or_more_will_do(names: tuple[str, ...]) -> None:
    check_places(backup_of("a", "b"), servers(*names))


def test_a_server_alone_becomes_the_first_shard() -> None:
    check_places(ALONE, [])
    check_places(ALONE, servers("a", "b"))


@pytest.mark.parametrize(
    ("manifest", "names", "words"),
    [
        (backup_of("a", "b"), (), r"is of 2 shards \(a, b\), the configuration names one server"),
        (backup_of("a", "b"), ("a",), "the configuration names one server"),
        (backup_of("a", "b", "c"), ("a", "b"), "the configuration names 2 of them"),
        (backup_of("a", "b"), ("b", "a"), "shard b was number 2 of the cluster, and is number 1 now"),
        (backup_of("a"), (), "the hot tier is on the disk far of a clickhouse of your own"),
    ],
)
def test_what_does_not_fit_is_refused(manifest: Manifest, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(BackupRefused, match=words):
        check_places(manifest, servers(*names))


@pytest.mark.parametrize(
    ("without", "words"),
    [("c", "cannot find shard: 'c'"), ("a b", "cannot back up without any shard")],
)
def test_what_is_left_out_is_a_shard_and_not_all(tmp_path: Path, without: str, words: str) -> None:
    (tmp_path / "data" / "gateway").mkdir(parents=True)
    place = Place(tmp_path / "data", "", disk="far", embedded=False)
    backup = Backup(Shards(servers("a", "b")), NOBODY, place, NOBODY, without.split())
    with pytest.raises(BackupRefused, match=words):
        backup.take(tmp_path / "made")
    assert not (tmp_path / "made").exists()
