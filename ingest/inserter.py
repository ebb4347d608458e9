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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ingest.attempts import Attempt, AttemptRecord, attempt_for
from ingest.backoff import Backoff
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.spool import Spool, SpoolEntry
from storage.errors import (
    BlockDamaged,
    InsertRefused,
    InsertUnknown,
    NamespaceUnknown,
    NeveError,
    StorageUnavailable,
)
from storage.hot import INSERT_BYTES, Hot
from storage.native.block import Header, SealedBlock

MAX_ROWS = 1 << 19
"""Of one INSERT; storage stores twice as many wholly or not at all, if they unpack to at most INSERT_BYTES."""
MAX_BYTES = 32 << 20
"""Of one INSERT, compressed: they are all in memory while it is sent."""
MAX_BLOCKS = 256
GATHER_SECONDS = 0.25
"""Small blocks wait for company so long after the INSERT before: four parts a second are merged with ease."""
SMALL_BYTES = 8 << 20
POLL_SECONDS = 0.05
EPOCH_SECONDS = 2.0
"""How long the present epoch is taken to be the present one without asking."""
KNOWN_TEMPLATES = 1 << 18
"""Templates stored lately are not stored again; storing one twice changes nothing."""

JOIN_SECONDS = 10.0
"""How long `stop` waits for an INSERT at hand; cut off, it is settled at the next start."""

Retire = Callable[[Sequence[Header]], None]
"""Records durably that blocks are done with; called before they leave the spool."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """A block in the spool and in memory."""

    entry: SpoolEntry
    block: SealedBlock

    @property
    def header(self) -> Header:
        return self.block.header


class Stopped(Exception):
    """The inserter was told to stop; what is in the spool stays there."""


class Inserter:
    """The thread that empties the spool into ClickHouse. `folder` keeps its record.

    `prepare` is called at the start, again and again until it raises no NeveError. `sole` says that nobody
    else inserts into this server: then the rollup of an epoch is counted anew after an outcome that was not
    known.
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
        sole: bool = True,
    ) -> None:
        self._spool = spool
        self._hot = hot
        self._record = AttemptRecord(folder / "attempt.json")
        self._dead_letters = dead_letters
        self._retire = retire
        self._counters = counters
        self._prepare = prepare
        self._sole = sole
        self._backoff = Backoff()
        self._stop = threading.Event()
        self._epochs: dict[str, tuple[int, float]] = {}
        self._templates: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._last_insert = 0.0
        self.failure: BaseException | None = None
        self.blocked = ""
        self._thread = threading.Thread(target=self._run, name="inserter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the INSERT at hand, or leave it to be settled at the next start."""
        self._stop.set()
        self._spool.wake()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            self._patiently(self._prepare)
            self._settle_last()
            while not self._stop.is_set():
                if self._spool.wait(1.0, self._stop.is_set):
                    self._gather()
                    self._insert_next()
        except Stopped:
            return
        except BaseException as error:
            self.failure = error
            self._counters.trouble("inserter", f"stopped: {error}")
            raise

    # --- which blocks
    # -----------------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Give small blocks time to find company."""
        left = self._last_insert + GATHER_SECONDS - time.monotonic()
        if left > 0 and sum(entry.size for entry in self._spool.pending(MAX_BLOCKS)) < SMALL_BYTES:
            self._stop.wait(left)

    def _insert_next(self) -> None:
        held = self._take()
        if held and not self._stop.is_set():
            self._deliver(held)
            self._last_insert = time.monotonic()

    def _take(self) -> list[Held]:
        """The next blocks that fit into one INSERT: one namespace, the same columns."""
        taken: list[Held] = []
        rows = size = decoded = 0
        for entry in self._spool.pending(MAX_BLOCKS):
            if taken and size + entry.size > MAX_BYTES:
                break
            held = self._load(entry)
            if held is None:
                continue
            rows, size = rows + held.header.rows, size + entry.size
            decoded += held.block.decoded_bytes
            too_much = rows > MAX_ROWS or decoded > INSERT_BYTES
            if taken and (too_much or not _go_together(taken[0].header, held.header)):
                break
            taken.append(held)
        return taken

    def _load(self, entry: SpoolEntry) -> Held | None:
        try:
            return Held(entry, self._spool.load(entry)[1])
        except BlockDamaged as error:
            self._dead_letters.take(self._spool, entry, error.message)
            self._counters.add("blocks_damaged")
            self._counters.trouble(f"block {entry.block_id.hex()}", error.message)
            return None

    # --- one INSERT
    # -------------------------------------------------------------------------------------------

    def _settle_last(self) -> None:
        """After a start: find out about the blocks of the last attempt that are still here."""
        last = self._record.read()
        if last is None:
            return
        waiting = {entry.block_id.hex(): entry for entry in self._spool.pending()}
        held = [self._load(waiting[one]) for one in last.blocks if one in waiting]
        found = [one for one in held if one is not None]
        if found:
            self._resolve(found, last)

    def _deliver(self, held: Sequence[Held]) -> None:
        """Store blocks that have no row in ClickHouse, and cannot have one later from an earlier INSERT."""
        namespace = held[0].header.namespace
        epoch = self._patiently(lambda: self._epoch(namespace))
        attempt = attempt_for(namespace, epoch, [one.header.block_id for one in held])
        try:
            if self._send(held, attempt):
                self._done(held)
            else:
                self._resolve(held, attempt)
        except InsertRefused as error:
            self._refused(held, attempt, error)

    def _resolve(self, held: Sequence[Held], attempt: Attempt) -> None:
        """Store blocks of which `attempt` may have stored some rows already, now or in a moment.

        Raises InsertRefused.
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
            self._set_aside(missing[0], error)
        self._recount(attempt)

    def _send(self, held: Sequence[Held], attempt: Attempt) -> bool:
        """Send one INSERT until the server answers (True) or the outcome is unknown (False).

        Raises InsertRefused.
        """
        blocks = [one.block for one in held]
        self._patiently(lambda: self._add_templates(attempt.namespace, held))
        self._record.write(attempt)
        try:
            self._patiently(
                lambda: self._hot.insert_blocks(attempt.namespace, blocks, attempt.epoch, attempt.token),
                StorageUnavailable,
            )
        except InsertUnknown as error:
            self._counters.trouble("clickhouse", error.message)
            return False
        self._counters.add("inserts")
        return True

    def _missing(self, held: Sequence[Held], attempt: Attempt) -> list[Held]:
        """The blocks that ClickHouse has no row of, once `attempt` is over.

        Half-stored ones are deleted there first.
        """
        namespace, epochs = attempt.namespace, [attempt.epoch]
        ids = [one.header.block_id for one in held]
        self._patiently(lambda: self._wait_until_over(attempt))
        present = self._patiently(lambda: self._hot.rows_present(namespace, ids, epochs))
        missing = [one for one in held if present[one.header.block_id] != one.header.rows]
        for block_id in (one.header.block_id for one in missing if present[one.header.block_id]):
            self._patiently(partial(self._hot.delete_block_rows, namespace, block_id, epochs))
        self._done([one for one in held if one not in missing])
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

    def _set_aside(self, one: Held, error: InsertRefused) -> None:
        self._dead_letters.take(self._spool, one.entry, error.message)
        self._retire([one.header])
        self._counters.add("blocks_refused")
        self._counters.add("lines_refused", one.header.rows)
        self._counters.trouble(f"block {one.header.block_id.hex()}", error.message)

    def _recount(self, attempt: Attempt) -> None:
        if self._sole:
            self._patiently(lambda: self._hot.rebuild_rollup(attempt.namespace, attempt.epoch))

    # --- helpers
    # ----------------------------------------------------------------------------------------------

    def _epoch(self, namespace: str) -> int:
        epoch, until = self._epochs.get(namespace, (0, 0.0))
        if time.monotonic() >= until:
            epoch = self._hot.current_epoch(namespace)
            self._epochs[namespace] = (epoch, time.monotonic() + EPOCH_SECONDS)
        return epoch

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
                self._counters.trouble("clickhouse", error.message)
                self.blocked = error.message if isinstance(error, NamespaceUnknown) else ""
                self._pause(self._backoff.next())
            else:
                self._backoff.reset()
                self.blocked = ""
                self._counters.well("clickhouse")
                return answer

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped


def _go_together(first: Header, other: Header) -> bool:
    return first.namespace == other.namespace and first.columns == other.columns
