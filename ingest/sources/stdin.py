"""Standard input: lines that come once. What was read is safe when its block is in the spool, not before."""

import os
import secrets
import select

from ingest.batch import Batch, Labels
from ingest.sources.patience import QUIET_SECONDS, Patience
from ingest.sources.tail import MAX_CHUNK_BYTES
from lexer import Carry
from storage.native.block import Source

SETTLE_SECONDS = 0.01
"""A fast writer's pipe fills meanwhile, so that lines come by the chunk."""


class Stdin:
    """Reads a descriptor to its end. Used by one thread."""

    path = "-"

    def __init__(self, labels: Labels, handle: int = 0) -> None:
        self.labels = labels
        self.carry = Carry()
        self.finished = False
        self.behind = False
        self._handle = handle
        self._run = secrets.token_hex(16)  # no two runs read the same bytes
        self._position = 0
        self._buffer = bytearray(MAX_CHUNK_BYTES)
        self._held = 0  # bytes at the start of the buffer that are no whole line yet
        self._ended = False
        self._patience = Patience()

    def source(self, start: int, end: int) -> Source:
        """The name of [start, end); inode 0 says that it cannot be read again."""
        return Source(0, 0, self._run, self.path, start, end)

    def read(self, batch: Batch) -> int:
        """Move what is there into `batch`; return the bytes moved. Raises OSError."""
        moved = 0
        while not batch.full and not self.finished:
            came = self._fill()
            taken = self._take(batch, quiet=not came)
            moved += taken
            self.finished = self._ended and self._held == 0
            if not came and not taken:
                break
        self.behind = batch.full and not self.finished
        return moved

    def sleep(self, seconds: float) -> None:
        """Wait until something comes, at most `seconds`."""
        if self._held and self.labels.multiline is not None:
            seconds = min(seconds, QUIET_SECONDS / 4)
        select.select([], [], [], min(seconds, SETTLE_SECONDS))
        self._readable(max(0.0, seconds - SETTLE_SECONDS))

    def close(self) -> None:
        """Standard input stays open; it belongs to the process."""

    def _fill(self) -> int:
        """Read what fits and is there; return the bytes read."""
        room = memoryview(self._buffer)[self._held :]
        if self._ended or not room or not self._readable(0.0):
            return 0
        count = os.readv(self._handle, [room])
        self._ended = count == 0
        self._held += count
        return count

    def _take(self, batch: Batch, quiet: bool) -> int:
        data = memoryview(self._buffer)[: self._held]
        flush = self.labels.multiline is not None and self._patience.over(quiet=quiet)
        taken = batch.add(self, data, final=self._ended, flush=flush) if self._held else 0
        if taken:
            start, self._position = self._position, self._position + taken
            batch.cover(self, start, self._position)
            rest = self._held - taken
            self._buffer[:rest] = self._buffer[taken : self._held]
            self._held = rest
        self._patience.note(self._position, self._held)
        if flush:
            self._patience.give_up()
        return taken

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._handle], [], [], seconds)[0])
