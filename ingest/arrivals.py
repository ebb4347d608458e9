"""What has just become durable, told to those who watch: live tail is fed from here, not from ClickHouse.

The committer publishes after it has answered the senders. With nobody watching that is an append to a list. A watcher
that is slow loses blocks, which are counted for it; it never holds up the committer.
"""

import asyncio
import secrets
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from ingest.errors import RequestRefused
from storage.arrivals import Arrival
from storage.config import MOST_GATEWAYS

REMEMBERED = 16384
"""Arrivals that a watcher which comes back can ask for: hours of one agent's blocks, minutes of many small requests."""
QUEUE_BYTES = 32 << 20
"""Of blocks that wait for one watcher. Their bytes are those that the spool keeps, as long as it keeps them."""
TOTAL_BYTES = 512 << 20
"""The same, for all of them: those that are as slow share most."""
MAX_WATCHERS = 2 * MOST_GATEWAYS
"""Search processes, not viewers."""

Data = bytes | bytearray


class Watcher:
    """Blocks that wait for one watcher. The committer's thread puts, the event loop takes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting: deque[tuple[Arrival, Data]] = deque()
        self.bytes = 0
        self.after = 0  # the last sequence before what was missed
        self.upto = 0  # the last that was
        self.missed: Counter[str] = Counter()
        self.ready = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def put(self, arrival: Arrival, data: Data, before: int, room: int = TOTAL_BYTES) -> bool:
        """Is there room, its own and that of all? Once something was missed, all is until the queue is empty: what was
        missed has one place in the order."""
        if self.missed or (self.waiting and (self.bytes + len(data) > self.limit or len(data) > room)):
            if not self.missed:
                self.after = before
            self.upto = arrival.sequence
            self.missed[arrival.namespace] += arrival.rows
            return False
        self.waiting.append((arrival, data))
        self.bytes += len(data)
        return True

    def take(self) -> tuple[Arrival, Data] | dict[str, object] | None:
        """The next block, or what was missed, or None."""
        if self.waiting:
            arrival, data = self.waiting.popleft()
            self.bytes -= len(data)
            return arrival, data
        if not self.missed:
            return None
        gap: dict[str, object] = {"after": self.after, "upto": self.upto, "rows": dict(self.missed)}
        self.missed.clear()
        return gap


class Arrivals:
    """The last blocks that became durable, and who watches. Thread-safe."""

    def __init__(self, remembered: int = REMEMBERED, queue_bytes: int = QUEUE_BYTES) -> None:
        self.run = secrets.token_hex(8)
        self._queue_bytes = queue_bytes
        self._remembered: deque[Arrival] = deque(maxlen=remembered)
        self._watchers: list[Watcher] = []
        self.missed = 0  # events that some watcher was too slow for, all in all
        self.ended = False
        self.recovered = 0  # the last sequence that an earlier run left
        self._position = 0
        self._forgotten = 0  # the last sequence that is not remembered any more
        self._lock = threading.Lock()

    def publish(self, blocks: Iterable[tuple[Arrival, Data]]) -> None:
        """Tell of blocks that are durable, in the order of their sequences. Never waits for a watcher."""
        with self._lock:
            room = TOTAL_BYTES - sum(one.bytes for one in self._watchers)
            for arrival, data in blocks:
                if len(self._remembered) == self._remembered.maxlen:
                    self._forgotten = self._remembered[0].sequence
                self._remembered.append(arrival)
                for watcher in self._watchers:
                    if watcher.put(arrival, data, self._position, room):
                        room -= len(data)
                    else:
                        self.missed += arrival.rows
                self._position = arrival.sequence
        self._wake()

    def end(self) -> None:
        """The process is about to end: so do the streams."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        for watcher in list(self._watchers):
            try:
                watcher.loop.call_soon_threadsafe(watcher.ready.set)
            except RuntimeError:  # its loop has closed
                self.unwatch(watcher)

    def watch(self) -> tuple[Watcher, int]:
        """Begin to watch from the event loop, and the position that begins after. Raises RequestRefused."""
        watcher = Watcher(self._queue_bytes)
        with self._lock:
            if len(self._watchers) >= MAX_WATCHERS:
                message = f"cannot watch arrivals: {MAX_WATCHERS} watch already"
                raise RequestRefused("busy", message, "run fewer search processes", 429)
            self._watchers.append(watcher)
            return watcher, self._position

    def unwatch(self, watcher: Watcher) -> None:
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def take(self, watcher: Watcher) -> tuple[Arrival, Data] | dict[str, object] | None:
        """What is next for a watcher, None while there is nothing."""
        with self._lock:
            found = watcher.take()
            if found is None:
                watcher.ready.clear()
            return found

    def after(self, sequence: int, limit: int) -> tuple[list[Arrival], int, bool]:
        """Up to `limit` arrivals after a sequence, the present position, and whether none between is forgotten."""
        with self._lock:
            found = [one for one in self._remembered if one.sequence > sequence]
            return found[:limit], self._position, sequence >= self._forgotten

    def found(self, arrivals: Sequence[Arrival]) -> None:
        """Take in what an earlier run left in the spool, before anything is published."""
        self.publish((arrival, b"") for arrival in arrivals)
        self.recovered = self._position

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    @property
    def waiting_bytes(self) -> int:
        with self._lock:
            return sum(one.bytes for one in self._watchers)
