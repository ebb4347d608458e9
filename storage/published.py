"""Which snapshot of the cold tier queries read: the ager says so in the registry, before anything leaves the hot tier.

    commit → compare → publish → grace → drop

So whoever asks the registry of ClickHouse, which it needs anyway, knows both tiers at one moment and needs neither the
catalog nor a library for it. A query that read what was published before a drop, and the hot tier after it, would miss
the events in between: `TierState.misses` tells, and then the query is to be asked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from storage import deletions, schema
from storage.cold_config import ColdConfig
from storage.deletions import Deletion
from storage.errors import ColdBroken
from storage.pinned import Pinned, place_of
from storage.record import Record
from storage.results import Result

SNAPSHOTS = f"{schema.SYSTEM_DATABASE}.snapshots"
STATES = f"{schema.SYSTEM_DATABASE}.epoch_states"
FRESH_SECONDS = 1.0


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...


@dataclass(frozen=True)
class TierState:
    """What is where. `epochs`: those that the hot tier has parts of; `dropped`: those up to it may have left it.

    `standing`: deletions that hold for what arrives. Once they are done the cold tier has nothing that they are about.
    """

    dropped: int
    epochs: frozenset[int]
    pinned: Pinned | None
    thawed: int = 0  # the latest epoch that copies of what is cold come into
    standing: tuple[Deletion, ...] = ()
    rows: int = 0  # that the parts of the hot tier have, about

    @property
    def hot_epochs(self) -> tuple[int, ...]:
        """The epochs to be read from the hot tier, in order."""
        return tuple(sorted(epoch for epoch in self.epochs if not self.reads_cold(epoch)))

    def reads_cold(self, epoch: int) -> bool:
        """Is this epoch to be read from the cold tier?"""
        return self.pinned is not None and self.pinned.record.names(epoch)

    def is_plain(self) -> bool:
        """Does what was published know of every move between the tiers?"""
        return all(not epoch or self.reads_cold(epoch) for epoch in (self.dropped, self.thawed))

    def moves(self) -> tuple[int, int, int]:
        """What tells whether another answer is as late as this one."""
        return self.dropped, self.thawed, self.pinned.sequence if self.pinned is not None else -1

    def misses(self, later: TierState) -> bool:
        """Has an epoch that this state takes for hot become cold, and left the hot tier, by that later state?

        One that left it without having become cold is gone for good, and nothing is missed. And may this state, which
        does not know that copies of what it takes for cold came into the hot tier, see both?
        """
        if later.thawed != self.thawed:
            return True
        if later.dropped <= self.dropped or not later.reads_cold(later.dropped):
            return False
        return not self.reads_cold(later.dropped)


_COLUMNS = ("sequence", "snapshot_id", "metadata", "record", "low", "high", "rows", "location")
# A tuple keeps what is NULL, which argMax alone leaves out. One for all columns: a quarter of the question's cost.
_LAST = f"argMax(tuple({', '.join(_COLUMNS)}), (sequence, said_at)) AS newest"
_OF_LAST = ", ".join(f"newest.{place} AS last_{name}" for place, name in enumerate(_COLUMNS, 1))


_STANDING = deletions.listed("namespace = {n:String}")
_MOVED = "maxIf(epoch, state = 'dropped') AS dropped, maxIf(epoch, state = 'thawed') AS thawed"


def tier_state(hot: Asks, config: ColdConfig, namespace: str) -> TierState:
    """What is where now.

    The server reads the parts of the question in no certain order. Where a drop was read, or that an epoch thaws, and
    not what was published before it, the next answer has both. Where that says the same, it is so: a drop that nothing
    was published for is that of a namespace without cold tier, and an epoch that has thawed is hot.
    """
    state = _asked(hot, config, namespace)
    while not state.is_plain():
        again = _asked(hot, config, namespace)
        if again.moves() == state.moves():
            return again
        state = again
    return state


def _asked(hot: Asks, config: ColdConfig, namespace: str) -> TierState:
    sql = (
        f"SELECT dropped, thawed, epochs, events, {_OF_LAST}, standing FROM "
        f"(SELECT {_MOVED} FROM {STATES} WHERE namespace = {{n:String}}) AS gone "
        "CROSS JOIN (SELECT groupUniqArray(toUInt32OrZero(partition)) AS epochs, sum(rows) AS events FROM system.parts "
        "WHERE active AND table = 'events' AND database = {d:String}) AS present "
        f"CROSS JOIN (SELECT {_LAST} FROM {SNAPSHOTS} WHERE namespace = {{n:String}}) AS last "
        f"CROSS JOIN (SELECT groupArray((namespace, id, latest, words)) AS standing FROM ({_STANDING})) AS kept"
    )
    asked = {"n": namespace, "d": schema.namespace_database(namespace)}
    dropped, thawed, epochs, rows, *last, standing = hot.query(sql, asked).rows[0]
    said = tuple(deletions.read(*one) for one in standing)
    return TierState(dropped, frozenset(epochs), _pinned(namespace, config, *last), thawed, said, rows)


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
        raise ColdBroken(
            f"cannot read what was published of {namespace}", "age or restore it again"
        ) from None
    return Pinned(namespace, snapshot_id, metadata, said, low, high, rows, place, location, sequence)


class TierStates:
    """What is where, for those who ask all the time. Thread-safe.

    What was asked a moment ago is good enough to begin with, because `missed` tells whether it was. That the hot tier
    has nothing left is never taken from memory: events may have arrived since.
    """

    def __init__(self, hot: Asks, config: ColdConfig) -> None:
        self._hot = hot
        self._config = config
        self._known: dict[str, tuple[float, TierState]] = {}
        self._lock = threading.Lock()

    def now(self, namespace: str, *, fresh: bool = False) -> TierState:
        """What is where; by a memory of at most FRESH_SECONDS where that will do and `fresh` is not asked for."""
        with self._lock:
            asked, state = self._known.get(namespace, (float("-inf"), None))
        if not fresh and state is not None and state.hot_epochs and time.monotonic() - asked < FRESH_SECONDS:
            return state
        return self._ask(namespace)

    def missed(self, namespace: str, state: TierState) -> bool:
        """May a read that began with this state, and has begun by now, lack events or see some twice?

        It lacks those that became cold meanwhile, and sees those twice that came back, and those that were to be
        deleted by a request that it does not know.
        """
        sql = (
            f"SELECT dropped, thawed, n FROM (SELECT {_MOVED} FROM {STATES} WHERE namespace = {{n:String}}) AS moved "
            f"CROSS JOIN (SELECT uniqExact(id) AS n FROM {deletions.DELETIONS} WHERE namespace = {{n:String}}) AS kept"
        )
        dropped, thawed, standing = self._hot.query(sql, {"n": namespace}).rows[0]
        if thawed != state.thawed or standing != len(state.standing):
            self._ask(namespace)  # so that nothing of before is remembered
            return True
        if dropped <= state.dropped or state.reads_cold(dropped):
            return False
        return state.misses(self._ask(namespace))

    def _ask(self, namespace: str) -> TierState:
        asked = time.monotonic()
        state = tier_state(self._hot, self._config, namespace)
        if state.hot_epochs:  # so no name that somebody made up is remembered
            with self._lock:
                self._known[namespace] = asked, state
        return state


def cold_rows(hot: Asks, config: ColdConfig, namespace: str, block_ids: Iterable[bytes]) -> dict[bytes, int]:
    """How many rows of each block the cold tier has; what it has none of is left out."""
    pinned = tier_state(hot, config, namespace).pinned
    if pinned is None:
        return {}
    # Constants: Parquet's bloom filters are asked about nothing else.
    wanted = ", ".join(f"toFixedString(unhex('{block_id.hex()}'), 16)" for block_id in block_ids)
    sql = f"SELECT hex(cold.block_id) AS id, count() AS n FROM {pinned.source} AS cold "
    found = hot.query(f"{sql} WHERE cold.block_id IN ({wanted}) GROUP BY id", pinned.parameters)
    return {bytes.fromhex(id_): rows for id_, rows in found.rows}


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
