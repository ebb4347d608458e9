"""A range of time goes back from the cold tier to the hot one; every query sees each event once, in one of them.

    reserve   an epoch that nobody stamps, closed; what is to come into it is written down
    name      a commit says that this epoch is cold, so queries leave it out of the hot tier; then it is recorded that
              it thaws, so those that began before begin again
    copy      the events are copied to that epoch, all at once for readers, who leave it out
              and out of the hot partition of an epoch that is cold and not dropped yet
    remove    one commit takes them out of the cold files and says that the epoch is not cold: a query reads either the
              snapshot before, and the copies not, or this one, and the copies
    recount   the rollup's counts, of the epochs that they were in and the one that they are in now

A crash at any step is gone on from by the next pass, from what was written down. The epoch ages like any other. Until
then the hot tier has the only copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyiceberg.table import Table

from storage import schema
from storage.commits import Change, commit
from storage.errors import ColdBroken
from storage.hot import REWRITE_SETTINGS
from storage.matching import Matching
from storage.numbers import shard_of
from storage.record import Record, record_at
from storage.removing import UNLIMITED, Remover, count_hot
from storage.rewriting import HASH, HASHED, Found, Rewriter

THAWS = f"{schema.SYSTEM_DATABASE}.thaws"


@dataclass(frozen=True)
class Thaw:
    """One request: which times (nanoseconds since 1970, low <= time < high) come into which epoch."""

    namespace: str
    epoch: int
    low: int
    high: int
    version: int = 0
    done: bool = False
    recount: frozenset[int] = field(default_factory=frozenset)

    @property
    def matching(self) -> Matching:
        moment = "fromUnixTimestamp64Nano(toInt64({}), 'UTC')"
        low, high = moment.format(int(self.low)), moment.format(int(self.high))
        return Matching(f"timestamp >= {low} AND timestamp < {high}", {}, self.low, self.high)


def record_thaw(hot: Any, thaw: Thaw) -> Thaw:
    """Write down how far it is."""
    thaw = replace(thaw, version=thaw.version + 1)
    said = {"low": thaw.low, "high": thaw.high, "done": thaw.done, "recount": sorted(thaw.recount)}
    values: Mapping[str, Any] = {
        "n": thaw.namespace,
        "epoch": thaw.epoch,
        "version": thaw.version,
        "said": json.dumps(said),
    }
    bound = "{n:String}, {epoch:UInt32}, {version:UInt64}, {said:String}"
    hot.execute(f"INSERT INTO {THAWS} SELECT {bound}", values)
    return thaw


def unfinished(hot: Any, namespace: str) -> list[Thaw]:
    """Those that are to be gone on with."""
    sql = (
        f"SELECT epoch, max(t.version) AS latest, argMax(t.said, t.version) AS words FROM {THAWS} AS t "
        "WHERE namespace = {n:String} GROUP BY epoch ORDER BY epoch"
    )
    found = []
    for epoch, version, text in hot.query(sql, {"n": namespace}).rows:
        said = json.loads(text)
        if not said["done"]:
            recount = frozenset(said["recount"])
            found.append(Thaw(namespace, epoch, said["low"], said["high"], version, recount=recount))
    return found


class Thawing:
    """Does what is left of a thaw, under the ager's lease. `publish` lets queries read the table's present snapshot."""

    def __init__(self, remover: Remover, table: Table, publish: Callable[[Table], None]) -> None:
        self.hot = remover.hot
        self.namespace = remover.namespace
        self.remover = remover
        self.table = table
        self.publish = publish
        self.rewriter = Rewriter(remover.hot, remover.clickhouse, remover.cold, remover.namespace, table)

    def run(self, thaw: Thaw) -> int:
        """How many events came back, as far as this pass knows."""
        self.table.refresh()
        named = record_at(self.table).takes_back(thaw.epoch)
        rows = 0
        if named or not self._has_rows(thaw.epoch):
            rows, thaw = self._move(thaw)
        self.publish(self.table)
        left = self.remover.recount(self.table, [*thaw.recount, thaw.epoch])
        record_thaw(self.hot, replace(thaw, done=not left))
        return rows

    def _move(self, thaw: Thaw) -> tuple[int, Thaw]:
        commit(self.table, "thaw", lambda _table, record: self._named(record, thaw.epoch))
        self.publish(self.table)
        self.hot.epochs.mark_thawed(self.namespace, thaw.epoch)
        matching = self._within_reach(thaw)
        found = self.rewriter.find(matching)
        rows = sum(one.rows for one in found)
        if found:
            self._copy(thaw, matching, rows)
            self.remover.lease.check()
        thaw = record_thaw(
            self.hot, replace(thaw, recount=thaw.recount.union(*(one.epochs for one in found)))
        )
        self._leave_hot(matching, found)
        self._remove(thaw, matching, found)
        return rows, thaw

    def _within_reach(self, thaw: Thaw) -> Matching:
        """The events to take, but for those of epochs that another shard, whose lease is not ours, has yet to drop."""
        leaving = [epoch for epoch in record_at(self.table).epochs() if self._may_be_elsewhere(epoch)]
        if not leaving:
            return thaw.matching
        if any(one.epochs & set(leaving) for one in self.rewriter.find(thaw.matching)):
            text = "what other shards have yet to let go stays cold; restore the range again when they have"
            self.remover.say("thaw", text)
        where = f"{thaw.matching.where} AND epoch NOT IN ({', '.join(str(int(e)) for e in leaving)})"
        return replace(thaw.matching, where=where)

    def _may_be_elsewhere(self, epoch: int) -> bool:
        """Is it of another shard that has not dropped it, or is away?"""
        number = shard_of(epoch)
        if number == self.hot.number:
            return False
        hot = self.remover.hot_of(number)
        return hot is None or epoch > hot.epochs.dropped_through(self.namespace)

    def _leave_hot(self, matching: Matching, found: list[Found]) -> None:
        """Of an epoch that is cold and not dropped yet the hot partition goes on without them too: it is compared with
        what is cold of it before it is dropped, and one that has more would be read again."""
        epochs = frozenset().union(*(one.epochs for one in found))
        for epoch, rows in count_hot(self.hot, self.namespace, matching).items():
            if epoch in epochs:
                self.remover.remove_hot(epoch, matching, rows, "thaw")

    def _named(self, record: Record, epoch: int) -> Change | None:
        record = record.advanced(self.hot.epochs.dropped_through(self.namespace))
        if record.names(epoch):
            return None
        return Change(record.with_epoch(epoch, 0, ()))

    def _has_rows(self, epoch: int) -> bool:
        sql = f"SELECT 1 AS x FROM {self.remover.database}.events WHERE epoch = {int(epoch)} LIMIT 1"
        return bool(self.hot.scalars(sql))

    def _copy(self, thaw: Thaw, matching: Matching, rows: int) -> None:
        events, kept = f"{self.remover.database}.events", self.remover.made_beside()
        pinned = self.rewriter.pinned()
        names = [name for name, _ in schema.EVENT_COLUMNS]
        cold = f"SELECT * FROM ({pinned.select(names, matching.low, matching.high)}) WHERE {matching.where}"
        columns = ", ".join(f"toUInt32({int(thaw.epoch)})" if name == "epoch" else name for name in names)
        self.hot.query(
            f"INSERT INTO {kept} ({', '.join(names)}) SELECT {columns} FROM ({cold})",
            pinned.parameters,
            {**REWRITE_SETTINGS, **UNLIMITED},
        )
        hashed = f"SELECT {', '.join(HASHED)} FROM"
        sql = f"SELECT {HASH} FROM ({hashed} ({cold}))"
        here = self.hot.query(f"SELECT {HASH} FROM ({hashed} {kept})", settings={"max_threads": 1}).rows[0]
        there = self.hot.query(sql, pinned.parameters, {"max_threads": 1}).rows[0]
        if here != there or here[1] != rows:
            raise ColdBroken(
                f"cannot trust the hot copy of {self.namespace}: {here[1]} of {rows} events are there",
                "what is cold stays cold; look at clickhouse's disk, then try again",
            )
        self.remover.lease.check()
        self.hot.execute(f"ALTER TABLE {events} REPLACE PARTITION {int(thaw.epoch)} FROM {kept}")
        self.hot.execute(f"DROP TABLE {kept} SYNC")

    def _remove(self, thaw: Thaw, matching: Matching, found: list[Found]) -> None:
        def change(record: Record) -> Record:
            return record.without_epoch(thaw.epoch)

        if found:
            self.rewriter.without("thaw", found, matching, change)
            return

        def plan(_table: Table, record: Record) -> Change | None:
            return Change(change(record)) if record.takes_back(thaw.epoch) else None

        commit(self.table, "thaw", plan)
