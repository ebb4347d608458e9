"""The ager: closed epochs of the hot tier become cold, step by step, each event in one tier for every query.

    close    nobody inserts into the epoch any more (`epochs.py`)
    copy     its events are written as Parquet files, which nothing names yet
    commit   one Iceberg commit: the files, and the record that from now on the epoch is cold
    verify   the copy is compared with the hot partition: count, and a hash of every event
    publish  the registry says that queries read this snapshot, and the epoch from it
    grace    queries that read the registry before may go on in the hot partition for so long
    drop     the registry knows that the epoch leaves, and the partition goes

A crash at any step leaves the record of the present snapshot to go on from. An epoch that it names is not copied again;
one that it does not name is copied anew, and files that an earlier try has left are orphans. The rollup's partition
stays: it is small, and counts of any range, hot or cold, come from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from storage import deletions, schema
from storage.catching_up import catch_up
from storage.cold import ColdTier
from storage.commits import Change, commit
from storage.config import ClickHouseConfig
from storage.copying import Copied, copy_epoch, delete_files, label_of
from storage.deletions import Deletion
from storage.errors import AgerBusy, ColdBroken
from storage.hot import Hot
from storage.leases import Lease, held
from storage.matching import Matching
from storage.numbers import shard_of
from storage.published import publish, tier_state
from storage.record import Record, record_at, record_of
from storage.removing import Remover, count_hot
from storage.rewriting import HASH, HASHED
from storage.shards import Shards
from storage.thawing import Thaw, Thawing, record_thaw, unfinished

CLOSE_SECONDS = 60.0  # for inserters to follow when a new epoch was opened for `now`
ATTEMPT_SECONDS = 1.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Step:
    """One thing that was done or found; `text` says it for people."""

    step: str
    namespace: str
    text: str
    epoch: int = 0
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As `neve age` reads it from a server."""
        where = {"step": self.step, "namespace": self.namespace, "epoch": self.epoch, "text": self.text}
        return {**where, **self.figures}


@dataclass(frozen=True)
class Wish:
    """Which epochs to age: `before` seconds since 1970, the latest time at which they may have ended.

    `grace`: seconds, instead of the policy's. `wait`: sit the grace out, or leave the drop to a later pass.
    """

    now: bool = False
    before: float | None = None
    grace: float | None = None
    wait: bool = True


class Ager:
    """Ages the epochs of namespaces. Any number may run: a lease lets one work on a namespace at a time."""

    def __init__(
        self,
        hot: Hot,
        clickhouse: ClickHouseConfig,
        cold: ColdTier,
        say: Callable[[Step], None] = lambda _step: None,
        sleep: Callable[[float], None] = time.sleep,
        shards: Shards | None = None,
    ) -> None:
        """`sleep` may raise to end it between steps. `shards`: of the cluster that `hot` is one of, if it is."""
        self.shards = shards
        self.hot = hot
        self.clickhouse = clickhouse
        self.cold = cold
        self._say = say
        self._sleep = sleep
        self.retained: dict[str, Matching] = {}  # what services were last looked through for
        self.published: dict[tuple[str, int], float] = {}  # when this process let queries read an epoch

    def age(self, namespace: str, wish: Wish) -> int:
        """One pass; how many events were committed. Raises AgerBusy, ColdUnavailable, ColdBroken and their kin."""
        self.hot.require(namespace)
        self.catch_up(namespace)
        if wish.now:
            self.close_present(namespace)
        with held(self.hot, f"ager of {namespace}") as lease:
            return Pass(self, namespace, wish, lease).run()

    def ask_deletion(self, deletion: Deletion) -> None:
        """Record that this is to go, and close the present epoch for it. Whatever happens then, passes do the rest."""
        self.hot.require(deletion.namespace)
        self.catch_up(deletion.namespace)
        deletions.record(self.hot, deletion)
        self.close_present(deletion.namespace)

    def delete_pending(self, namespace: str) -> None:
        """Go on with all deletions of a namespace. Raises as `age` does."""
        with held(self.hot, f"ager of {namespace}") as lease:
            one = Pass(self, namespace, Wish(), lease)
            one.thaw()
            one.delete()

    def thaw(self, namespace: str, low: int, high: int) -> None:
        """Let the events at low <= time < high come back to the hot tier. Raises as `age` does."""
        self.hot.require(namespace)
        self.catch_up(namespace)
        table = self.table(namespace)
        if table is None or table.current_snapshot() is None:
            return
        with held(self.hot, f"ager of {namespace}") as lease:
            one = Pass(self, namespace, Wish(), lease)
            one.thaw()
            epoch = self.hot.epochs.reserve(namespace)
            closing = self.hot.epochs.close(namespace, epoch, CLOSE_SECONDS)
            if not closing.closed:
                raise AgerBusy(f"cannot restore: epochs up to {epoch} stay open: {closing.reason}")
            record_thaw(self.hot, Thaw(namespace, epoch, low, high))
            one.thaw()

    def tend_deletions(self, namespace: str) -> None:
        """Delete what has come late, in epochs that are open too: they are closed for it."""
        active = deletions.active(self.hot, namespace)
        closed = self.hot.epochs.closed_through(namespace)
        if any(count_hot(self.hot, namespace, one.what, max(closed, one.through)) for one in active):
            self.close_present(namespace)
        if any(one.through < self.hot.epochs.closed_through(namespace) or not one.done for one in active):
            self.delete_pending(namespace)

    def table(self, namespace: str) -> Table | None:
        """The cold table as the catalog has it; None where there is none yet. Raises ColdUnavailable.

        Raises ColdBroken where queries read a later snapshot than the catalog knows: what would be committed on top of
        the older one would leave out what came between, and once it is read that would be gone.
        """
        table = self.cold.catalog.table(namespace)
        read = tier_state(self.hot, self.cold.config, namespace).pinned
        if read is not None and table is not None and read.location != table.location():
            raise _another_catalog(namespace)
        if read is not None and _sequence(table) < read.sequence:
            raise ColdBroken(
                f"cannot change the cold tier of {namespace}: the catalog has an older state than what queries read",
                "neve restore catalog --replace",
            )
        return table

    def catch_up(self, namespace: str) -> None:
        """Before anything is closed: does the registry know which epochs are cold?"""
        table = self.table(namespace)
        if table is not None and (epoch := catch_up(self.hot, self.cold, namespace, table)):
            text = f"epochs go on above {epoch}: clickhouse did not know what is cold"
            self.say("catch-up", namespace, text, epoch)

    def close_present(self, namespace: str) -> None:
        """Open the next epoch and close those before, as far as inserters let them go."""
        old = self.hot.epochs.last(namespace)[0]
        if old == 0:
            return
        began = time.monotonic()
        new = self.hot.open_epoch(namespace)
        closing = self.hot.epochs.close(namespace, new - 1, CLOSE_SECONDS)
        text = f"epoch {old} is closed, {new} is open"
        if not closing.closed:
            text = f"epoch {old} stays open: {closing.reason}"
        self.say("close", namespace, text, old, closed=closing.closed, seconds=time.monotonic() - began)

    def publish(self, namespace: str, table: Table) -> None:
        """Let queries read the present snapshot of a table. Other shards that are there hear of it too."""
        pinned = self.cold.pinned(namespace, table)
        known = tier_state(self.hot, self.cold.config, namespace).pinned
        if pinned is not None and known is not None and known.location != pinned.location:
            raise _another_catalog(namespace)
        if pinned is not None and (known is None or known.metadata != pinned.metadata):
            publish(self.hot, pinned)
            if self.shards is not None:
                self.shards.each(lambda one: publish(one.hot, pinned), without=self.hot.number)

    def beside(self, number: int) -> Ager | None:
        """The ager of another shard; None while it is away."""
        shard = self.shards.numbered(number) if self.shards is not None else None
        if shard is None or not shard.alive:
            return None
        return Ager(shard.hot, shard.config, self.cold, self._say, self._sleep, self.shards)

    def tell(self, namespace: str, step: str, text: str) -> None:
        self.say(step, namespace, text)

    def say(self, step: str, namespace: str, text: str, epoch: int = 0, **figures: Any) -> None:
        self._say(Step(step, namespace, text, epoch, figures))

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)


class Pass:
    """One pass over one namespace, under its lease."""

    def __init__(self, ager: Ager, namespace: str, wish: Wish, lease: Lease) -> None:
        self.ager = ager
        self.hot = ager.hot
        self.namespace = namespace
        self.wish = wish
        self.lease = lease
        self.events = f"{schema.namespace_database(namespace)}.events"
        self.policy = ager.cold.config.policy(namespace)

    def run(self) -> int:
        """Copy and commit all that is due, then verify and drop all that is cold and still hot."""
        self._try_close()
        self.closed = self.hot.epochs.closed_through(self.namespace)
        self.thaw()
        self.delete()
        rows = self._rows()
        table = self.ager.table(self.namespace)
        if table is None and rows:
            table = self.ager.cold.catalog.made(self.namespace)
        if table is None:
            return 0
        self._check_dropped(table, rows)
        done = 0
        for epoch in self._due(rows, record_at(table)):
            self.lease.check()
            done += self.copy_and_commit(table, epoch)
        self._drop_all(table)
        return done

    def delete(self) -> None:
        """Go on with deletions: those that are not done, and of all what has come late."""
        active = deletions.active(self.hot, self.namespace)
        if not active:
            return
        table = self.ager.table(self.namespace) if has_cold(self.ager, self.namespace) else None
        for one in active:
            self._remover().run(one, table, self.publish)

    def thaw(self) -> None:
        """Go on with what was to come back to the hot tier."""
        for one in unfinished(self.hot, self.namespace):
            table = self.ager.table(self.namespace)
            if table is None:
                return
            rows = Thawing(self._remover(), table, self.publish).run(one)
            text = f"{rows:,} events are hot again, as epoch {one.epoch}"
            self.ager.say("thaw", self.namespace, text, one.epoch, rows=rows)

    def _remover(self) -> Remover:
        ager, namespace = self.ager, self.namespace
        return Remover(
            self.hot,
            ager.clickhouse,
            ager.cold,
            namespace,
            self.lease,
            partial(ager.tell, namespace),
            ager.shards,
        )

    def publish(self, table: Table) -> None:
        """Let queries read the present snapshot, once all that it has and they do not read yet was compared."""
        new = self._verify_all(table, list(takewhile(record_at(table).names, self._rows())))
        self._verify_others(table)
        self.lease.check()
        self.ager.publish(self.namespace, table)
        self.ager.published.update({(self.namespace, epoch): time.monotonic() for epoch in new})

    # --- what is due ---------------------------------------------------------------------------------------

    def _try_close(self) -> None:
        """Close what nobody holds: all but the present epoch."""
        present = self.hot.epochs.last(self.namespace)[0]
        if (
            present > self.hot.epochs.base + 1
            and self.hot.epochs.closed_through(self.namespace) < present - 1
        ):
            closing = self.hot.epochs.close(self.namespace, present - 1, ATTEMPT_SECONDS)
            if not closing.closed:
                self.ager.say("close", self.namespace, f"epochs before {present} stay open: {closing.reason}")

    def _rows(self) -> dict[int, int]:
        """The epochs that the hot tier has events of."""
        sql = f"SELECT epoch, count() AS n FROM {self.events} GROUP BY epoch ORDER BY epoch"
        return dict(self.hot.query(sql).rows)

    def _due(self, rows: dict[int, int], record: Record) -> list[int]:
        closed = self.closed  # what has been closed since may have events that are to be deleted
        ended = self.hot.epochs.ends(self.namespace) if self.wish.before is not None else {}
        due = []
        for epoch in rows:
            if epoch > closed or (self.wish.before is not None and ended.get(epoch, 0.0) > self.wish.before):
                break  # those after it wait: epochs are dropped in order
            if not record.names(epoch):
                due.append(epoch)
        return due

    def _check_dropped(self, table: Table, rows: dict[int, int]) -> None:
        """What has left the hot tier must be in the record; else the catalog is not the one that it was."""
        dropped = self.hot.epochs.dropped_through(self.namespace)
        lost = [epoch for epoch in rows if epoch <= dropped and not record_at(table).names(epoch)]
        if lost:
            raise ColdBroken(
                f"cannot age {self.namespace}: epoch {lost[0]} was to leave the hot tier and is not in the cold one",
                "restore the catalog to its latest state",
            )

    # --- copy, commit ----------------------------------------------------------------------------------------

    def copy_and_commit(self, table: Table, epoch: int) -> int:
        """Make an epoch cold; its rows, 0 where somebody else was faster."""
        began = time.monotonic()
        copied = copy_epoch(self.hot, self.ager.clickhouse, table, self.namespace, epoch)
        seconds = time.monotonic() - began
        text = f"epoch {epoch}: {copied.rows:,} events in {len(copied.files)} files, {copied.bytes:,} bytes"
        self.ager.say(
            "copy", self.namespace, text, epoch, rows=copied.rows, bytes=copied.bytes, seconds=seconds
        )
        self.lease.check()
        snapshot = commit(table, "age", lambda _table, record: self._change(record, epoch, copied))
        if snapshot is None:
            delete_files(table, copied.files)
            return 0
        text = f"epoch {epoch}: cold with snapshot {snapshot.snapshot_id}"
        self.ager.say("commit", self.namespace, text, epoch, snapshot=snapshot.snapshot_id)
        return copied.rows

    def _change(self, record: Record, epoch: int, copied: Copied) -> Change | None:
        record = record.advanced(self.hot.epochs.dropped_through(self.namespace))
        if record.names(epoch):
            return None
        return Change(record.with_epoch(epoch, copied.rows, copied.raw), append=copied.files)

    # --- verify, drop ----------------------------------------------------------------------------------------

    def _drop_all(self, table: Table) -> None:
        """Verify and drop, in order, all that is cold and still hot."""
        epochs = list(takewhile(record_at(table).names, self._rows()))
        self.publish(table)
        for epoch in epochs:
            self.lease.check()
            if epoch > self.hot.epochs.dropped_through(self.namespace):
                if not self.wish.wait and self._grace_left(table, epoch) > 0:
                    return
                self._wait_grace(table, epoch)
                if not self._is_free(epoch):
                    return
            self.drop(table, epoch)

    def _verify_all(self, table: Table, epochs: list[int]) -> list[int]:
        """Compare what queries do not read from the cold tier yet; these epochs."""
        published = tier_state(self.hot, self.ager.cold.config, self.namespace)
        new = [epoch for epoch in epochs if not published.reads_cold(epoch)]
        for epoch in new:
            self.lease.check()
            self.verify(table, epoch)
        return new

    def _verify_others(self, table: Table) -> None:
        """Compare what an ager of another shard has committed and did not come to compare. Raises AgerBusy."""
        published = tier_state(self.hot, self.ager.cold.config, self.namespace)
        for epoch in record_at(table).epochs():
            if shard_of(epoch) == self.hot.number or published.reads_cold(epoch):
                continue
            other = self.ager.beside(shard_of(epoch))
            if other is None:
                raise AgerBusy(
                    f"cannot let queries read what is cold of {self.namespace}: epoch {epoch} of shard "
                    f"{shard_of(epoch)}, which is away, was not compared",
                    "start that shard",
                )
            Pass(other, self.namespace, self.wish, self.lease).verify(table, epoch)

    def verify(self, table: Table, epoch: int) -> None:
        """Compare the copy with the original. Raises ColdBroken where they differ, and takes the copy back."""
        pinned = self.ager.cold.pinned(self.namespace, table)
        assert pinned is not None
        one = {"max_threads": 1}
        copy = pinned.select(HASHED, where=[f"cold.epoch = {int(epoch)}"])
        sql = f"SELECT {HASH} FROM {self.events} WHERE epoch = {int(epoch)}"
        hot = self.hot.query(sql, settings=one).rows[0]
        cold = self.hot.query(f"SELECT {HASH} FROM ({copy})", pinned.parameters, one).rows[0]
        if hot == cold:
            text = f"epoch {epoch}: {hot[1]:,} events are the same, hash {hot[0]:016x}"
            self.ager.say("verify", self.namespace, text, epoch, rows=hot[1])
            return
        known = f"SELECT block_id, row FROM {self.events} WHERE epoch = {int(epoch)}"
        sql = f"SELECT count() AS n FROM ({copy}) WHERE (block_id, row) NOT IN ({known})"
        strange = self.hot.query(sql, pinned.parameters, one).rows[0][0]
        if not strange:
            self._take_back(table, epoch)
        raise ColdBroken(
            f"cannot trust the cold copy of epoch {epoch} of {self.namespace}: {cold[1]} of {hot[1]} events are there, "
            f"{strange} of them unknown to the hot tier",
            "both are kept, and what is hot is read; look at clickhouse's disk"
            if strange
            else "it was taken back and the hot events are kept; look at the disk, then age again",
        )

    def _take_back(self, table: Table, epoch: int) -> None:
        def change(table: Table, record: Record) -> Change | None:
            if not record.takes_back(epoch):
                return None
            return Change(record.without_epoch(epoch), delete=tuple(files_of_epoch(table, epoch)))

        commit(table, "take-back", change)

    def _wait_grace(self, table: Table, epoch: int) -> None:
        left = self._grace_left(table, epoch)
        if left > 0:
            self.ager.say("grace", self.namespace, f"epoch {epoch}: stays hot for {left:.0f} s more", epoch)
        deadline = time.monotonic() + left
        while (left := deadline - time.monotonic()) > 0:
            self.ager.wait(min(left, POLL_SECONDS))
            self.lease.check()

    def _grace_left(self, table: Table, epoch: int) -> float:
        grace = self.policy.grace_seconds if self.wish.grace is None else self.wish.grace
        return grace - self._cold_for(table, epoch)

    def _cold_for(self, table: Table, epoch: int) -> float:
        """Seconds since queries read it. Where an earlier process let them, since the commit, and by the clock."""
        published = self.ager.published.get((self.namespace, epoch))
        if published is not None:
            return time.monotonic() - published
        with_it = [one for one in table.metadata.snapshots if record_of(one).names(epoch)]
        return max(0.0, time.time() - min(one.timestamp_ms for one in with_it) / 1000)

    def _is_free(self, epoch: int) -> bool:
        """Has every inserter settled its blocks of this epoch?"""
        holders = self.hot.registry.holders(self.namespace, epoch)
        if holders:
            said = "; ".join(one.described() for one in holders)
            self.ager.say("drop", self.namespace, f"epoch {epoch} stays hot: {said}", epoch)
        return not holders

    def drop(self, table: Table, epoch: int) -> None:
        """Let the hot partition go: what every query reads from now on has the epoch in the cold tier.

        Another process may have let queries read it, or a restore that compares nothing: what this one has not compared
        it does compare.
        """
        table.refresh()
        published = tier_state(self.hot, self.ager.cold.config, self.namespace)
        if not published.reads_cold(epoch) or not record_at(table).names(epoch):
            raise ColdBroken(f"cannot drop epoch {epoch} of {self.namespace}: the cold tier does not have it")
        known = (self.namespace, epoch) in self.ager.published
        if not known and epoch > self.hot.epochs.dropped_through(self.namespace):
            self.verify(table, epoch)
        self.hot.epochs.mark_dropped(self.namespace, epoch)
        self.hot.drop_epoch(self.namespace, epoch)
        self.ager.published.pop((self.namespace, epoch), None)
        self.ager.say("drop", self.namespace, f"epoch {epoch}: gone from the hot tier", epoch)


def has_cold(ager: Ager, namespace: str) -> bool:
    """Has a namespace a cold tier, or had it one once that queries still read?"""
    if ager.cold.config.policy(namespace).tier == "cold":
        return True
    return tier_state(ager.hot, ager.cold.config, namespace).pinned is not None


def _another_catalog(namespace: str) -> ColdBroken:
    """Two servers with a catalog each would make two tables, of which queries read one."""
    return ColdBroken(
        f"cannot change the cold tier of {namespace}: queries read a table that this catalog does not have",
        "give all servers the same cold.catalog and cold.warehouse",
    )


def _sequence(table: Table | None) -> int:
    snapshot = table.current_snapshot() if table is not None else None
    return (snapshot.sequence_number or 0) if snapshot is not None else 0


def files_of_epoch(table: Table, epoch: int) -> list[DataFile]:
    """The data files that were written for an epoch. Compaction takes those of dropped epochs only."""
    tasks = table.scan(row_filter=f"epoch = {int(epoch)}").plan_files()
    return [task.file for task in tasks if f"/{label_of(epoch)}-" in task.file.file_path]
