"""A rest between two INSERTs, for whoever copies what a gateway and its ClickHouse have.

What is acknowledged meanwhile waits in the spool. Nothing is under way then, so a block is either in the spool or,
whole, in ClickHouse and the ledger. A hold ends by itself: who asked for it may be killed.
"""

import secrets
import threading
import time
from collections.abc import Callable

HOLD_SECONDS = 10.0
"""How long a hold lasts unless it is asked for again; so much later come events when nobody is there to end it."""


class Holding:
    """Thread-safe; `rests` is for the inserter's thread alone."""

    def __init__(self, wake: Callable[[], object]) -> None:
        """`wake`: makes the inserter ask whether it is to rest."""
        self._wake = wake
        self._changed = threading.Condition()
        self._until = 0.0
        self._number = secrets.randbits(48)  # that of another process is another
        self._rests = False

    @property
    def asked(self) -> bool:
        """Is the inserter to rest, soon or now?"""
        return time.monotonic() < self._until

    def begin(self, seconds: float = HOLD_SECONDS) -> int:
        """Let the inserter rest for so long from now on, and wait until it does; the hold's number, the same as long as
        it has not ended. 0 where the inserter does not come to rest in that time."""
        with self._changed:
            if not self.asked:
                self._number += 1
                self._rests = False
            self._until = time.monotonic() + seconds
            self._wake()
            if self._changed.wait_for(lambda: self._rests, seconds):
                return self._number
            self._until = 0.0
            return 0

    def end(self, number: int) -> bool:
        """Let it go on; whether it has rested all the time since `begin` first gave this number."""
        with self._changed:
            held = self.asked and number == self._number
            self._until = 0.0
            return held

    def rests(self) -> bool:
        """Is nothing to be inserted now? Who is told so inserts nothing until it has asked again."""
        with self._changed:
            self._rests = self.asked
            if self._rests:
                self._changed.notify_all()
            return self._rests
