"""A stream that goes on being read while its reader does something else, so that its sender does not give up.

ClickHouse ends an answer that nobody reads for half a minute (`http_send_timeout`, which a query cannot set). Who
writes a file to S3 for each of a hundred days between two batches takes longer than that. So a thread reads ahead: a
few pieces at once, then a sip whenever the sender has waited for a while. Memory grows by that alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from http.client import HTTPException
from io import RawIOBase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE_BYTES = 1 << 20  # what a sip takes: less may not wake a sender whose buffers hold megabytes
AHEAD = 2  # pieces that are read before anybody asks
SIP_SECONDS = 5.0  # several to the half minute after which a sender gives up


class Sips(RawIOBase):
    """A readable file over `read(size)` of a socket. For a with statement, within that of what `end` shuts down."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        end: Callable[[], None],
        *,
        piece: int = PIECE_BYTES,
        ahead: int = AHEAD,
        seconds: float = SIP_SECONDS,
    ) -> None:
        """`end`: lets a `read` that waits for the sender return, or raise."""
        self._read, self._end = read, end
        self._piece, self._ahead, self._seconds = piece, ahead, seconds
        self._pieces: deque[memoryview] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="sips", daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Waits for a byte; 0 at the end. Raises what `read` raised."""
        into = memoryview(buffer).cast("B")
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._over)
            if not self._pieces:
                if self._fault is not None:
                    raise self._fault
                return 0
            piece = self._pieces.popleft()
            taken = min(len(piece), len(into))
            into[:taken] = piece[:taken]
            if taken < len(piece):
                self._pieces.appendleft(piece[taken:])
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        if not self.closed:
            super().close()
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self._end()
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._wanted() and (piece := self._read(self._piece)):
                with self._changed:
                    self._pieces.append(memoryview(piece))
                    self._changed.notify_all()
        except (OSError, HTTPException, ValueError) as error:  # whoever reads is told
            self._fault = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _wanted(self) -> bool:
        """Wait until there is room, or the sender has waited long enough; False once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or len(self._pieces) < self._ahead, self._seconds)
            return not self._over
