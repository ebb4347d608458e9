"""One thread that makes many waiting requests durable with one round of fsyncs.

A block is known by its id. The blocks that are made of one HTTP request differ from try to try (they hold the
time of receipt), so a request is known by a key of its own, which its blocks carry in place of an agent's id.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from ingest.arrivals import Arrivals
from ingest.counters import Counters
from ingest.errors import CommitFailed, SpoolFull
from ingest.freshness import Freshness
from ingest.ledger import Ledger
from ingest.spool import Spool, SpoolEntry
from storage import tracing
from storage.arrivals import Arrival
from storage.native.block import Header, parse_header
from storage.numbers import FIRST_SHARD

MAX_WAITING_BYTES = 64 << 20
"""Of requests that wait for the disk; beyond it senders are told to come back."""
MAX_ROUND_BYTES = 32 << 20
REQUEST_AGENT = "request:"
"""Starts the agent id of a block that was made of an HTTP request; the request's key follows, in hex."""


@dataclass(frozen=True, slots=True)
class Submission:
    """Blocks `(block id, data)` to keep, wholly or not at all; `request` is the key of what they came in.

    `replay`: one block that was set aside before, and is to be tried again. `headers`: of the blocks, where they are
    at hand; else they are read again for whoever watches what arrives. `shard`: the number of the only one that may
    have it, 0 for any.
    """

    blocks: tuple[tuple[bytes, bytes | bytearray], ...]
    request: bytes | None = None
    replay: bool = False
    headers: tuple[Header, ...] = ()
    shard: int = 0
    answer: "Future[bool]" = field(default_factory=Future)

    @property
    def size(self) -> int:
        return sum(len(data) for _, data in self.blocks)


class Committer:
    """Owns the writing end of the gateway's spool, and the question whether something was accepted before."""

    def __init__(
        self,
        spool: Spool,
        ledger: Ledger,
        counters: Counters,
        arrivals: Arrivals | None = None,
        freshness: Freshness | None = None,
        place: Callable[[int], int] = lambda _size: FIRST_SHARD,
    ) -> None:
        """`place` chooses the shard of so many bytes that are new."""
        self._place = place
        self._spool = spool
        self._ledger = ledger
        self._counters = counters
        self._arrivals = arrivals or Arrivals()
        self._freshness = freshness or Freshness()
        self._requests: set[bytes] = set()  # whose blocks are in the spool
        self._waiting: queue.SimpleQueue[Submission | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._failed: CommitFailed | None = None
        self.on_failure: Callable[[], None] = lambda: None  # called when nothing can be kept any more
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def submit(self, submission: Submission) -> "Future[bool]":
        """True once it is durable, False if it was accepted before; the future may raise SpoolFull, CommitFailed,
        OSError.

        Raises SpoolFull at once where too much waits already, CommitFailed where nothing can be kept any more.
        """
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if self._waiting_bytes and self._waiting_bytes + submission.size > MAX_WAITING_BYTES:
                raise SpoolFull("busy", "cannot take block: too many wait for the disk")
            self._waiting_bytes += submission.size
            self._waiting.put(submission)
        return submission.answer

    def recover(self) -> None:
        """Read what an earlier process left in the spool; call once, before `start`.

        A block that the ledger calls done has left the spool before, but for its unlink; one that was to be set
        aside is tried once more. A request of which not every block is there was never answered, and will be
        sent again: what is there of it goes.
        """
        found: dict[bytes, list[tuple[SpoolEntry, int]]] = {}
        arrived: dict[str, Arrival] = {}

        def seen(entry: SpoolEntry, header: Header) -> None:
            if self._ledger.is_done(entry.block_id):
                self._spool.remove([entry])
                return
            arrived[entry.name] = Arrival.of(entry.sequence, header)
            self._freshness.taken([header], entry.created)
            request = request_of(header)
            if request is not None:
                found.setdefault(request, []).append((entry, header.sources[0].end))

        damaged = self._spool.recover(seen)
        for one in damaged:
            self._counters.add("blocks_damaged")
            self._counters.trouble(f"spool file {one.name}", one.reason)
        for request, parts in found.items():
            # The last part says how many there are. A damaged file may be the missing part: then keeping a
            # request twice is better than losing it.
            whole = len(parts) == max(count for _, count in parts)
            if whole or damaged or request in self._ledger:
                self._requests.add(request)
            else:
                self._spool.remove([entry for entry, _ in parts])
                self._freshness.gone(entry.block_id for entry, _ in parts)
        self._arrivals.found([arrived[entry.name] for entry in self._spool.pending()])

    def retire(self, headers: Sequence[Header]) -> None:
        """Remember in the ledger, durably, that these blocks are done with. Raises OSError."""
        requests = [request for request in map(request_of, headers) if request is not None]
        self._ledger.append([*(header.block_id for header in headers), *requests])
        self._requests.difference_update(requests)
        self._freshness.stored(headers)

    def set_aside(self, headers: Sequence[Header]) -> None:
        """Remember, durably, that these blocks are among the dead letters. Raises OSError."""
        requests = [request for request in map(request_of, headers) if request is not None]
        self._ledger.append(requests)
        self._ledger.set_aside(header.block_id for header in headers)
        self._requests.difference_update(requests)
        self._freshness.gone(header.block_id for header in headers)

    def accepted_before(self, one: bytes) -> bool:
        """Is this block id or request key known?"""
        return one in self._ledger or one in self._spool or one in self._requests

    def may_be_forgotten(self, header: Header) -> bool:
        """Is this block so old that it may have been accepted once, and nobody here knows it any more?"""
        return self._ledger.may_have_forgotten(header.created_ns / 1e9)

    def _run(self) -> None:
        round_: list[Submission] = []
        try:
            self._commit_rounds(round_)
        except BaseException as error:
            self._give_up(round_, CommitFailed(f"cannot keep block: {type(error).__name__}: {error}"))
            self.on_failure()
            raise

    def _give_up(self, round_: Sequence[Submission], failed: CommitFailed) -> None:
        """Nobody waits for ever: all who wait are told, and so is whoever comes."""
        with self._lock:
            self._failed = failed
        waiting = [*round_]
        with contextlib.suppress(queue.Empty):
            while True:
                if (one := self._waiting.get_nowait()) is not None:
                    waiting.append(one)
        for one in waiting:
            with contextlib.suppress(InvalidStateError):  # it has its answer, or its sender has left
                one.answer.set_exception(failed)

    def _commit_rounds(self, round_: list[Submission]) -> None:
        """Until the end; `round_` holds what is at hand."""
        while (first := self._waiting.get()) is not None:
            round_[:], ended = self._gather(first)
            # Whoever has left takes its request back; from now on it is kept, and nobody can.
            self._commit([one for one in round_ if one.answer.set_running_or_notify_cancel()])
            with self._lock:
                self._waiting_bytes -= sum(one.size for one in round_)
            if ended:
                return

    def _gather(self, first: Submission) -> tuple[list[Submission], bool]:
        """All that waits now, up to a bound; and whether the end was among it."""
        round_, size = [first], first.size
        while size < MAX_ROUND_BYTES:
            try:
                more = self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return round_, True
            round_.append(more)
            size += more.size
        return round_, False

    def _commit(self, round_: list[Submission]) -> None:
        fresh, doubles = self._sort_out(round_)
        anywhere = [one for one in fresh if not one.shard]
        self._put(anywhere, self._place(sum(one.size for one in anywhere)) if anywhere else FIRST_SHARD)
        for one in fresh:
            if one.shard:
                self._put([one], one.shard)
        for double, original in doubles:
            _answer_as(double, original)

    def _sort_out(
        self, round_: list[Submission]
    ) -> tuple[list[Submission], list[tuple[Submission, Submission]]]:
        """Answer what was accepted before; pair what comes twice in this round with its first."""
        fresh: dict[bytes, Submission] = {}
        doubles = []
        for one in round_:
            key = one.request or one.blocks[0][0]
            if self._is_double(one, key):
                one.answer.set_result(False)
            elif key in fresh:
                doubles.append((one, fresh[key]))
            else:
                fresh[key] = one
        return list(fresh.values()), doubles

    def _is_double(self, one: Submission, key: bytes) -> bool:
        """A dead letter's id is known, and must be: whoever sends its block again need not keep it."""
        return key in self._spool or self._ledger.is_done(key) if one.replay else self.accepted_before(key)

    def _put(self, fresh: list[Submission], shard: int) -> None:
        """Keep them all with one fsync of the folder; if they do not fit together, one by one."""
        if not fresh:
            return
        try:
            self._put_together(fresh, shard)
        except (OSError, SpoolFull) as error:
            if len(fresh) == 1:
                fresh[0].answer.set_exception(error)
                return
            for one in fresh:
                self._put([one], shard)

    def _put_together(self, fresh: list[Submission], shard: int) -> None:
        first = self._spool.last_sequence + 1
        blocks = [block for one in fresh for block in one.blocks]
        requests = [one.request for one in fresh if one.request is not None]
        replayed = [block for one in fresh if one.replay for block in one.blocks]
        headers = [
            header
            for one in fresh
            for header in one.headers or (parse_header(data)[0] for _, data in one.blocks)
        ]
        # Known before they can be retired: the inserter may be done with a block before this returns.
        self._requests.update(requests)
        self._freshness.taken(headers)
        # Recovery lets go of what the ledger knows, so it must not know these any more. They are still among the
        # dead letters: killed now, they are replayed again.
        self._ledger.append(filter(None, (request_of(parse_header(data)[0]) for _, data in replayed)))
        self._ledger.forget(block_id for block_id, _ in replayed)
        try:
            numbered = [(first + place, block_id, data) for place, (block_id, data) in enumerate(blocks)]
            self._spool.put(numbered, shard, of_one=len(fresh) == 1)
        except (OSError, SpoolFull):
            self._requests.difference_update(requests)
            self._ledger.set_aside(block_id for block_id, _ in replayed)
            self._freshness.gone(block_id for block_id, _ in blocks)
            raise
        self._counters.add("blocks_accepted", len(blocks))
        self._counters.add("commits")
        for one in fresh:
            one.answer.set_result(True)
        # Senders have their answers by now.
        self._arrivals.publish(
            (Arrival.of(first + place, header), data)
            for place, (header, (_, data)) in enumerate(zip(headers, blocks, strict=True))
        )


def request_of(header: Header) -> bytes | None:
    """The key of the HTTP request that a block was made of, if it was."""
    marker, _, key = header.agent_id.partition(":")
    return bytes.fromhex(key) if marker + ":" == REQUEST_AGENT else None


def _answer_as(double: Submission, original: Submission) -> None:
    error = original.answer.exception()
    if error is not None:
        double.answer.set_exception(error)
    else:
        double.answer.set_result(False)


async def committed(committer: Committer, submission: Submission) -> bool:
    """Submit, and wait for the answer, which `submit` describes. Raises SpoolFull, CommitFailed,
    OSError."""
    with tracing.span("commit", blocks=len(submission.blocks), bytes=submission.size):
        tracing.remember(block_id for block_id, _ in submission.blocks)
        return await asyncio.wrap_future(committer.submit(submission))
