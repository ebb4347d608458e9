"""Data files of a cold table, written anew without some of their events, and the commit that puts them in their place.

Compaction leaves nothing out; deletion, retention by service and going back to the hot tier leave out what they are
about. ClickHouse reads and decides, one partition's files at a time; the answer is compared before the old files are
forgotten for good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from storage import cold_columns, cold_schema
from storage.arrow import arrow_batches
from storage.cold import ColdTier
from storage.commits import Change, Plan, commit
from storage.config import ClickHouseConfig
from storage.copying import SETTINGS, delete_files
from storage.errors import ColdBroken
from storage.hot import Hot
from storage.matching import Matching
from storage.parquet import PartitionFiles, rows_of
from storage.pinned import Pinned
from storage.record import Record

HASH = (
    "sum(cityHash64(toUnixTimestamp64Nano(timestamp), fingerprint, message, block_id, row)) AS hash, "
    "count() AS rows"
)
HASHED = ("timestamp", "fingerprint", "message", "block_id", "row")
FILE = "neve_file"
QUERY_BYTES = 16 << 20  # of a statement that has the names of thousands of files in it


@dataclass(frozen=True)
class Found:
    """A data file that has such events: how many, and of which epochs."""

    file: DataFile
    rows: int
    epochs: frozenset[int]


class Rewriter:
    """Changes the files of one table. Whoever has one holds the ager's lease."""

    def __init__(
        self, hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, namespace: str, table: Table
    ) -> None:
        self.hot = hot
        self.clickhouse = clickhouse
        self.cold = cold
        self.namespace = namespace
        self.table = table

    def pinned(self) -> Pinned:
        """The present snapshot."""
        self.table.refresh()
        found = self.cold.pinned(self.namespace, self.table)
        assert found is not None
        return found

    def find(self, matching: Matching) -> list[Found]:
        """The files of the present snapshot that have such events."""
        pinned = self.pinned()
        if not pinned.overlaps(matching.low, matching.high):
            return []
        rows = pinned.select(pinned.columns(), matching.low, matching.high, matching.cold_where)
        rows = f"SELECT {_NAME} AS {FILE}, {rows.removeprefix('SELECT ')}"
        sql = (
            f"SELECT {FILE}, count() AS n, groupUniqArray(epoch) AS epochs FROM ({rows}) WHERE {matching.where} "
            f"GROUP BY {FILE}"
        )
        found = self.hot.query(sql, {**matching.values, **pinned.parameters}, {"max_execution_time": 0}).rows
        files = {_name(file): file for file in data_files(self.table)}
        return [Found(files[name], rows, frozenset(epochs)) for name, rows, epochs in found]

    def without(
        self,
        kind: str,
        files: Sequence[Found],
        matching: Matching,
        change: Callable[[Record], Record] | None = None,
    ) -> int:
        """Write files anew without such events, and commit that; how many went.

        `change`: record → record. Raises ColdBroken where others have replaced the files meanwhile.
        """
        pinned = self.pinned()
        old = [one.file for one in files]
        written: list[DataFile] = []
        for one in files:
            if one.rows < one.file.record_count:
                written += self.rewrite(pinned, [one.file], label_in(one.file), matching)
        gone = sum(one.rows for one in files)
        if not self.replace(kind, pinned, old, written, matching, gone, change):
            raise ColdBroken(
                f"cannot rewrite files of {self.namespace}: others have replaced them", "try again"
            )
        return gone

    def rewrite(
        self, pinned: Pinned, files: Sequence[DataFile], label: str, matching: Matching | None = None
    ) -> list[DataFile]:
        """Files of one partition as new ones, in order, without such events. Nothing names them yet."""
        names = cold_schema.column_names()
        cold = ", ".join(f"{_as_copied(name)} AS kept_{name}" for name in names)
        rows = f"SELECT {cold} FROM {pinned.source} AS cold WHERE {in_files(files)}"
        values: dict[str, Any] = dict(pinned.parameters)
        if matching is not None:
            hot = ", ".join(f"{sql} AS {name}" for name, sql in pinned.columns().items())
            both = f"SELECT {cold}, {hot} FROM {pinned.source} AS cold WHERE {in_files(files)}"
            kept = ", ".join(f"kept_{name}" for name in names)
            rows = f"SELECT {kept} FROM ({both}) WHERE NOT ({matching.where})"
            values |= matching.values
        columns = ", ".join(f"kept_{name} AS {name}" for name in names)
        sql = f"SELECT {columns} FROM ({rows}) ORDER BY kept_service, kept_timestamp"
        made = PartitionFiles(self.table, files[0].partition[0], label)
        try:
            settings = {**SETTINGS, "max_query_size": QUERY_BYTES}
            with arrow_batches(self.clickhouse, sql, settings, values) as batches:
                for batch in batches:
                    made.write(batch)
            return made.close()
        except BaseException:
            made.abandon()
            raise

    def replace(
        self,
        kind: str,
        before: Pinned,
        old: Sequence[DataFile],
        new: Sequence[DataFile],
        matching: Matching | None = None,
        gone: int = 0,
        change: Callable[[Record], Record] | None = None,
    ) -> bool:
        """Commit that the new files are in the old ones' place, and compare. False where others were faster.

        Raises ColdBroken where events are not what they were; then nothing has changed.
        """
        if rows_of(new) != rows_of(old) - gone:
            delete_files(self.table, list(new))
            raise ColdBroken(
                f"cannot rewrite files of {self.namespace}: {rows_of(new)} of {rows_of(old) - gone} events were kept"
            )

        def plan(table: Table, record: Record) -> Change | None:
            present = {file.file_path for file in data_files(table)}
            if not present.issuperset(file.file_path for file in old):
                return None
            return Change(record if change is None else change(record), append=tuple(new), delete=tuple(old))

        if commit(self.table, kind, plan) is None:
            delete_files(self.table, list(new))
            return False
        if new and self._hash(before, old, matching) != self._hash(self.pinned(), new):
            commit(self.table, "take-back", _back(before, old, new))
            raise ColdBroken(
                f"cannot trust the rewritten files of {self.namespace}",
                "they were taken back; look at the disk",
            )
        return True

    def forget_deleted(self) -> None:
        """Leave behind the manifests that say what was deleted: they have bounds of it, texts among them."""

        def plan(table: Table, record: Record) -> Change | None:
            snapshot = table.current_snapshot()
            manifests = snapshot.manifests(table.io) if snapshot is not None else []
            if all(one.has_added_files() or one.has_existing_files() for one in manifests):
                return None
            return Change(record, anew=True)

        commit(self.table, "forget", plan)

    def _hash(
        self, pinned: Pinned, files: Sequence[DataFile], but: Matching | None = None
    ) -> tuple[Any, ...]:
        copy = pinned.select(pinned.columns() if but is not None else HASHED, where=[in_files(files)])
        where = f" WHERE NOT ({but.where})" if but is not None else ""
        values = {**(but.values if but is not None else {}), **pinned.parameters}
        settings = {"max_threads": 1, "max_query_size": QUERY_BYTES}
        return self.hot.query(f"SELECT {HASH} FROM ({copy}){where}", values, settings).rows[0]


def _back(before: Pinned, old: Sequence[DataFile], new: Sequence[DataFile]) -> Plan:
    return lambda _table, _record: Change(before.record, append=tuple(old), delete=tuple(new))


def data_files(table: Table) -> list[DataFile]:
    """The data files of the present snapshot."""
    return [task.file for task in table.scan().plan_files()]


def label_in(file: DataFile) -> str:
    """How a file's name starts: it tells whose it is (`copying.label_of`)."""
    return _name(file).rpartition("/")[2].partition("-")[0]


_NAME = "splitByString('/data/', cold._path)[-1]"


def _name(file: DataFile) -> str:
    return file.file_path.rpartition("/data/")[2]


def in_files(files: Sequence[DataFile]) -> str:
    """A condition on where a row is read from. Names of files are ours, and have no quote in them."""
    names = [_name(file) for file in files]
    if any("'" in name or "\\" in name for name in names):
        raise ColdBroken("cannot use names of data files", "they are not Neve's")
    ends = ", ".join(f"'{name}'" for name in names)
    return f"{_NAME} IN ({ends})"


def _as_copied(name: str) -> str:
    """A cold column with the type that the copy of an epoch has."""
    if name in cold_columns.CATEGORIES:
        return f"toLowCardinality(cold.{name})"
    return cold_columns.tags_cast(f"cold.{name}") if name in cold_columns.TAGS else f"cold.{name}"
