"""Ingest epochs: numbers that only grow, opened at any time by anyone, and closed for good.

An epoch is a partition of `events`. It is closed in two phases: a new one is opened, which announces it; every
inserter that is registered moves its stamp to it and says so (`inserters.py`); and once none of them holds a block of
the old epoch any more, a fence goes up in the table itself, a constraint that refuses every row of that epoch and
those below. Politeness is the registry's; safety is the fence's, which also meets an inserter that slept through all
of it. The argument is in docs/decisions.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from storage import schema
from storage.inserters import Holder, Registry
from storage.numbers import first_epoch, shard_of
from storage.results import Result

EPOCH_SECONDS = 3600  # about how long an ingest epoch stays the present one
CLOSE_POLL_SECONDS = 0.1
UNDER_WAY_SECONDS = 5.0  # for INSERTs that began before the fence; a stalled sender's may take minutes to end
CLOSED, DROPPED, THAWED = "closed", "dropped", "thawed"

EPOCHS = f"{schema.SYSTEM_DATABASE}.epochs"
STATES = f"{schema.SYSTEM_DATABASE}.epoch_states"


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    registry: Registry

    def query(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...
    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]: ...
    def rebuild_rollup(self, namespace: str, epoch: int) -> None: ...


@dataclass(frozen=True)
class Closing:
    """Whether an epoch is closed; if not, who holds a block of it, or how many INSERTs are under way."""

    closed: bool
    holders: tuple[Holder, ...] = ()
    under_way: int = 0

    @property
    def reason(self) -> str:
        """Why it is not closed, on one line; empty when it is."""
        if self.holders:
            return "; ".join(one.described() for one in self.holders)
        return f"{self.under_way} INSERTs are under way" if self.under_way else ""


@dataclass(frozen=True)
class EpochInfo:
    """One epoch for a person to look at; `state` is present, open, closed or dropped, `opened_at` RFC 3339."""

    namespace: str
    epoch: int
    state: str
    opened_at: str
    events: int


class Epochs:
    """The epochs of every namespace. Thread-safe; several processes may use it at once."""

    def __init__(self, hot: Asks, shard: int = 1) -> None:
        """`shard`: which one this is, from 1: it has a range of numbers of its own."""
        self._hot = hot
        self.base = first_epoch(shard)
        self._lock = threading.Lock()  # saves this process from racing itself; others are met in the table

    def follow(self) -> None:
        """Take the shard's range from the epochs that there are: for who was not told which shard it is."""
        [highest] = self._hot.scalars(f"SELECT max(epoch) AS e FROM {EPOCHS}")
        if highest:
            self.base = first_epoch(shard_of(highest))

    # --- opening -----------------------------------------------------------------------------------------

    def current(self, namespace: str) -> int:
        """The epoch to stamp on rows now; opens a new one when the last is about an hour old.

        Also when it was opened by a clock that was as much ahead: it would stay the present one until that time.
        """
        with self._lock:
            epoch, age = self.last(namespace)
            return epoch if epoch > 0 and abs(age) < EPOCH_SECONDS else self._open(namespace)

    def open(self, namespace: str) -> int:
        """Open a new epoch, which announces it to every inserter; its number was never used before.

        Nobody else is given the same number, however many open at once: whoever finds another's row for the
        number that it wrote takes a higher one.
        """
        with self._lock:
            return self._open(namespace)

    def reserve(self, namespace: str) -> int:
        """The number of an epoch that no inserter ever stamps; the one after it is opened."""
        with self._lock:
            opener, skip = secrets.token_hex(8), 0
            while True:
                epoch = max(self.last(namespace)[0], self.base) + 1 + random.randint(0, skip)
                wanted = {"n": namespace, "epochs": [epoch, epoch + 1], "opener": opener}
                self._hot.execute(
                    f"INSERT INTO {EPOCHS} (namespace, epoch, opened_at, opener) SELECT {{n:String}}, epoch, now64(3), "
                    "{opener:String} FROM (SELECT 1) ARRAY JOIN {epochs:Array(UInt32)} AS epoch",
                    wanted,
                )
                sql = f"SELECT count() AS others FROM {EPOCHS} WHERE namespace = {{n:String}} "
                sql += "AND opener != {opener:String} AND epoch IN {epochs:Array(UInt32)}"
                others = self._hot.scalars(sql, wanted)[0]
                if not others:
                    return epoch
                skip = 2 * others

    def last(self, namespace: str) -> tuple[int, float]:
        """The present epoch, 0 when there is none, and its age in seconds."""
        age = "dateDiff('millisecond', argMax(opened_at, epoch), now64(3)) / 1000"
        sql = f"SELECT max(epoch) AS last, {age} AS age FROM {EPOCHS} WHERE namespace = {{n:String}}"
        epoch, seconds = self._hot.query(sql, {"n": namespace}).rows[0]
        return epoch, seconds

    def present(self) -> dict[str, int]:
        """The present epoch of every namespace that has one."""
        sql = f"SELECT namespace, max(epoch) AS last FROM {EPOCHS} GROUP BY namespace"
        return dict(self._hot.query(sql).rows)

    def _open(self, namespace: str) -> int:
        opener, skip = secrets.token_hex(8), 0
        while True:
            epoch = max(self.last(namespace)[0], self.base) + 1 + random.randint(0, skip)
            wanted = {"n": namespace, "epoch": epoch, "opener": opener}
            self._hot.execute(
                f"INSERT INTO {EPOCHS} (namespace, epoch, opened_at, opener) "
                "SELECT {n:String}, {epoch:UInt32}, now64(3), {opener:String}",
                wanted,
            )
            sql = f"SELECT count() AS others FROM {EPOCHS} WHERE namespace = {{n:String}} AND epoch = {{epoch:UInt32}}"
            others = self._hot.scalars(f"{sql} AND opener != {{opener:String}}", wanted)[0]
            if not others:
                return epoch
            skip = 2 * others

    def ends(self, namespace: str) -> dict[int, float]:
        """When the epoch after each was opened, in seconds since 1970; infinite for the present one.

        Of epochs that were opened by a clock that was ahead it is when a later one was opened.
        """
        sql = (
            f"SELECT epoch, toUnixTimestamp64Milli(min(opened_at)) / 1000 AS at FROM {EPOCHS} "
            "WHERE namespace = {n:String} GROUP BY epoch ORDER BY epoch"
        )
        opened = self._hot.query(sql, {"n": namespace}).rows
        ends, end = {}, float("inf")
        for epoch, at in reversed(opened):
            ends[epoch], end = end, min(end, at)
        return dict(reversed(ends.items()))

    # --- closing -----------------------------------------------------------------------------------------

    def closed_through(self, namespace: str) -> int:
        """This epoch and all below it are closed; 0 when none is."""
        return self._highest(namespace, CLOSED)

    def dropped_through(self, namespace: str) -> int:
        """This epoch and all below it may have left the hot tier: what it has of them proves nothing."""
        return self._highest(namespace, DROPPED)

    def try_close(self, namespace: str, epoch: int) -> Closing:
        """Close `epoch` and all below it, if nobody holds a block of them. Safe to repeat, and for several at once.

        Raises ValueError for the present epoch, which has to be followed by another first.
        """
        if epoch >= self.last(namespace)[0]:
            raise ValueError(f"epoch {epoch} of {namespace} is the present one")
        if epoch <= self.closed_through(namespace):
            return Closing(closed=True)
        holders = self._hot.registry.holders(namespace, epoch)
        if holders:
            return Closing(closed=False, holders=tuple(holders))
        if under_way := self._fence(namespace, epoch):
            return Closing(closed=False, under_way=under_way)
        self._count_exactly(namespace, epoch)
        self._record(namespace, epoch, CLOSED)
        self._drop_lower_fences(namespace, epoch)
        return Closing(closed=True)

    def close(self, namespace: str, epoch: int, seconds: float) -> Closing:
        """As `try_close`, again and again for so long."""
        deadline = time.monotonic() + seconds
        while True:
            closing = self.try_close(namespace, epoch)
            if closing.closed or time.monotonic() > deadline:
                return closing
            time.sleep(CLOSE_POLL_SECONDS)

    def mark_dropped(self, namespace: str, epoch: int) -> None:
        """Record that a closed epoch's rows leave the hot tier. Call it before the partition is dropped."""
        if epoch > self.closed_through(namespace):
            raise ValueError(f"epoch {epoch} of {namespace} is not closed")
        self._record(namespace, epoch, DROPPED)

    # --- numbers that a registry that was lost has forgotten ---------------------------------------------------

    def skip_through(self, namespace: str, epoch: int) -> None:
        """Open an epoch above this one, and let the table refuse rows of this one and those below."""
        with self._lock:
            if self.last(namespace)[0] <= epoch:
                self._hot.execute(
                    f"INSERT INTO {EPOCHS} (namespace, epoch, opened_at, opener) "
                    "SELECT {n:String}, {epoch:UInt32}, now64(3), 'cold'",
                    {"n": namespace, "epoch": epoch},
                )
                self._open(namespace)
        self._fence(namespace, epoch)

    def give_up_through(self, namespace: str, epoch: int) -> None:
        """Record that what the hot tier has of these epochs proves nothing."""
        self._record(namespace, epoch, DROPPED)

    def settle_through(self, namespace: str, epoch: int) -> None:
        """Record that these epochs are closed, whoever may have a block of them: the fence stands."""
        self._record(namespace, epoch, CLOSED)
        self._drop_lower_fences(namespace, epoch)

    def mark_thawed(self, namespace: str, epoch: int) -> None:
        """Record that copies of what is cold come into this epoch. Call it before they do."""
        self._record(namespace, epoch, THAWED)

    def restore_fence(self, namespace: str) -> None:
        """Put the fence up again where it is missing: a power cut may take a change of a table that a row outlives."""
        closed = self.closed_through(namespace)
        if closed and closed not in self._fences(namespace):
            self._raise_fence(namespace, closed)

    def _fence(self, namespace: str, epoch: int) -> int:
        """Let the table refuse rows of these epochs; how many INSERTs that began before that still run.

        Fences are only ever added, and a lower one goes only when a higher one stands: of two closers at once
        neither can lower what the other has raised.
        """
        events = f"{schema.namespace_database(namespace)}.events"
        self._raise_fence(namespace, epoch)
        deadline = time.monotonic() + UNDER_WAY_SECONDS
        began_before = under_way = self._inserts(events)
        while under_way and time.monotonic() < deadline:
            time.sleep(CLOSE_POLL_SECONDS)
            under_way = began_before & self._inserts(events)
        return len(under_way)

    def _inserts(self, events: str) -> set[str]:
        """The INSERTs that run now. One is listed before it looks at the table's constraints."""
        sql = (
            "SELECT query_id AS id FROM system.processes "
            "WHERE query_kind = 'Insert' AND startsWith(query, {start:String})"
        )
        return set(self._hot.scalars(sql, {"start": f"INSERT INTO {events} "}))

    def _raise_fence(self, namespace: str, epoch: int) -> None:
        table = f"{schema.namespace_database(namespace)}.events"
        fence = f"ADD CONSTRAINT IF NOT EXISTS {_fence_name(epoch)} CHECK epoch > {int(epoch)}"
        self._hot.execute(f"ALTER TABLE {table} {fence}")

    def _drop_lower_fences(self, namespace: str, epoch: int) -> None:
        table = f"{schema.namespace_database(namespace)}.events"
        for lower in self._fences(namespace):
            if lower < epoch:
                self._hot.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {_fence_name(lower)}")

    def _fences(self, namespace: str) -> list[int]:
        sql = (
            "SELECT create_table_query AS q FROM system.tables "
            "WHERE database = {database:String} AND name = 'events'"
        )
        made = self._hot.scalars(sql, {"database": schema.namespace_database(namespace)})
        return schema.fenced_epochs(str(made[0])) if made else []

    def _count_exactly(self, namespace: str, epoch: int) -> None:
        """Mend the rollup of epochs that nobody inserts into any more, where an unknown outcome left it wrong."""
        database = schema.namespace_database(namespace)
        above = "epoch <= {epoch:UInt32} AND epoch > {done:UInt32} GROUP BY epoch"
        sql = (
            "SELECT epoch AS e FROM ("
            f"SELECT epoch, count() AS n, 0 AS rolled, 0 AS counted FROM {database}.events WHERE {above} UNION ALL "
            f"SELECT epoch, 0 AS n, sum(count) AS rolled, 0 AS counted FROM {database}.rollup WHERE {above} UNION ALL "
            f"SELECT epoch, 0 AS n, 0 AS rolled, sum(count) AS counted FROM {database}.counts WHERE {above}"
            ") GROUP BY e HAVING sum(n) != sum(rolled) OR sum(n) != sum(counted)"
        )
        done = self.closed_through(namespace)
        for wrong in self._hot.scalars(sql, {"epoch": epoch, "done": done}):
            self._hot.rebuild_rollup(namespace, wrong)

    def _record(self, namespace: str, epoch: int, state: str) -> None:
        self._hot.execute(
            f"INSERT INTO {STATES} SELECT {{n:String}}, {{epoch:UInt32}}, {{state:String}}, now64(3)",
            {"n": namespace, "epoch": epoch, "state": state},
        )

    def _highest(self, namespace: str, state: str) -> int:
        sql = f"SELECT max(epoch) AS e FROM {STATES} WHERE namespace = {{n:String}} AND state = {{state:String}}"
        return int(self._hot.scalars(sql, {"n": namespace, "state": state})[0])

    # --- for a person ------------------------------------------------------------------------------------

    def overview(self) -> list[EpochInfo]:
        """The present epoch of each namespace and those before it that have rows or are not closed; events of each."""
        opened = self._hot.query(
            "SELECT namespace, epoch, formatDateTime(min(opened_at), '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS at "
            f"FROM {EPOCHS} GROUP BY namespace, epoch ORDER BY namespace, epoch"
        ).rows
        events = self._events()
        present = self.present()
        bounds = {name: (self.closed_through(name), self.dropped_through(name)) for name in present}
        found = []
        for namespace, epoch, at in opened:
            closed, dropped = bounds[namespace]
            state = "dropped" if epoch <= dropped else "closed" if epoch <= closed else "open"
            state = "present" if epoch == present[namespace] else state
            rows = events.get((namespace, epoch), 0)
            if rows or state in ("open", "present"):
                found.append(EpochInfo(namespace, epoch, state, at, rows))
        return found

    def _events(self) -> dict[tuple[str, int], int]:
        sql = (
            "SELECT substring(database, {cut:UInt32}) AS namespace, toUInt32OrZero(partition) AS epoch, "
            "sum(rows) AS events FROM system.parts WHERE active AND table = 'events' "
            "AND startsWith(database, {prefix:String}) GROUP BY namespace, epoch"
        )
        prefix = f"{schema.SYSTEM_DATABASE}_"
        rows = self._hot.query(sql, {"prefix": prefix, "cut": len(prefix) + 1}).rows
        return {(namespace, epoch): events for namespace, epoch, events in rows}


def _fence_name(epoch: int) -> str:
    return f"{schema.FENCE}{int(epoch)}"
