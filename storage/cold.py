"""The cold tier for whoever changes it: the tables of the catalog, and the snapshots that they are at.

Queries ask no catalog: what they read is in the registry of the hot tier (`published.py`), where the ager says it.
"""

from __future__ import annotations

import re

from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.types import IntegerType

from storage import cold_schema
from storage.catalog import ColdCatalog
from storage.cold_columns import UNIT_SECONDS
from storage.cold_config import ColdConfig
from storage.errors import ColdUnavailable
from storage.pinned import SECOND, Pinned, place_of
from storage.record import record_of


class ColdTier:
    """The catalog, and pins of what it has now. Thread-safe."""

    def __init__(self, config: ColdConfig) -> None:
        self.config = config
        self.catalog = ColdCatalog(config)

    def pin(self, namespace: str) -> Pinned | None:
        """The latest snapshot; None where nothing is cold yet. Raises ColdUnavailable and ColdBroken."""
        table = self.catalog.table(namespace)
        if table is None:
            return None
        with self.catalog.speaking(f"read cold table of {namespace}"):
            return self.pinned(namespace, table)

    def bytes_of(self, namespace: str) -> int:
        """Bytes of the files that the latest snapshot has, 0 where there is none. Raises ColdUnavailable."""
        table = self.catalog.table(namespace)
        snapshot = table.current_snapshot() if table is not None else None
        summary = snapshot.summary if snapshot is not None else None
        return int(summary["total-files-size"] or 0) if summary is not None else 0

    def pinned(self, namespace: str, table: Table) -> Pinned | None:
        """The present snapshot of a table that is loaded."""
        snapshot = table.current_snapshot()
        if snapshot is None:
            return None
        low, high, rows = _extent(table)
        return Pinned(
            namespace,
            snapshot.snapshot_id,
            metadata_file(table),
            record_of(snapshot),
            low,
            high,
            rows,
            place_of(
                table.location(), {**self.config.catalog, **table.io.properties}, self.config.named_collection
            ),
            table.location(),
            snapshot.sequence_number or 0,
        )


def metadata_file(table: Table) -> str:
    """The path of the metadata file within the table, as ClickHouse takes it."""
    found = table.metadata_location.removeprefix(table.location().rstrip("/") + "/")
    if not re.fullmatch(r"[\w./=-]+", found):
        raise ColdUnavailable(f"cannot use metadata file: {found!r}", "it is not within its table's folder")
    return found


def _extent(table: Table) -> tuple[int | None, int | None, int]:
    """The first moment, the moment after the last, by whole partitions; and the rows. One file is read."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    lows: list[int] = []
    highs: list[int] = []
    rows = 0
    for manifest in snapshot.manifests(table.io):
        alive = (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)
        rows += alive
        spec = table.specs()[manifest.partition_spec_id]
        unit = UNIT_SECONDS[cold_schema.unit_of(spec)] * SECOND
        for summary in (manifest.partitions or [])[:1] if alive else []:
            if summary.lower_bound is not None and summary.upper_bound is not None:
                lows.append(int(from_bytes(IntegerType(), summary.lower_bound)) * unit)
                highs.append((int(from_bytes(IntegerType(), summary.upper_bound)) + 1) * unit)
    return min(lows, default=None), max(highs, default=None), rows
