"""A catalog that was lost, made again from the metadata files that lie beside the data.

The file with the highest number need not be the one that the catalog pointed to: a commit that lost a race leaves its
own. So a candidate has to have all its files, and its record every epoch that the hot tier has given up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs
from pyiceberg.io import load_file_io
from pyiceberg.table import StaticTable, Table

from storage.catalog import DATABASE, ColdCatalog
from storage.catching_up import catch_up
from storage.cold import ColdTier
from storage.deletions import reopen
from storage.errors import ColdBroken, NeveError
from storage.hot import Hot
from storage.pinned import Pinned
from storage.published import forget, publish, tier_state
from storage.record import record_at


@dataclass(frozen=True)
class Restored:
    """What the catalog points to now."""

    namespace: str
    metadata: str
    snapshot_id: int | None


def stored_namespaces(catalog: ColdCatalog) -> list[str]:
    """The namespaces that have a folder in the warehouse."""
    root = f"{catalog.config.warehouse_uri.rstrip('/')}/{DATABASE}"
    with catalog.speaking("list cold tables"):
        filesystem, path = _filesystem(catalog, root)
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(one.base_name for one in found if one.type == fs.FileType.Directory)


def restore(hot: Hot, cold: ColdTier, namespace: str, *, replace: bool = False) -> Restored:
    """Let the catalog point, and queries read, the latest metadata file that is whole and has what is not hot any more.

    Raises ColdBroken where there is none, or where the catalog has the table and `replace` is not given.
    """
    catalog, dropped = cold.catalog, hot.epochs.dropped_through(namespace)
    there = namespace in catalog.namespaces()  # whether or not what it points to is there
    if there and not replace:
        raise ColdBroken(f"cannot restore {namespace}: the catalog has it", "say --replace to point it anew")
    read = _published(hot, cold, namespace)
    with catalog.speaking(f"read metadata of {namespace}"):
        found = _latest(catalog, namespace, dropped, read.metadata if read is not None else "")
    if found is None:
        raise ColdBroken(
            f"cannot restore {namespace}: no metadata file is whole and has every epoch up to {dropped}",
            "restore the files of the warehouse first",
        )
    if there:
        catalog.unregister(namespace)
    table = catalog.register(namespace, found.metadata_location)
    pinned = cold.pinned(namespace, table)
    if pinned is not None:
        hot.create_namespace(namespace)
        reopen(hot, namespace)
        if read is None or read.sequence > pinned.sequence:
            forget(hot, namespace)
        catch_up(hot, cold, namespace, table)
        publish(hot, pinned)
    return Restored(namespace, found.metadata_location, pinned.snapshot_id if pinned is not None else None)


def _published(hot: Hot, cold: ColdTier, namespace: str) -> Pinned | None:
    """What queries read; None where that is nothing, or cannot be told."""
    try:
        return tier_state(hot, cold.config, namespace).pinned
    except ColdBroken:
        return None


def _latest(catalog: ColdCatalog, namespace: str, dropped: int, read: str) -> Table | None:
    """`read`: the metadata file that queries read. Of those that are as late, it is the one that won the race."""
    for location in _candidates(catalog, namespace, read):
        try:
            table = StaticTable.from_metadata(location, catalog.config.properties())
            if _covers(table, dropped) and _is_whole(table):
                return table
        except (NeveError, OSError, ValueError):
            continue
    return None


def _candidates(catalog: ColdCatalog, namespace: str, read: str) -> list[str]:
    """The metadata files, the latest first."""
    folder = f"{catalog.location(namespace)}/metadata"
    filesystem, path = _filesystem(catalog, folder)
    found: list[tuple[tuple[int, bool, int], str]] = []
    for one in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        if one.base_name.endswith(".metadata.json"):
            location = f"{folder}/{one.base_name}"
            sequence, updated = _age_of(filesystem, one.path)
            found.append(((sequence, bool(read) and location.endswith(f"/{read}"), updated), location))
    return [location for _, location in sorted(found, reverse=True)]


def _age_of(filesystem: Any, path: str) -> tuple[int, int]:
    try:
        with filesystem.open_input_stream(path) as stream:
            said = json.loads(stream.read())
        return int(said["last-sequence-number"]), int(said["last-updated-ms"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1, -1


def _covers(table: Table, dropped: int) -> bool:
    return dropped == 0 or record_at(table).names(dropped)


def _is_whole(table: Table) -> bool:
    return all(table.io.new_input(task.file.file_path).exists() for task in table.scan().plan_files())


def _filesystem(catalog: ColdCatalog, location: str) -> tuple[Any, str]:
    parts = urlsplit(location)
    io: Any = load_file_io(catalog.config.properties(), location)
    return io.fs_by_scheme(parts.scheme or "file", parts.netloc), f"{parts.netloc}{parts.path}"
