"""A snapshot that is pinned, and the SQL that reads it as if it were hot. Whoever searches needs this and no catalog.

    pinned.record.hot_condition()                 # what to add to a WHERE over the hot table
    if pinned.overlaps(low, high):                 # else the cold tier need not be asked
        pinned.select(["timestamp", "message"], low, high)    # a SELECT, with `pinned.parameters` to be bound

A pinned snapshot and the record in it belong together: the hot table without the record's epochs, and the cold table
at that snapshot, have each event once, whatever commits and drops go on.

ClickHouse is given the metadata file by name. Left to itself it takes the highest number that it finds in the folder,
which may be of a commit that lost a race. Credentials are bound parameters, so no statement has them in its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from storage.cold_columns import hot_columns
from storage.errors import ColdUnavailable
from storage.numbers import FIRST_SHARD
from storage.record import Record, ShardRecord

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
    location: str
    sequence: int  # grows with every snapshot of the table

    @property
    def parameters(self) -> dict[str, str]:
        """To be bound in every statement that has `source` or `select` in it."""
        return dict(self.place.parameters)

    @property
    def source(self) -> str:
        """The table function, to stand behind FROM; its columns are those of the cold table."""
        return f"{self.place.call}, SETTINGS iceberg_metadata_file_path = '{self.metadata}')"

    def shard(self, number: int = FIRST_SHARD) -> ShardRecord:
        """What is cold of a shard."""
        return self.record.shard(number)

    def overlaps(self, low: int | None, high: int | None) -> bool:
        """May there be events at low <= time < high?"""
        if self.low is None or self.high is None:
            return False
        return (low is None or low < self.high) and (high is None or high > self.low)

    def about(self, low: int | None, high: int | None) -> int:
        """How many events there are at low <= time < high, were they spread evenly over the time that they span."""
        if self.low is None or self.high is None or not self.overlaps(low, high):
            return 0
        first = self.low if low is None else max(low, self.low)
        end = self.high if high is None else min(high, self.high)
        return self.rows * (end - first) // max(self.high - self.low, 1)

    def columns(self) -> dict[str, str]:
        """Hot column → its SQL over a row `cold`: the value and the type that it had when it was hot."""
        return hot_columns(self.record.raw)

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


def place_of(location: str, properties: Mapping[str, Any], named_collection: str = "") -> Place:
    """The table function for a table's location; `properties`: those of the catalog, with S3's among them."""
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        return Place("icebergLocal({cold_path:String}", {"cold_path": parts.path})
    if parts.scheme not in ("s3", "s3a", "s3n"):
        raise ColdUnavailable(f"cannot read {parts.scheme}:// from clickhouse", "use a local folder or s3://")
    url = _url(parts.netloc, parts.path, properties)
    if named_collection:
        name = re.sub(r"\W", "", named_collection)
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
