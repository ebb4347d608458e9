"""What waits for a viewer of a tail: chunks of events within bounds, and how much was left out where it is too slow."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass

VIEWER_BYTES = 16 << 20
"""That may wait for one viewer: a second of everything at 20,000 events a second, which comes in bursts."""
TOTAL_BYTES = 128 << 20
"""That may wait for all of them; what several wait for counts once."""
SLOW = "this viewer is too slow"
REASON_CHARACTERS = 400


@dataclass
class Chunk:
    """Events as they are sent, made once for all who watch the same filter."""

    data: bytes
    events: int
    waiting: int = 0  # viewers that it waits for


@dataclass(frozen=True)
class Gap:
    """`skipped` events were left out; with `unknown`, others that nobody counted may be."""

    skipped: int
    reason: str
    unknown: bool = False

    def plus(self, other: Gap) -> Gap:
        """Both, as one. Of the reasons those are kept that say more than slowness, while they are few."""
        reason = other.reason if self.reason == SLOW else self.reason
        if other.reason not in (SLOW, reason) and other.reason not in reason:
            longer = f"{reason}; {other.reason}"
            reason = longer if len(longer) <= REASON_CHARACTERS else reason
        return Gap(self.skipped + other.skipped, reason, self.unknown or other.unknown)

    def encode(self) -> bytes:
        said = {"skipped": None if self.unknown else self.skipped, "reason": self.reason}
        if self.unknown and self.skipped:
            said["at_least"] = self.skipped
        return f"event: gap\ndata: {json.dumps(said)}\n\n".encode()


class Budget:
    """Bytes of chunks that wait for somebody."""

    def __init__(self, limit: int = TOTAL_BYTES) -> None:
        self.limit = limit
        self.used = 0
        self.skipped = 0  # events that some viewer was too slow for, all in all

    def take(self, chunk: Chunk) -> bool:
        """One more viewer waits for a chunk; False where there is no room."""
        if not chunk.waiting:
            if self.used and self.used + len(chunk.data) > self.limit:
                return False
            self.used += len(chunk.data)
        chunk.waiting += 1
        return True

    def give_back(self, chunk: Chunk) -> None:
        chunk.waiting -= 1
        if not chunk.waiting:
            self.used -= len(chunk.data)


class Viewer:
    """One viewer's queue. Used by the event loop's thread alone.

    Once something was left out, all is until the queue is empty: so what was left out has one place in the order, and
    is told there.
    """

    def __init__(self, budget: Budget, limit: int = VIEWER_BYTES) -> None:
        self.ready = asyncio.Event()
        self.ended = False
        self._budget = budget
        self._limit = limit
        self._queue: deque[Chunk | Gap] = deque()
        self._bytes = 0
        self._gap: Gap | None = None  # what was left out since the queue was full
        self._filling: set[bytes] | None = None  # blocks that came live while what was missed is fetched
        self._filled: set[bytes] = set()  # blocks whose events it got that way
        self._past: dict[str, int] = {}  # by run, the last block that it got elsewhere

    def fill(self) -> None:
        """What was missed is about to be fetched by time, so that a block may come that way and live."""
        self._filling = set()

    def fetched(self, block_id: bytes) -> bool:
        """An event of this block was fetched: is it to be told, or does its block come live?"""
        if self._filling is not None and block_id in self._filling:
            return False
        self._filled.add(block_id)
        return True

    def begin_after(self, run: str, sequence: int) -> None:
        """It was told up to there by a server that was ahead of this one, or is by what is fetched."""
        self._past[run] = sequence

    def has(self, block_id: bytes, run: str, sequence: int) -> bool:
        """A block comes live: were its events told already?"""
        if sequence <= self._past.get(run, -1):
            return True
        if self._filling is not None and block_id not in self._filled:
            self._filling.add(block_id)
        return block_id in self._filled

    def filled(self) -> None:
        """All that was missed was fetched."""
        self._filling = None

    def offer(self, chunk: Chunk) -> None:
        """A chunk is next; where there is no room it is left out, and counted."""
        full = bool(self._queue) and self._bytes + len(chunk.data) > self._limit
        if self._gap is not None or full or not self._budget.take(chunk):
            self._budget.skipped += chunk.events
            left_out = Gap(chunk.events, SLOW)
            self._gap = self._gap.plus(left_out) if self._gap else left_out
            self.ready.set()
            return
        self._queue.append(chunk)
        self._bytes += len(chunk.data)
        self.ready.set()

    def tell(self, gap: Gap) -> None:
        """Something that never was there to offer is missing here."""
        if self._gap is not None:
            self._gap = self._gap.plus(gap)
        elif self._queue and isinstance(last := self._queue[-1], Gap):
            self._queue[-1] = last.plus(gap)
        else:
            self._queue.append(gap)
        self.ready.set()

    def take(self) -> Chunk | Gap | None:
        """What is next, None while there is nothing."""
        if self._queue:
            found = self._queue.popleft()
            if isinstance(found, Chunk):
                self._bytes -= len(found.data)
                self._budget.give_back(found)
            return found
        gap, self._gap = self._gap, None
        if gap is None:
            self.ready.clear()
        return gap

    def end(self) -> None:
        """No more comes: what waits is given up."""
        self.ended = True
        while self.take() is not None:
            pass
        self.ready.set()
