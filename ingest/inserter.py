"""Takes spooled blocks into ClickHouse, each exactly once.

Blocks that follow one another go into one INSERT. Its record is durable before it is sent. Whenever the
outcome is not known (a lost connection, a restart of either side) ClickHouse is asked how many rows it has of
each block: all, and the block is done; some, and they are deleted; then what is missing is sent again, at
first under the same token, because the first INSERT may still be under way, and under a new one where the
server took the token for a repetition but has no rows.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ingest.attempts import Attempt, AttemptRecord, attempt_for
from ingest.backoff import Backoff
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.gatherer import SMALL_BESIDE_BYTES, Gatherer, Held
from ingest.holding import Holding
from ingest.keeping import Keeping
from ingest.pace import GATHER_SECONDS, Pace
from ingest.spool import Spool
from ingest.stamps import Stamps
from storage import tracing
from storage.errors import (
    EpochClosed,
    InsertRefused,
    InsertUnknown,
    NamespaceUnknown,
    NeveError,
    StorageUnavailable,
)
from storage.hot import Hot
from storage.metrics import Histogram
from storage.native.block import Header, SealedBlock
from storage.numbers import FIRST_SHARD

POLL_SECONDS = 0.05
INSERT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds, of INSERTs that were answered."""
KNOWN_TEMPLATES = 1 << 18
"""Templates stored lately are not stored again; storing one twice changes nothing."""

JOIN_SECONDS = 10.0
"""How long `stop` waits for an INSERT at hand; cut off, it is settled at the next start."""

Retire = Callable[[Sequence[Header]], None]
"""Records durably that blocks are done with; called before they leave the spool."""

T = TypeVar("T")


VANISHED_SECONDS = 20.0
"""How long a namespace's tables may not be there, which nobody deleted by us, before its blocks are set aside: whoever
moves a database about has so long, and all other blocks wait meanwhile."""


class Vanished(Exception):
    """The tables of the namespace at hand are not there."""


class Stopped(Exception):
    """The inserter was told to stop; what is in the spool stays there."""


class Inserter:
    """The thread that empties the spool into ClickHouse. `folder` keeps its record.

    `retire` records durably that blocks are done with, `put_away` that they are set aside; both are called
    before blocks leave the spool. Without `put_away`, blocks that were set aside are retired. `doubtful` tells
    of a block that it may have been stored long ago: ClickHouse is asked for it before it is sent. `prepare` is
    called at the start, again and again until it raises no NeveError. `name` is this inserter's in the
    registry: the same over restarts, and nobody else's; `kind` says what it is. `is_gone` tells of a namespace that it
    was deleted: its blocks are set aside. `holding` lets it rest for a backup.

    Of a cluster it serves the shard that `hot` is, and takes from the spool what is for that one. `shard` is its
    name, for troubles; `lost` is told that the shard does not answer. `rows_anywhere`, as `Hot.rows_present`, tells
    of doubtful blocks, which any shard may have. `lacking` makes a namespace that the shard lacks. `pace` is that of
    all shards, where there are several.
    """

    def __init__(
        self,
        spool: Spool,
        hot: Hot,
        folder: Path,
        dead_letters: DeadLetters,
        retire: Retire,
        counters: Counters,
        *,
        prepare: Callable[[], object] = lambda: None,
        put_away: Retire | None = None,
        doubtful: Callable[[Header], bool] = lambda _: False,
        name: str = "",
        kind: str = "agent",
        is_gone: Callable[[str], bool] = lambda _: False,
        shard: str = "",
        lost: Callable[[NeveError], object] = lambda _: None,
        rows_anywhere: Callable[[str, Sequence[bytes]], dict[bytes, int]] | None = None,
        lacking: Callable[[str], object] | None = None,
        seconds: Histogram | None = None,
        holding: Holding | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._spool = spool
        self._hot = hot
        self._shard = hot.number
        behind = "" if hot.number == FIRST_SHARD else f"-{hot.number}"
        self._record = AttemptRecord(folder / f"attempt{behind}.json")
        self._dead_letters = dead_letters
        self._retire = retire
        self._counters = counters
        self._prepare = prepare
        self._put_away = put_away
        self._doubtful = doubtful
        self._is_gone = is_gone
        self._subject = f"clickhouse {shard}".rstrip()
        self.own_subject = f"inserter {shard}".rstrip()  # of troubles that are not ClickHouse's
        self._lost = lost
        self._rows_anywhere = rows_anywhere or hot.rows_present
        self._lacking = lacking
        self._stamps = Stamps(hot, name, kind)
        self._keeping = Keeping(hot, self._stamps.inserter, spool, dead_letters)
        self._gatherer = Gatherer(spool, dead_letters, counters, hot.number)
        self._backoff = Backoff()
        self._disk_backoff = Backoff()
        self._stop = threading.Event()
        self._seconds = seconds or Histogram(INSERT_BUCKETS)
        self._holding = holding or Holding()
        self._pace = pace
        self._holding.join(self, spool.wake, hot.number)
        self._unresolved = False
        self._templates: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._last_insert = 0.0
        self._at_hand = ""  # the namespace whose blocks are being stored
        self._vanished: dict[str, float] = {}  # since when whose tables are not there
        self.failure: BaseException | None = None
        self.blocked = ""
        self._thread = threading.Thread(target=self._run, name=f"inserter {hot.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the INSERT at hand, or leave it to be settled at the next start."""
        self._stop.set()
        self._spool.wake()
        self._thread.join(JOIN_SECONDS)

    def _is_wanted(self) -> bool:
        return self._stop.is_set() or self._holding.asked

    def _run(self) -> None:
        try:
            self._on_disk(lambda: self._patiently(self._prepare))
            self._on_disk(lambda: self._patiently(self._keeping.tend))
            self._on_disk(self._settle_last)
            while not self._stop.is_set():
                try:
                    self._turn()
                except OSError as error:  # as if the process had ended there
                    self._disk_failed(error)
                    self._on_disk(lambda: self._settle_last(again=True))
        except Stopped:
            pass
        except BaseException as error:
            self.failure = error
            self._counters.trouble(self.own_subject, f"stopped: {error}")
            raise
        if not self._unresolved:
            with suppress(NeveError):  # the next start says it
                self._stamps.release()

    def _turn(self) -> None:
        """One INSERT, if there is something to insert, and what else is due. Raises OSError."""
        if self._holding.rests(self):
            self._stop.wait(POLL_SECONDS)
        elif self._spool.wait(1.0, self._is_wanted, self._shard):
            self._gather()
            self._insert_next()
        self._patiently(self._stamps.tend)
        self._patiently(self._keeping.tend)

    def _on_disk(self, work: Callable[[], object]) -> None:
        """Do what writes to this process's own disk, until that lets it. Raises Stopped."""
        while True:
            try:
                work()
            except OSError as error:
                self._disk_failed(error)
            else:
                self._disk_backoff.reset()
                self._counters.well(self.own_subject)
                return

    def _disk_failed(self, error: OSError) -> None:
        """Say it, and wait. Raises Stopped."""
        reason = (error.strerror or str(error)).lower()
        where = error.filename or "the data folder"
        self._counters.trouble(self.own_subject, f"cannot use {where}: {reason}; what is in the spool waits")
        self._pause(self._disk_backoff.next())

    def _gather(self) -> None:
        """Give small blocks time to find company."""
        mine = self._last_insert + GATHER_SECONDS - time.monotonic()
        if mine > 0 and self._gatherer.little():
            self._stop.wait(mine)
        if self._pace is None:
            return
        theirs = self._pace.left(self._spool.waits_for(self._shard).oldest_age)
        if theirs > 0 and self._gatherer.little(SMALL_BESIDE_BYTES):
            self._stop.wait(theirs)

    def _insert_next(self) -> None:
        if self._stop.is_set():
            return
        taken = self._gatherer.take()
        if taken and self._is_gone(taken[0].header.namespace):
            self._put_aside(taken, f"namespace {taken[0].header.namespace} was deleted")
            return
        if held := self._unknown(taken):
            with self._pace.storing() if self._pace is not None else nullcontext():
                self._deliver(held)
            self._last_insert = time.monotonic()

    def _unknown(self, held: Sequence[Held]) -> Sequence[Held]:
        """Those that were not stored long ago, as far as anybody can tell; the others are done."""
        old = [one for one in held if self._doubtful(one.header)]
        if not old:
            return held
        ids = [one.header.block_id for one in old]
        rows = self._patiently(lambda: self._rows_anywhere(old[0].header.namespace, ids))
        # Some of its rows suffice: an INSERT that was answered stored them all, and who is gone was deleted.
        stored = [one for one in old if rows[one.header.block_id]]
        self._done(stored)
        self._counters.add("blocks_known_by_clickhouse", len(stored))
        return [one for one in held if one not in stored]

    # --- one INSERT --------------------------------------------------------------------------------------

    def _settle_last(self, *, again: bool = False) -> None:
        """After a start, or `again` once the disk has failed: find out about the blocks of the last attempt that are
        still here. What this process said that it holds holds still."""
        self._at_hand = ""
        last = self._record.read()
        waiting = {entry.block_id.hex(): entry for entry in self._spool.pending(shard=self._shard)}
        mine = [waiting[one] for one in last.blocks if one in waiting] if last is not None else []
        held = [one for one in map(self._gatherer.load, mine) if one is not None]
        unresolved = {last.namespace: last.epoch} if last is not None and held else {}
        if not again:
            self._patiently(lambda: self._stamps.begin(unresolved))
        self._unresolved = False
        if last is not None and held:
            self._settle(held, last, lambda: self._resolve(held, last))

    def _deliver(self, held: Sequence[Held]) -> None:
        """Store blocks that have no row in ClickHouse, and cannot have one later from an earlier INSERT."""
        namespace = held[0].header.namespace
        epoch = self._patiently(lambda: self._stamp(namespace))
        attempt = attempt_for(namespace, epoch, [one.header.block_id for one in held])
        self._settle(held, attempt, lambda: self._send_first(held, attempt))

    def _stamp(self, namespace: str) -> int:
        try:
            return self._stamps.stamp(namespace)
        except NamespaceUnknown:
            if self._lacking is None:
                raise
            self._lacking(namespace)
            return self._stamps.stamp(namespace)

    def _send_first(self, held: Sequence[Held], attempt: Attempt) -> None:
        if self._send(held, attempt):
            self._done(held)
        else:
            self._resolve(held, attempt)

    def _settle(self, held: Sequence[Held], attempt: Attempt, store: Callable[[], None]) -> None:
        """Do what `store` does, and what follows when the server will not have it."""
        self._unresolved = True
        self._at_hand = attempt.namespace
        try:
            store()
        except Vanished:
            self._unresolved = False  # there is no table that could have a row of them
            left = [one for one in held if one.header.block_id in self._spool]
            self._put_aside(
                left, f"the database of namespace {attempt.namespace} is gone, and nobody deleted it here"
            )
        except InsertRefused as error:
            self._refused(held, attempt, error)
        except EpochClosed:
            # Nothing of this INSERT was stored; what an earlier one stored is there for good, and counted.
            self._stamps.forget(attempt.namespace)
            if missing := self._missing(held, attempt):
                self._deliver(missing)
        self._unresolved = False
        self._at_hand = ""

    def _resolve(self, held: Sequence[Held], attempt: Attempt) -> None:
        """Store blocks of which `attempt` may have stored some rows already, now or in a moment.

        Raises InsertRefused, EpochClosed.
        """
        self._counters.add("inserts_unknown")
        missing = self._missing(held, attempt)
        while missing:
            if attempt.blocks != tuple(one.header.block_id.hex() for one in missing):
                self._deliver(missing)
                break
            answered = self._send(missing, attempt)
            missing = self._missing(missing, attempt)
            if answered and missing:
                attempt = attempt.again()  # taken for a repetition by a server that has no row of it
        self._recount(attempt)

    def _refused(self, held: Sequence[Held], attempt: Attempt, error: InsertRefused) -> None:
        """Find the block that the server refuses, and set it aside."""
        missing = self._missing(held, attempt)
        half = len(missing) // 2
        if half:
            self._deliver(missing[:half])
            self._deliver(missing[half:])
        elif missing:
            self._put_aside(missing[:1], error.message)
        self._recount(attempt)

    def _send(self, held: Sequence[Held], attempt: Attempt) -> bool:
        """Send one INSERT until the server answers (True) or the outcome is unknown (False).

        Raises InsertRefused, EpochClosed.
        """
        blocks = [one.block for one in held]
        self._patiently(lambda: self._add_templates(attempt.namespace, held))
        self._record.write(attempt)
        try:
            self._patiently(lambda: self._insert(blocks, attempt), StorageUnavailable)
        except InsertUnknown as error:
            self._counters.trouble(self._subject, error.message)
            self._lost(error)
            return False
        self._counters.add("inserts")
        return True

    def _insert(self, blocks: Sequence[SealedBlock], attempt: Attempt) -> None:
        """Send one INSERT, with a lease that runs. Raises as `Hot.insert_blocks` does."""
        try:
            self._stamps.keep()
        except NeveError as error:
            raise StorageUnavailable(error.message, error.hint) from error
        began = time.monotonic()
        ids = [one.header.block_id for one in blocks]
        with tracing.span_of_blocks("insert", ids, blocks=len(ids), namespace=attempt.namespace):
            self._hot.insert_blocks(attempt.namespace, blocks, attempt.epoch, attempt.token)
        self._seconds.observe(time.monotonic() - began)

    def _missing(self, held: Sequence[Held], attempt: Attempt) -> list[Held]:
        """The blocks that ClickHouse has no row of, once `attempt` is over.

        Half-stored ones are deleted there first. What cannot be told any more is set aside.
        """
        namespace, epoch = attempt.namespace, attempt.epoch
        ids = [one.header.block_id for one in held]
        self._patiently(lambda: self._wait_until_over(attempt))
        only: list[int] | None = [epoch]
        if epoch <= self._patiently(lambda: self._hot.epochs.dropped_through(namespace)):
            if not self._patiently(lambda: self._hot.reads_cold(namespace, epoch)):
                self._put_aside(
                    held, f"epoch {epoch} has left the hot tier: cannot tell if it had this block"
                )
                return []
            only = None  # it has become cold, and what the cold tier has of a block is final
        present = self._patiently(lambda: self._hot.rows_present(namespace, ids, only))
        missing = [one for one in held if present[one.header.block_id] != one.header.rows]
        self._done([one for one in held if one not in missing])
        partly = [one for one in missing if present[one.header.block_id]]
        if partly and epoch <= self._patiently(lambda: self._hot.epochs.closed_through(namespace)):
            self._put_aside(partly, f"epoch {epoch} is closed and has some rows of this block")
            return [one for one in missing if one not in partly]
        for one in partly:
            self._patiently(partial(self._hot.delete_block_rows, namespace, one.header.block_id, [epoch]))
        return missing

    def _wait_until_over(self, attempt: Attempt) -> None:
        """A server goes on with an INSERT whose client has left; wait for its end. Raises NeveError."""
        sql = (
            "SELECT count() AS running FROM system.processes "
            "WHERE Settings['insert_deduplication_token'] = {token:String} AND query_kind = 'Insert'"
        )
        while self._hot.query(sql, {"token": attempt.token}).rows[0][0]:
            self._pause(POLL_SECONDS)

    # --- its ends
    # ---------------------------------------------------------------------------------------------

    def _done(self, held: Sequence[Held]) -> None:
        if not held:
            return
        self._retire([one.header for one in held])
        self._spool.remove([one.entry for one in held])
        rows = sum(one.header.rows for one in held)
        self._counters.add("blocks_shipped", len(held))
        self._counters.add("lines_shipped", rows)

    def _put_aside(self, held: Sequence[Held], reason: str) -> None:
        headers = [one.header for one in held]
        if self._put_away is not None:
            self._put_away(headers)
        for one in held:
            self._dead_letters.take(self._spool, one.entry, reason)
            self._counters.add("blocks_refused")
            self._counters.add("lines_refused", one.header.rows)
            self._counters.trouble(f"block {one.header.block_id.hex()}", reason)
        if self._put_away is None:
            # A start lets go of what is retired, so it must be among the dead letters by now.
            self._retire(headers)

    def _recount(self, attempt: Attempt) -> None:
        """Count the rollup anew, while nobody else inserts; what is left wrong, the epoch's closer mends."""

        def recount() -> None:
            if self._stamps.alone(attempt.namespace):
                self._hot.rebuild_rollup(attempt.namespace, attempt.epoch)

        self._patiently(recount)

    # --- helpers
    # ----------------------------------------------------------------------------------------------

    def _add_templates(self, namespace: str, held: Sequence[Held]) -> None:
        by_rules: dict[int, dict[int, str]] = {}
        for one in held:
            fresh = {n: text for n, text in one.header.templates if (namespace, n) not in self._templates}
            by_rules.setdefault(one.header.rules_version, {}).update(fresh)
        for rules_version, templates in by_rules.items():
            if templates:
                self._hot.add_templates(namespace, templates.items(), rules_version)
                self._templates.update(dict.fromkeys((namespace, number) for number in templates))
        while len(self._templates) > KNOWN_TEMPLATES:
            self._templates.popitem(last=False)

    def _patiently(self, ask: Callable[[], T], errors: type[NeveError] = NeveError) -> T:
        """Ask ClickHouse until it answers. Raises Stopped, and what is none of `errors`."""
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                answer = ask()
            except errors as error:
                self._counters.trouble(self._subject, error.message)
                if isinstance(error, StorageUnavailable):
                    self._lost(error)
                self.blocked = error.message if isinstance(error, NamespaceUnknown) else ""
                self._look_for_tables()
                self._pause(self._backoff.next())
            else:
                self._backoff.reset()
                self.blocked = ""
                self._counters.well(self._subject)
                return answer

    def _look_for_tables(self) -> None:
        """Something goes wrong: is it that they are not there? Raises Vanished once that has lasted."""
        namespace = self._at_hand
        try:
            if not namespace or self._hot.holds(namespace):
                self._vanished.pop(namespace, None)
                return
        except NeveError:  # nobody can tell
            return
        since = self._vanished.setdefault(namespace, time.monotonic())
        if time.monotonic() >= since + VANISHED_SECONDS:
            self._backoff.reset()
            raise Vanished

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped
