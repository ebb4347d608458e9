"""The cold tier in a backup.

Files of a cold table never change, so the name of a snapshot is enough as long as its files stay: `hold` puts a tag on
it, which neither expiry nor the clean-up of orphans goes past. Where the files are on the disk that the backup is to
outlive, they are copied, and the table is made anew of them wherever it is restored.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyarrow import parquet as pq
from pyiceberg.io import load_file_io
from pyiceberg.table import StaticTable, Table
from pyiceberg.table.locations import load_location_provider

from storage import cold_schema
from storage.backup.manifest import COLD, ColdFile, ColdPart
from storage.catching_up import catch_up_all
from storage.cold import ColdTier
from storage.commits import Change, commit, speaking_of
from storage.errors import BackupDamaged, ColdUnavailable
from storage.hot import Hot
from storage.parquet import data_file
from storage.published import forget, publish
from storage.record import Record, record_at
from storage.rewriting import data_files

TAG = "neve-backup-"
DATA = "/data/"


def hold(table: Table, id_: str) -> ColdPart | None:
    """Keep the present snapshot, with its files, until `let_go`; None where there is none. Raises ColdUnavailable."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return None
    name, held = TAG + id_, snapshot.snapshot_id

    def plan(table: Table, record: Record) -> Change | None:
        return None if name in table.metadata.refs else Change(record, tag=(name, held))

    commit(table, "hold", plan)
    with speaking_of(table):
        files = [
            (_name_of(one.file_path), int(one.partition[0]), one.file_size_in_bytes)
            for one in data_files(table)
        ]
        rows = sum(one.record_count for one in data_files(table))
    return ColdPart(
        table.name()[-1],
        table.metadata_location,
        held,
        cold_schema.unit_of(table.spec()),
        record_at(table).to_text(),
        rows,
        copied=False,
        files=tuple(ColdFile(*one) for one in files),
    )


def let_go(table: Table, id_: str) -> bool:
    """Give up a hold; whether there was one. What only it kept goes with the next expiry. Raises ColdUnavailable."""
    name = TAG + id_
    there = name in table.metadata.refs

    def plan(table: Table, record: Record) -> Change | None:
        return Change(record, untag=name) if name in table.metadata.refs else None

    commit(table, "release", plan)
    return there


def keep_metadata(table: Table, part: ColdPart, folder: Path) -> None:
    """Put the table's metadata file, without snapshots that may expire, into a backup's folder. Raises OSError."""
    with speaking_of(table), table.io.new_input(part.metadata).open() as stream:
        said = json.loads(stream.read())
    place = folder / COLD / f"{part.namespace}.metadata.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(_only(said, part.snapshot_id)))


def copy(table: Table, part: ColdPart, folder: Path, known: Mapping[str, int]) -> ColdPart:
    """Copy the files of what is held into a backup's folder, but those that its base has, by name and size.

    Raises ColdUnavailable, OSError.
    """
    paths = {_name_of(one.file_path): one.file_path for one in data_files(table)}
    for file in part.files:
        if known.get(file.name) == file.size:
            continue
        target = folder / COLD / part.namespace / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            speaking_of(table),
            table.io.new_input(paths[file.name]).open() as source,
            open(target, "wb") as sink,
        ):
            shutil.copyfileobj(source, sink, 1 << 20)
    return replace(part, copied=True)


# --- restoring ------------------------------------------------------------------------------------------------


def restore_copied(hots: Sequence[Hot], cold: ColdTier, part: ColdPart, folders: Sequence[Path]) -> None:
    """Make a table of the files that were copied, in the warehouse as configured, and let queries read it.

    `hots`: of each shard; `folders`: of the backup and those that it stands on. Raises BackupDamaged, ColdUnavailable.
    """
    table = cold.catalog.made(part.namespace, part.unit)
    provider = load_location_provider(table.location(), table.properties)
    made = []
    for file in part.files:
        source = _find(part, file, folders)
        location = provider.new_data_location(file.name)
        with (
            speaking_of(table),
            open(source, "rb") as stream,
            table.io.new_output(location).create(overwrite=True) as sink,
        ):
            shutil.copyfileobj(stream, sink, 1 << 20)
        made.append(data_file(table, location, file.slot, file.size, pq.read_metadata(source)))
    record = Record.from_text(part.record)
    commit(
        table,
        "restore",
        lambda table, _record: _first(table, Change(record, append=tuple(made), anew=not made)),
    )
    _publish(hots, cold, part.namespace, table)


def restore_held(hots: Sequence[Hot], cold: ColdTier, part: ColdPart, folder: Path) -> str:
    """Point the catalog to what is held in the warehouse; what was done, in a word.

    A catalog that has the table keeps what it has: that is as late, or later. Raises ColdUnavailable, BackupDamaged.
    """
    if part.namespace in cold.catalog.namespaces():
        return "the catalog has it, and keeps what it has"
    place = part.metadata.rpartition("/")[0] + f"/99999-{uuid.uuid4()}.metadata.json"
    kept = folder / COLD / f"{part.namespace}.metadata.json"
    _check_whole(cold, part, kept)
    with cold.catalog.speaking(f"write metadata of {part.namespace}"):
        io = load_file_io(cold.config.properties(), place)
        with io.new_output(place).create() as sink:
            sink.write(kept.read_bytes())
    table = cold.catalog.register(part.namespace, place)
    _publish(hots, cold, part.namespace, table)
    return f"as it was, snapshot {part.snapshot_id}"


def follow(hot: Hot, cold: ColdTier) -> dict[str, int]:
    """Let a hot tier that was put back know what has become cold since; by namespace the epoch that new ones are above.

    Raises ColdUnavailable, ColdBroken.
    """
    ahead = catch_up_all(hot, cold)
    for namespace in cold.catalog.namespaces():
        table = cold.catalog.table(namespace)
        if table is not None and table.current_snapshot() is not None:
            _publish([hot], cold, namespace, table)
    return ahead


def _publish(hots: Sequence[Hot], cold: ColdTier, namespace: str, table: Table) -> None:
    """What the registry says was published is of a table that may be another by now."""
    pinned = cold.pinned(namespace, table)
    assert pinned is not None
    for hot in hots:
        forget(hot, namespace)
        publish(hot, pinned)


def _first(table: Table, change: Change) -> Change | None:
    return change if table.current_snapshot() is None else None


def _find(part: ColdPart, file: ColdFile, folders: Sequence[Path]) -> Path:
    for folder in folders:
        path = folder / COLD / part.namespace / file.name
        if path.exists() and path.stat().st_size == file.size:
            return path
    raise BackupDamaged(f"cannot find file of {part.namespace}: {file.name}")


def _check_whole(cold: ColdTier, part: ColdPart, metadata: Path) -> None:
    """Before anything is written there. Raises ColdUnavailable."""
    missing = 1
    with suppress(OSError, ValueError):
        table = StaticTable.from_metadata(f"file://{metadata.absolute()}", cold.config.properties())
        with cold.catalog.speaking(f"look for the files of {part.namespace}"):
            missing = sum(not table.io.new_input(one.file_path).exists() for one in data_files(table))
    if missing:
        raise ColdUnavailable(
            f"cannot restore {part.namespace}: files of its snapshot {part.snapshot_id} are not where they were",
            "was the hold let go? use a backup that has the files, or neve restore catalog",
        )


def _name_of(path: str) -> str:
    return path.partition(DATA)[2] or path.rpartition("/")[2]


def _only(metadata: dict[str, Any], snapshot_id: int) -> dict[str, Any]:
    """Table metadata with one snapshot, which is the present one."""
    ref = {"snapshot-id": snapshot_id, "type": "branch"}
    return {
        **metadata,
        "current-snapshot-id": snapshot_id,
        "snapshots": [one for one in metadata["snapshots"] if one["snapshot-id"] == snapshot_id],
        "snapshot-log": [
            one for one in metadata.get("snapshot-log", []) if one["snapshot-id"] == snapshot_id
        ],
        "metadata-log": [],
        "refs": {"main": ref},
    }
