"""A rest between two INSERTs, for whoever copies what a gateway and its ClickHouse have.

What is acknowledged meanwhile waits in the spool. Nothing is under way then, so a block is either in the spool or,
whole, in ClickHouse and the ledger. A hold ends by itself: who asked for it may be killed.
"""

import secrets
import threading
import time
from collections.abc import Callable, Collection

HOLD_SECONDS = 10.0
"""How long a hold lasts unless it is asked for again; so much later come events when nobody is there to end it."""


class Holding:
    """Lets all inserters of a gateway rest at once. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._until = 0.0
        self._number = secrets.randbits(48)  # that of another process is another
        self._inserters: dict[object, tuple[Callable[[], object], int]] = {}
        self._resting: set[object] = set()

    def join(self, inserter: object, wake: Callable[[], object], shard: int = 1) -> None:
        """One more is to rest, from before it starts on; `wake` makes it ask whether it is to."""
        self._inserters[inserter] = wake, shard

    @property
    def asked(self) -> bool:
        """Are inserters to rest, soon or now?"""
        return time.monotonic() < self._until

    def begin(self, seconds: float = HOLD_SECONDS, without: Collection[int] = ()) -> int:
        """Let the inserters rest for so long from now on, and wait until all do; the hold's number, the same as long as
        it has not ended. 0 where they do not all come to rest in that time.

        `without`: numbers of shards that may be away: who inserts there is not waited for."""
        with self._changed:
            if not self.asked:
                self._number += 1
                self._resting.clear()
            self._until = time.monotonic() + seconds
            for wake, _ in self._inserters.values():
                wake()
            wanted = {one for one, (_, shard) in self._inserters.items() if shard not in without}
            if self._changed.wait_for(lambda: self._resting >= wanted, seconds):
                return self._number
            self._until = 0.0
            return 0

    def end(self, number: int) -> bool:
        """Let them go on; whether they have rested all the time since `begin` first gave this number."""
        with self._changed:
            held = self.asked and number == self._number
            self._until = 0.0
            return held

    def rests(self, inserter: object) -> bool:
        """Is this one to insert nothing now? Who is told so inserts nothing until it has asked again."""
        with self._changed:
            if not self.asked:
                self._resting.discard(inserter)
                return False
            self._resting.add(inserter)
            self._changed.notify_all()
            return True
