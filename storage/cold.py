"""The cold tier for whoever reads it: a snapshot that is pinned, and the SQL that reads it as if it were hot.

    pinned = cold.pin("shop")                      # None: nothing is cold
    pinned.shard().hot_condition()                 # what to add to a WHERE over the hot table
    if pinned.overlaps(low, high):                 # else the cold tier need not be asked
        pinned.select(["timestamp", "message"], low, high)    # a SELECT, with `pinned.parameters` to be bound

A pinned snapshot and the record in it belong together: the hot table without the record's epochs, and the cold table
at that snapshot, have each event once, whatever commits and drops go on. A snapshot stays readable for days, and a hot
partition for the grace period after the commit, so an answer may take its time.

ClickHouse is given the metadata file by name. Left to itself it takes the highest number that it finds in the folder,
which may be of a commit that lost a race. Credentials are bound parameters, so no statement has them in its text.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.types import IntegerType

from storage import cold_schema
from storage.catalog import ColdCatalog
from storage.cold_config import ColdConfig
from storage.errors import ColdUnavailable
from storage.record import ONLY_SHARD, Record, ShardRecord, record_of

PIN_SECONDS = 1.0
"""How long a pin is taken to be the latest without asking the catalog; far below any grace period."""
SECOND = 10**9
MICRO = 1000


@dataclass(frozen=True)
class Place:
    """How ClickHouse is told of a table: a call without its closing bracket, and what is bound in it."""

    call: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pinned:
    """One snapshot of one namespace's cold table. Times are nanoseconds since 1970."""

    namespace: str
    snapshot_id: int
    metadata: str
    record: Record
    low: int | None  # no event is before; None where there are no events
    high: int | None  # every event is before
    rows: int
    place: Place

    @property
    def parameters(self) -> dict[str, str]:
        """To be bound in every statement that has `source` or `select` in it."""
        return dict(self.place.parameters)

    @property
    def source(self) -> str:
        """The table function, to stand behind FROM; its columns are those of the cold table."""
        return f"{self.place.call}, SETTINGS iceberg_metadata_file_path = '{self.metadata}')"

    def shard(self, name: str = ONLY_SHARD) -> ShardRecord:
        """What is cold of a shard: its `hot_condition` goes into every query over the hot table."""
        return self.record.shard(name)

    def overlaps(self, low: int | None, high: int | None) -> bool:
        """May there be events at low <= time < high?"""
        if self.low is None or self.high is None:
            return False
        return (low is None or low < self.high) and (high is None or high > self.low)

    def columns(self) -> dict[str, str]:
        """Hot column → its SQL over a row `cold`: the value and the type that it had when it was hot."""
        return cold_schema.hot_columns(self.record.raw)

    def select(
        self, names: Iterable[str], low: int | None = None, high: int | None = None, where: Iterable[str] = ()
    ) -> str:
        """A SELECT of hot columns. Conditions on them go around it, and ClickHouse pushes them down.

        `low` and `high` prune partitions, files and row groups. They are to the microsecond, rounded outwards:
        compare `timestamp` itself as well where nanoseconds matter. `where`: conditions over a row `cold`.
        """
        known = self.columns()
        columns = ", ".join(f"{known[name]} AS {name}" for name in names)
        conditions = [*time_conditions(low, high), *where]
        clause = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {columns} FROM {self.source} AS cold{clause}"


def time_conditions(low: int | None, high: int | None) -> list[str]:
    """Conditions on the cold table's own timestamp, which it is partitioned by and has bounds of."""
    found = []
    if low is not None:
        found.append(f"cold.timestamp >= {_moment(low // MICRO)}")
    if high is not None:
        found.append(f"cold.timestamp <= {_moment((high - 1) // MICRO)}")
    return found


def _moment(micros: int) -> str:
    return f"fromUnixTimestamp64Micro({int(micros)}, 'UTC')"


class ColdTier:
    """Reads of the cold tier. Thread-safe."""

    def __init__(self, config: ColdConfig) -> None:
        self.config = config
        self.catalog = ColdCatalog(config)
        self._pins: dict[str, tuple[float, Pinned | None]] = {}
        self._lock = threading.Lock()

    def pin(self, namespace: str, max_age: float = PIN_SECONDS) -> Pinned | None:
        """The latest snapshot, at most `max_age` seconds old; None where nothing is cold yet.

        Raises ColdUnavailable: then an answer from the hot tier alone is not complete. And ColdBroken.
        """
        with self._lock:
            asked, known = self._pins.get(namespace, (float("-inf"), None))
        now = time.monotonic()
        if now - asked < max_age:
            return known
        table = self.catalog.table(namespace)
        with self.catalog.speaking(f"read cold table of {namespace}"):
            found = self.pinned(namespace, table, known) if table is not None else None
        with self._lock:
            self._pins[namespace] = (now, found)
        return found

    def pinned(self, namespace: str, table: Table, known: Pinned | None = None) -> Pinned | None:
        """The present snapshot of a table that is loaded."""
        snapshot = table.current_snapshot()
        if snapshot is None:
            return None
        metadata = metadata_file(table)
        if known is not None and known.metadata == metadata:
            return known
        low, high, rows = _extent(table)
        place = place_of(table, self.config)
        record = record_of(snapshot)
        return Pinned(namespace, snapshot.snapshot_id, metadata, record, low, high, rows, place)


def metadata_file(table: Table) -> str:
    """The path of the metadata file within the table, as ClickHouse takes it."""
    found = table.metadata_location.removeprefix(table.location().rstrip("/") + "/")
    if not re.fullmatch(r"[\w./=-]+", found):
        raise ColdUnavailable(f"cannot use metadata file: {found!r}", "it is not within its table's folder")
    return found


def place_of(table: Table, config: ColdConfig) -> Place:
    """The table function for a table's location."""
    parts = urlsplit(table.location())
    if parts.scheme in ("", "file"):
        return Place("icebergLocal({cold_path:String}", {"cold_path": parts.path})
    if parts.scheme not in ("s3", "s3a", "s3n"):
        raise ColdUnavailable(f"cannot read {parts.scheme}:// from clickhouse", "use a local folder or s3://")
    properties = {**table.io.properties, **config.catalog}
    url = _url(parts.netloc, parts.path, properties)
    if config.named_collection:
        name = re.sub(r"\W", "", config.named_collection)
        return Place(f"icebergS3({name}, url = {{cold_path:String}}", {"cold_path": url})
    found = {"cold_path": url}
    call = "icebergS3({cold_path:String}"
    if properties.get("s3.access-key-id"):
        call += ", {cold_key:String}, {cold_secret:String}"
        found["cold_key"] = properties["s3.access-key-id"]
        found["cold_secret"] = properties.get("s3.secret-access-key", "")
        if token := properties.get("s3.session-token"):
            call += ", {cold_token:String}"
            found["cold_token"] = token
    return Place(call, found)


def _url(bucket: str, path: str, properties: Mapping[str, Any]) -> str:
    endpoint = str(properties.get("s3.endpoint") or "").rstrip("/")
    if endpoint:
        return f"{endpoint}/{bucket}{path}/"
    region = properties.get("s3.region") or properties.get("client.region") or "us-east-1"
    return f"https://{bucket}.s3.{region}.amazonaws.com{path}/"


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
        unit = cold_schema.UNIT_SECONDS[cold_schema.unit_of(spec)] * SECOND
        for summary in (manifest.partitions or [])[:1] if alive else []:
            if summary.lower_bound is not None and summary.upper_bound is not None:
                lows.append(int(from_bytes(IntegerType(), summary.lower_bound)) * unit)
                highs.append((int(from_bytes(IntegerType(), summary.upper_bound)) + 1) * unit)
    return min(lows, default=None), max(highs, default=None), rows
