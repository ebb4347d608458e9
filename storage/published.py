"""Which snapshot of the cold tier queries read: the ager says so in the registry, before anything leaves the hot tier.

    commit → compare → publish → grace → drop

So whoever asks the registry of ClickHouse, which it needs anyway, knows both tiers at one moment and needs neither the
catalog nor a library for it. A query that read what was published before a drop, and the hot tier after it, would miss
the events in between: `TierState.misses` tells, and then the query is to be asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from storage import schema
from storage.cold_config import ColdConfig
from storage.errors import ColdBroken
from storage.pinned import Pinned, place_of
from storage.record import Record
from storage.results import Result

SNAPSHOTS = f"{schema.SYSTEM_DATABASE}.snapshots"
STATES = f"{schema.SYSTEM_DATABASE}.epoch_states"


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


@dataclass(frozen=True)
class TierState:
    """What is where. `epochs`: those that the hot tier has parts of; `dropped`: those up to it may have left it."""

    dropped: int
    epochs: frozenset[int]
    pinned: Pinned | None

    @property
    def hot_epochs(self) -> tuple[int, ...]:
        """The epochs to be read from the hot tier, in order."""
        names = self.pinned.shard().names if self.pinned is not None else lambda _epoch: False
        return tuple(sorted(epoch for epoch in self.epochs if not names(epoch)))

    def misses(self, later: TierState) -> bool:
        """Has an epoch that this state takes for hot become cold, and left the hot tier, by that later state?"""
        if later.dropped <= self.dropped or later.pinned is None:
            return False
        if self.pinned is not None and self.pinned.shard().names(later.dropped):
            return False
        return later.pinned.shard().names(later.dropped)


_COLUMNS = ("sequence", "snapshot_id", "metadata", "record", "low", "high", "rows", "location")
# A tuple keeps what is NULL, which argMax alone leaves out.
_LAST = ", ".join(f"argMax(tuple({name}), (sequence, said_at)).1 AS last_{name}" for name in _COLUMNS)


def tier_state(hot: Asks, config: ColdConfig, namespace: str) -> TierState:
    """What is where now, by one question."""
    sql = (
        "SELECT dropped, epochs, last.* FROM "
        f"(SELECT max(epoch) AS dropped FROM {STATES} WHERE namespace = {{n:String}} AND state = 'dropped') AS gone "
        "CROSS JOIN (SELECT groupUniqArray(toUInt32OrZero(partition)) AS epochs FROM system.parts "
        "WHERE active AND table = 'events' AND database = {d:String}) AS present "
        f"CROSS JOIN (SELECT {_LAST} FROM {SNAPSHOTS} WHERE namespace = {{n:String}}) AS last"
    )
    asked = {"n": namespace, "d": schema.namespace_database(namespace)}
    dropped, epochs, *last = hot.query(sql, asked).rows[0]
    return TierState(dropped, frozenset(epochs), _pinned(namespace, config, *last))


def _pinned(
    namespace: str, config: ColdConfig, sequence: int, snapshot_id: int, metadata: str, record: str,
    low: int | None, high: int | None, rows: int, location: str,
) -> Pinned | None:  # fmt: skip
    if not metadata:
        return None
    place = place_of(location, config.catalog, config.named_collection)
    try:
        said = Record.from_text(record)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ColdBroken(f"cannot read what was published of {namespace}", "age or restore it again") from None
    return Pinned(namespace, snapshot_id, metadata, said, low, high, rows, place, location, sequence)


def publish(hot: Asks, pinned: Pinned) -> None:
    """Let queries read this snapshot from now on. Of two that are published at once the later snapshot holds."""
    names = ("namespace", *_COLUMNS)
    types = (
        "String",
        "Int64",
        "Int64",
        "String",
        "String",
        "Nullable(Int64)",
        "Nullable(Int64)",
        "UInt64",
        "String",
    )
    values = (
        pinned.namespace, pinned.sequence, pinned.snapshot_id, pinned.metadata, pinned.record.to_text(),
        pinned.low, pinned.high, pinned.rows, pinned.location,
    )  # fmt: skip
    bound = ", ".join(f"{{{name}:{type_}}}" for name, type_ in zip(names, types, strict=True))
    hot.execute(
        f"INSERT INTO {SNAPSHOTS} ({', '.join(names)}, said_at) SELECT {bound}, now64(6)",
        dict(zip(names, values, strict=True)),
    )


def forget(hot: Asks, namespace: str) -> None:
    """Withdraw what was published, since the catalog was put back to a snapshot that may be an earlier one."""
    database = schema.namespace_database(
        namespace
    )  # refuses what is no name: a mutation takes no bound parameter
    name = database.removeprefix(f"{schema.SYSTEM_DATABASE}_")
    hot.execute(f"ALTER TABLE {SNAPSHOTS} DELETE WHERE namespace = '{name}' SETTINGS mutations_sync = 1")
