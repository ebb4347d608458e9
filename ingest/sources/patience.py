"""How long the lines of a record wait for those that may follow."""

import math
import time

QUIET_SECONDS = 1.0
"""Programs write a stack trace within milliseconds; after so long without a byte it has no more lines."""
LONGEST_SECONDS = 5.0
"""Where bytes keep coming, what was written first waits so long at most (and see the lexer's bounds)."""


class Patience:
    """Watches the bytes that wait at the end of one stream."""

    def __init__(self) -> None:
        self._waiting = (0, 0)
        self._since = self._grew = math.inf

    def note(self, start: int, left: int) -> None:
        """After a pass: `left` bytes wait, the first of them at offset `start`."""
        if (start, left) == self._waiting:
            return
        now = time.monotonic()
        if start != self._waiting[0] or self._since == math.inf:
            self._since = now
        self._grew = now
        self._waiting = (start, left)
        if not left:
            self.give_up()

    def over(self, *, quiet: bool) -> bool:
        """Is it time to take what waits? `quiet`: nothing has come since `note`."""
        now = time.monotonic()
        return (quiet and now - self._grew > QUIET_SECONDS) or now - self._since > LONGEST_SECONDS

    def give_up(self) -> None:
        """Wait for nothing until other bytes are there: all that could be taken was."""
        self._since = self._grew = math.inf
