"""The folder of a backup, and the one file that says what is in it, written last: without it a backup is half.

    backup.json          what was taken, when, and every other file with its size and SHA-256
    backup.partial       there while the backup is being made
    configuration.toml   what held, without secrets
    patterns.toml        what operators say about patterns
    gateway/             spool, ledger, dead letters
    hot/                 ClickHouse's own backup of the tables, where its server is the embedded one; others have theirs
                         on a disk of their own, under the backup's id, and of a cluster the shard's number
    cold/NAMESPACE/      the Parquet files of the cold tables, where they were to be copied

What a later backup says is in an earlier one (its base) is not in its own folder again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from storage.embedded_files import write_private
from storage.errors import BackupDamaged, BackupRefused
from storage.numbers import FIRST_SHARD

FORMAT = 2
MANIFEST, PARTIAL = "backup.json", "backup.partial"
HOT, COLD, GATEWAY = "hot", "cold", "gateway"
CONFIGURATION, PINS = "configuration.toml", "patterns.toml"
CHUNK = 1 << 20


@dataclass(frozen=True)
class HotPart:
    """What is there of one ClickHouse: `tables` as (database, table), `migrations` by namespace, the system's as \"\".

    `disk`: of an outside server, on which the backup lies at `path`; empty: it is in the folder. `shard`: its number,
    and `name`, empty of a server alone.
    """

    version: str
    disk: str
    tables: tuple[tuple[str, str], ...]
    migrations: Mapping[str, tuple[int, ...]]
    shard: int = FIRST_SHARD
    name: str = ""

    def path(self, id_: str) -> str:
        """Where it is on its disk, as a part of the backup of this id."""
        return f"{id_}/{self.shard}" if self.name else id_


@dataclass(frozen=True)
class ColdFile:
    """One Parquet file of a cold table, by its name below the table's data folder; `slot`: its day or hour."""

    name: str
    slot: int
    size: int


@dataclass(frozen=True)
class ColdPart:
    """One cold table: where it was, the snapshot that is held, and its files where they were copied."""

    namespace: str
    metadata: str
    snapshot_id: int
    unit: str
    record: str
    rows: int
    copied: bool
    files: tuple[ColdFile, ...] = ()


@dataclass(frozen=True)
class Base:
    """The backup that another stands on."""

    id: str
    folder: str


@dataclass(frozen=True)
class Manifest:
    """What a backup is. `taken`: RFC 3339; what was acknowledged by then is in it.

    `shards`: the names of a cluster's, in their order, also of those that it was made without; none of a server alone.
    """

    id: str
    neve: str
    taken: str
    hot: tuple[HotPart, ...]
    cold: tuple[ColdPart, ...] = ()
    spooled: int = 0
    dead_letters: int = 0
    base: Base | None = None
    shards: tuple[str, ...] = ()
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def without(self) -> tuple[str, ...]:
        """The shards whose hot tier is not in it."""
        there = {one.shard for one in self.hot}
        return tuple(name for number, name in enumerate(self.shards, FIRST_SHARD) if number not in there)

    def part(self, shard: int) -> HotPart | None:
        """The hot tier of the shard of this number, where it is in it."""
        return next((one for one in self.hot if one.shard == shard), None)

    def to_text(self) -> str:
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1)

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Raises ValueError, KeyError, TypeError for what is none, or was changed."""
        said = json.loads(text)
        if said.pop("checksum") != _checksum(said) or (format_ := said.pop("format")) not in (1, FORMAT):
            raise ValueError("its checksum or format is another")
        hot = [said["hot"]] if format_ == 1 else said["hot"]  # that was of one server always
        cold = [
            ColdPart(**{**one, "files": tuple(ColdFile(**file) for file in one["files"])})
            for one in said["cold"]
        ]
        files = {name: (size, digest) for name, (size, digest) in said["files"].items()}
        base = Base(**said["base"]) if said["base"] else None
        parts = tuple(map(_hot_part, hot))
        shards = tuple(said.get("shards", ()))
        return cls(
            **{**said, "hot": parts, "cold": tuple(cold), "files": files, "base": base, "shards": shards}
        )


def begin(folder: Path, id_: str) -> None:
    """Make the folder, which a backup has not finished until `finish`. Raises BackupRefused, OSError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        half = folder.is_dir() and (folder / PARTIAL).exists()
        what = "an earlier backup did not finish there" if half else "it is not empty"
        raise BackupRefused(
            f"cannot back up to {folder}: {what}", "name a folder that is empty, or not there"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / PARTIAL, id_)


def finish(folder: Path, manifest: Manifest) -> Manifest:
    """Sync and sum every file, and say that the backup is whole; what it says of itself then. Raises OSError."""
    files = {}
    for path in _files(folder):
        digest = _digest(path, sync=True)
        files[str(path.relative_to(folder))] = (path.stat().st_size, digest)
    for below in [one for one in folder.rglob("*") if one.is_dir()]:
        _sync_folder(below)
    manifest = replace(manifest, files=files)
    write_private(folder / MANIFEST, manifest.to_text())
    (folder / PARTIAL).unlink()
    _sync_folder(folder)
    return manifest


def read(folder: Path) -> Manifest:
    """What a backup says of itself. Raises BackupRefused where it is none, or half; BackupDamaged."""
    try:
        text = (folder / MANIFEST).read_text()
    except OSError:
        if (folder / PARTIAL).exists():
            raise BackupRefused(
                f"cannot use backup {folder}: it did not finish", "make another; this one can be deleted"
            ) from None
        raise BackupRefused(f"cannot find a backup: {folder}", "name the folder of neve backup") from None
    try:
        return Manifest.from_text(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupDamaged(f"cannot read {folder / MANIFEST}: {error}") from None


def chain(folder: Path) -> list[tuple[Path, Manifest]]:
    """A backup and those that it stands on, the last first. Raises BackupRefused, BackupDamaged."""
    found = [(folder, read(folder))]
    while (base := found[-1][1].base) is not None:
        # Beside the backup it may be found after both have moved.
        here = found[-1][0].absolute().parent / Path(base.folder).name
        place = here if here.exists() else Path(base.folder)
        manifest = read(place)
        if manifest.id != base.id:
            raise BackupRefused(
                f"cannot use backup {found[-1][0]}: {place} is not the backup that it stands on",
                f"put that of id {base.id} there",
            )
        found.append((place, manifest))
    return found


def verify(folder: Path, manifest: Manifest) -> int:
    """Read every file and compare; the bytes that were. Raises BackupDamaged for the first that is another."""
    total = 0
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        try:
            found = path.stat().st_size
            same = found == size and _digest(path) == digest
        except OSError as error:
            raise BackupDamaged(f"cannot read {path}: {error.strerror}") from None
        if not same:
            raise BackupDamaged(f"cannot trust {path}: it is not what was backed up")
        total += size
    return total


def verify_all(folder: Path, tell: Callable[[str], None]) -> None:
    """Compare every file of a backup, and of those that it stands on. Raises BackupRefused, BackupDamaged."""
    for place, manifest in chain(folder):
        size = verify(place, manifest)
        tell(
            f"{place}: backup {manifest.id} of {manifest.taken}: {len(manifest.files)} files, {size:,} bytes, all right"
        )
        for part in manifest.hot:
            if part.disk:
                of = f" of shard {part.name}" if part.name else ""
                tell(
                    f"{place}: the hot tier{of} is on clickhouse's disk {part.disk}, as {part.path(manifest.id)}, "
                    "where it was not looked at"
                )
        for name in manifest.without:
            tell(f"{place}: it is without shard {name}: what was hot there is not in it")


def _hot_part(said: dict[str, Any]) -> HotPart:
    tables = tuple(map(tuple, said["tables"]))
    migrations = {name: tuple(versions) for name, versions in said["migrations"].items()}
    return HotPart(**{**said, "tables": tables, "migrations": migrations})


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Its files but those that say how far it is, in order. A folder that cannot be looked into is an error."""
    for top, below, names in os.walk(folder, onerror=_fail):
        below.sort()
        for name in sorted(names):
            if Path(top) != folder or name not in (MANIFEST, PARTIAL):
                yield Path(top) / name


def _fail(error: OSError) -> None:
    raise error


def _digest(path: Path, *, sync: bool = False) -> str:
    summed = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            summed.update(chunk)
        if sync:
            os.fsync(file.fileno())
    return summed.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
