"""Deletions: what somebody wants gone from both tiers, kept until nothing of it can be on the way any more.

One is recorded before anything is deleted, so whoever comes after a crash goes on with it. When it is done it goes on
to hold for what was taken before and comes late (from spools, dead letters, agents that were away): queries leave that
out from the moment that it is stored, and the ager deletes it from each epoch before it ages.

A deletion is forgotten after HELD_DAYS, with the query, which may itself have what was to be deleted in it; but not
while an inserter has something that it may be about: one that was heard of last with an event from before the request
among what it keeps, or one that is away and was not taken out.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage import schema
from storage.inserters import EVICTIONS, Registry
from storage.matching import Matching
from storage.numbers import first_epoch, shard_of
from storage.results import Result

DELETIONS = f"{schema.SYSTEM_DATABASE}.deletions"
WAITING = f"{schema.SYSTEM_DATABASE}.waiting"
HELD_DAYS = 30
SECOND = 10**9
DAY = 86400 * SECOND


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


class Forgets(Asks, Protocol):
    """What is asked besides before one is forgotten."""

    registry: Registry


@dataclass(frozen=True)
class Deletion:
    """One request. Times are nanoseconds since 1970.

    `until`: the epoch that was present when it was asked for, of the shard that has it: each knows it with one of its
    own. Of that and those before it, all that matches goes; of what came later, what is older than the request.
    `through`: the hot tier has been cleaned up to this epoch. `recount`: cold epochs whose counts are not right yet.
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
    def shard(self) -> int:
        """The shard, by its number, that it is about, and whose registry has it."""
        return shard_of(self.until)

    @property
    def what(self) -> Matching:
        """The events that go."""
        asked = f"fromUnixTimestamp64Nano(toInt64({int(self.asked_at)}), 'UTC')"
        first = first_epoch(self.shard)  # the cold tier has the epochs of all shards
        then = f"(epoch > {first} AND epoch <= {int(self.until)})" if first else f"epoch <= {int(self.until)}"
        late = f"({then} OR timestamp < {asked})"
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


def listed(namespace: str) -> str:
    """A SELECT of what `read` takes of each that holds; `namespace`: a condition on it."""
    return (
        "SELECT namespace, id, max(version) AS latest, argMax(said, deletions.version) AS words "
        f"FROM {DELETIONS} AS deletions WHERE {namespace} GROUP BY namespace, id"
    )


def active(hot: Asks, namespace: str = "") -> list[Deletion]:
    """Those that hold, the oldest first; of every namespace where none is given."""
    found = hot.query(listed("{n:String} IN ('', namespace)"), {"n": namespace}).rows
    return sorted((read(*row) for row in found), key=lambda one: (one.asked_at, one.id))


def reopen(hot: Asks, namespace: str) -> None:
    """Let all that holds be looked for again: the cold tier was put back to a state that may have it."""
    for one in active(hot, namespace):
        record(hot, replace(one, done=False, through=0))


# --- how long one holds ------------------------------------------------------------------------------------------


def say_waiting(hot: Asks, inserter: str, oldest: Mapping[str, int]) -> None:
    """Record what an inserter keeps: by namespace the time of the oldest event that it may yet store, in nanoseconds.

    It holds until the inserter says something else. Whoever keeps nothing of a namespace any more says NOTHING of it.
    """
    if oldest:
        hot.execute(
            f"INSERT INTO {WAITING} SELECT namespace, {{inserter:String}}, oldest, now64(3) FROM (SELECT 1) ARRAY JOIN "
            "{namespaces:Array(String)} AS namespace, {oldest:Array(Int64)} AS oldest",
            {"inserter": inserter, "namespaces": list(oldest), "oldest": list(oldest.values())},
        )


ALL = ""  # for a namespace: every one
ANYTHING, NOTHING = -(2**63), 2**63 - 1


def oldest_of(hot: Asks, inserter: str) -> dict[str, int]:
    """What an inserter said last, by namespace, but for those that it keeps nothing of."""
    sql = (
        f"SELECT namespace, argMax(oldest, w.said_at) AS last FROM {WAITING} AS w WHERE inserter = {{inserter:String}} "
        "GROUP BY namespace"
    )
    said = hot.query(sql, {"inserter": inserter}).rows
    return {namespace: oldest for namespace, oldest in said if oldest != NOTHING}


def oldest_waiting(hot: Asks, namespace: str) -> int:
    """The time of the oldest event that an inserter keeps, in nanoseconds; NOTHING where none keeps any."""
    sql = (
        "SELECT min(last) AS oldest, count() AS n FROM ("
        f"SELECT inserter, argMax(oldest, w.said_at) AS last, max(w.said_at) AS said FROM {WAITING} AS w "
        "WHERE namespace IN ('', {n:String}) GROUP BY inserter, namespace) AS said_of LEFT JOIN "
        f"(SELECT inserter, max(at) AS evicted FROM {EVICTIONS} GROUP BY inserter) AS gone USING (inserter) "
        "WHERE evicted < said"
    )
    oldest, inserters = hot.query(sql, {"n": namespace}).rows[0]
    return int(oldest) if inserters else NOTHING


def forget(hot: Forgets, namespace: str, now: float) -> int:
    """Forget those that are done and that nothing on the way can be about; how many. `now`: seconds since 1970."""
    old = [
        one for one in active(hot, namespace) if one.done and one.asked_at < now * SECOND - HELD_DAYS * DAY
    ]
    if not old or any(not one.live for one in hot.registry.all() if one.holding.namespace == namespace):
        return 0
    oldest = oldest_waiting(hot, namespace)
    gone = [one.id for one in old if one.asked_at <= oldest]
    for id_ in gone:
        # A mutation takes no bound parameters on every version; an id of ours is hexadecimal.
        name = "".join(c for c in id_ if c in "0123456789abcdef")
        hot.execute(f"ALTER TABLE {DELETIONS} DELETE WHERE id = '{name}' SETTINGS mutations_sync = 1")
    return len(gone)


def read(namespace: str, id_: str, version: int, text: str) -> Deletion:
    """What `listed` found of one."""
    said = json.loads(text)
    matching = Matching(said["where"], said["values"], said["low"], said["high"], tuple(said["cold_where"]))
    return Deletion(
        namespace, said["query"], matching, said["asked_at"], id_, said["until"], version, said["done"],
        said["through"], said["hot_rows"], said["cold_rows"], frozenset(said["recount"]),
    )  # fmt: skip
