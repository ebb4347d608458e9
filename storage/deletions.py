"""Deletions: what somebody wants gone from both tiers, kept until nothing of it can be on the way any more.

One is recorded before anything is deleted, so whoever comes after a crash goes on with it. When it is done it goes on
to hold for what was taken before and comes late (from spools, dead letters, agents that were away): the ager deletes
that from each epoch before it ages. A deletion is forgotten after HELD_DAYS, with the query, which may itself have what
was to be deleted in it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage import schema
from storage.matching import Matching
from storage.results import Result

DELETIONS = f"{schema.SYSTEM_DATABASE}.deletions"
HELD_DAYS = 30
SECOND = 10**9


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


@dataclass(frozen=True)
class Deletion:
    """One request. Times are nanoseconds since 1970.

    `until`: the epoch that was present when it was asked for. Of that and those before it, all that matches goes; of
    what came later, what is older than the request. `through`: the hot tier has been cleaned up to this epoch.
    `recount`: cold epochs whose counts are not right yet.
    """

    namespace: str
    query: str
    matching: Matching
    asked_at: int = field(default_factory=time.time_ns)
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    until: int = 0
    version: int = 0
    done: bool = False
    through: int = 0
    hot_rows: int = 0
    cold_rows: int = 0
    recount: frozenset[int] = frozenset()

    @property
    def what(self) -> Matching:
        """The events that go."""
        asked = f"fromUnixTimestamp64Nano(toInt64({int(self.asked_at)}), 'UTC')"
        late = f"(epoch <= {int(self.until)} OR timestamp < {asked})"
        return replace(self.matching, where=f"({self.matching.where}) AND {late}")

    def to_json(self) -> dict[str, Any]:
        """As `GET /cold/deletions` has it."""
        return {
            "id": self.id,
            "namespace": self.namespace,
            "query": self.query,
            "asked_at": self.asked_at,
            "done": self.done,
            "hot": self.hot_rows,
            "cold": self.cold_rows,
        }


def record(hot: Asks, deletion: Deletion) -> Deletion:
    """Write down how far it is."""
    deletion = replace(deletion, version=deletion.version + 1)
    matching = deletion.matching
    said = {
        "where": matching.where,
        "values": matching.values,
        "low": matching.low,
        "high": matching.high,
        "cold_where": matching.cold_where,
        "query": deletion.query,
        "asked_at": deletion.asked_at,
        "until": deletion.until,
        "done": deletion.done,
        "through": deletion.through,
        "hot_rows": deletion.hot_rows,
        "cold_rows": deletion.cold_rows,
        "recount": sorted(deletion.recount),
    }
    hot.execute(
        f"INSERT INTO {DELETIONS} SELECT {{namespace:String}}, {{id:String}}, {{version:UInt64}}, now64(3), "
        "{said:String}",
        {
            "namespace": deletion.namespace,
            "id": deletion.id,
            "version": deletion.version,
            "said": json.dumps(said),
        },
    )
    return deletion


def active(hot: Asks, namespace: str = "") -> list[Deletion]:
    """Those that hold, the oldest first; of every namespace where none is given."""
    sql = (
        "SELECT namespace, id, max(version) AS version, argMax(said, deletions.version) AS said "
        f"FROM {DELETIONS} AS deletions WHERE {{n:String}} IN ('', namespace) "
        f"AND said_at > now() - toIntervalDay({HELD_DAYS}) GROUP BY namespace, id ORDER BY min(said_at), id"
    )
    return [_read(*row) for row in hot.query(sql, {"n": namespace}).rows]


def _read(namespace: str, id_: str, version: int, text: str) -> Deletion:
    said = json.loads(text)
    matching = Matching(said["where"], said["values"], said["low"], said["high"], tuple(said["cold_where"]))
    return Deletion(
        namespace, said["query"], matching, said["asked_at"], id_, said["until"], version, said["done"],
        said["through"], said["hot_rows"], said["cold_rows"], frozenset(said["recount"]),
    )  # fmt: skip
