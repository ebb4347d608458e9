"""One epoch of the hot tier → Parquet files of the cold one, at bounded memory whatever its size.

Events are read in the order of the cold table: by day (or hour), service and time. A day with many events is read by
itself, in the order that the hot parts are sorted in, so ClickHouse merges them on the way and sorts nothing. Days
with few events, which late ones make by the hundred, are read together and sorted, at most GROUP_ROWS rows at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import compute
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from storage import cold_columns, cold_schema, schema
from storage.arrow import arrow_batches
from storage.config import ClickHouseConfig
from storage.hot import Hot
from storage.parquet import NotUtf8, PartitionFiles, rows_of

GROUP_ROWS = 100_000
SLOT = "slot"
SETTINGS = {
    # One thread: the ager shall not take a machine from those who search it.
    "max_threads": 1,
    "optimize_read_in_order": 1,
    "max_bytes_before_external_sort": 256 << 20,
    "max_execution_time": 0,
}


@dataclass(frozen=True)
class Copied:
    """The files of an epoch; `raw`: which side columns have anything."""

    files: tuple[DataFile, ...]
    raw: frozenset[str]

    @property
    def rows(self) -> int:
        return rows_of(self.files)

    @property
    def bytes(self) -> int:
        return sum(file.file_size_in_bytes for file in self.files)


@dataclass(frozen=True)
class _Group:
    """Days (or hours) that are read by one query."""

    low: int
    high: int
    slots: int


def copy_epoch(hot: Hot, config: ClickHouseConfig, table: Table, namespace: str, epoch: int) -> Copied:
    """Write the files of an epoch. Nothing knows of them until they are committed; an error deletes them."""
    unit = cold_schema.unit_of(table.spec())
    files: list[DataFile] = []
    raw: set[str] = set()
    try:
        for group in _groups(_slots(hot, namespace, epoch, unit)):
            try:
                files += _copy_group(config, table, namespace, epoch, group, exact=False)
            except NotUtf8:
                files += _copy_group(config, table, namespace, epoch, group, exact=True)
                raw.update(cold_columns.SIDES)
    except BaseException:
        delete_files(table, files)
        raise
    return Copied(tuple(files), frozenset(raw))


def delete_files(table: Table, files: list[DataFile] | tuple[DataFile, ...]) -> None:
    """Delete files that no snapshot names. Those that cannot be deleted are orphans, found by the clean-up."""
    for file in files:
        with suppress(OSError):
            table.io.delete(file.file_path)


def label_of(epoch: int) -> str:
    """How the names of an epoch's files start."""
    return f"e{epoch:010d}"


def _slots(hot: Hot, namespace: str, epoch: int, unit: str) -> list[tuple[int, int]]:
    """The days (or hours) of an epoch's events, in order, with their counts."""
    events = f"{schema.namespace_database(namespace)}.events"
    select = f"SELECT {cold_schema.slot_sql(unit)} AS slot, count() AS n FROM {events} AS e"
    sql = f"{select} WHERE e.epoch = {{epoch:UInt32}} GROUP BY slot ORDER BY slot"
    rows = hot.query(sql, {"epoch": epoch}, {"max_threads": 1}).rows
    return [(int(slot), int(count)) for slot, count in rows]


def _groups(slots: list[tuple[int, int]]) -> Iterator[_Group]:
    low = high = taken = held = 0
    for slot, count in slots:
        if taken and held + count > GROUP_ROWS:
            yield _Group(low, high, taken)
            taken = held = 0
        low = slot if not taken else low
        high, taken, held = slot, taken + 1, held + count
    if taken:
        yield _Group(low, high, taken)


def _copy_group(
    config: ClickHouseConfig, table: Table, namespace: str, epoch: int, group: _Group, *, exact: bool
) -> list[DataFile]:
    unit = cold_schema.unit_of(table.spec())
    written: list[DataFile] = []
    current: PartitionFiles | None = None
    at: int | None = None
    try:
        with arrow_batches(config, _sql(namespace, epoch, group, unit, exact=exact), SETTINGS) as batches:
            for slot, batch in _by_slot(batches, group):
                if slot != at or current is None:
                    written += current.close() if current is not None else []
                    current, at = PartitionFiles(table, slot, label_of(epoch)), slot
                current.write(batch)
        return written + (current.close() if current is not None else [])
    except BaseException:
        if current is not None:
            current.abandon()
        delete_files(table, written)
        raise


def _sql(namespace: str, epoch: int, group: _Group, unit: str, *, exact: bool) -> str:
    """Everything in it is a name of ours or a number."""
    size = cold_columns.UNIT_SECONDS[unit] * 10**9
    columns = [f"{sql} AS {name}" for name, sql in cold_schema.cold_select(exact=exact).items()]
    order = "e.service, e.timestamp"
    if group.slots > 1:
        columns.append(f"{cold_schema.slot_sql(unit)} AS {SLOT}")
        order = f"{SLOT}, {order}"
    moment = "fromUnixTimestamp64Nano(toInt64({}), 'UTC')"
    # A day at the ends of what nanoseconds can say goes over them.
    low, high = max(group.low * size, -(2**63)), min((group.high + 1) * size - 1, 2**63 - 1)
    return (
        f"SELECT {', '.join(columns)} FROM {schema.namespace_database(namespace)}.events AS e "
        f"WHERE e.epoch = {int(epoch)} AND e.timestamp >= {moment.format(low)} "
        f"AND e.timestamp <= {moment.format(high)} ORDER BY {order}"
    )


def _by_slot(batches: Iterator[pa.RecordBatch], group: _Group) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches, cut where the day changes."""
    for batch in batches:
        if batch.num_rows == 0:
            continue
        if group.slots == 1:
            yield group.low, batch
            continue
        runs = compute.run_end_encode(batch.column(SLOT))
        plain = batch.drop_columns([SLOT])
        start = 0
        for slot, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield slot, plain.slice(start, end - start)
            start = end
