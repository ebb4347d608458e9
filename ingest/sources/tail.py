"""One file being read, under one identity, from where it was left to its end."""

import os
from dataclasses import replace

from ingest.batch import Batch, Labels
from ingest.checkpoints import Progress
from ingest.identity import Content, Footprint
from ingest.sources.patience import Patience
from lexer import Carry
from storage.native.block import Source

CHUNK_BYTES = 256 << 10
"""Read at once: small enough to be in the second-level cache when the lexer comes to it."""
MAX_CHUNK_BYTES = (1 << 20) + (64 << 10)
"""Read when a chunk holds no whole line: the lexer splits a line of a mebibyte."""
PASS_BYTES = 8 << 20
"""Read from one file before the next has its turn."""


class OpenFile:
    """Bytes of an open file by offset."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def size(self) -> int:
        return os.fstat(self.handle).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.handle, length, offset)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes there were."""
        return os.preadv(self.handle, [buffer], offset)

    def close(self) -> None:
        os.close(self.handle)


class Replaced(Exception):
    """The file no longer holds what was read from it: truncated, or written anew."""


class Tail:
    """Reads [position, end of file) but for the ranges `ahead`, which are in blocks already."""

    def __init__(
        self, path: str, key: tuple[int, int], file: OpenFile, labels: Labels, progress: Progress
    ) -> None:
        self.path = path
        self.key = key
        self.file = file
        self.labels = labels
        self.carry = Carry()
        self.generation = progress.generation
        self.behind = True  # there is more to read than the last pass took
        self._ahead = list(progress.ahead)
        self._footprint = Footprint.of(file, progress.offset)
        self._seen: tuple[int, int] | None = None  # size and mtime when the last pass reached the end
        self._patience = Patience()
        self._held = b""  # a copy of the lines that wait for more of their record

    @property
    def position(self) -> int:
        """Offset of the next byte to read."""
        return self._footprint.offset

    @property
    def footprint(self) -> Footprint:
        """What was read, to know it by."""
        return self._footprint

    def begins_like(self, other: Content) -> bool:
        """Does `other` begin as this file does, as far as either goes?"""
        mine = self._footprint.head
        its = other.read_at(0, len(mine))
        return bool(mine) and its == mine[: len(its)]

    def went_to(self, other: Content) -> bool:
        """Does `other` hold what was read here, and this file no more? Then the next `read` will notice."""
        return not self._footprint.matches(self.file) and self._footprint.matches(other)

    def source(self, start: int, end: int) -> Source:
        """The name of [start, end); `end` must be the present position."""
        device, inode = self.key
        return Source(device, inode, self._footprint.mark(self.generation).encode(), self.path, start, end)

    def read(self, batch: Batch, buffer: memoryview, *, final: bool = False) -> int:
        """Move whole records into `batch` until it is full, the file's end or the pass's; return the bytes
        moved.

        `final` also takes a last line without a newline. Raises Replaced, OSError.
        """
        found = os.fstat(self.file.handle)
        state = (found.st_size, found.st_mtime_ns)
        flush = self.labels.multiline is not None and self._patience.over(quiet=state == self._seen)
        if state == self._seen and not self.behind and not final and not flush:
            return 0
        if not self._footprint.matches(self.file):
            return self._rescue(batch)
        moved, ended = self._read_pass(batch, buffer, final, flush)
        self.behind = not ended
        self._seen = state
        return moved

    def progress(self) -> Progress:
        """Where a later opening of the same file goes on."""
        mark = self._footprint.mark(self.generation)
        return Progress(self.path, self.generation, self.position, list(self._ahead), [mark])

    def close(self) -> None:
        self.file.close()

    def rename(self, path: str) -> None:
        """The same file has another name now; its lines keep the labels of the first."""
        self.path = path

    def _rescue(self, batch: Batch) -> int:
        """The file holds something else; the lines that had been read and waited are taken from memory.

        Raises Replaced when there are none.
        """
        held = memoryview(self._held)
        taken = self._move(batch, held, flush=True) if held else 0
        if not taken:
            raise Replaced(self.path)
        self._held = bytes(held[taken:])
        self.behind = True
        return taken

    def _read_pass(self, batch: Batch, buffer: memoryview, final: bool, flush: bool) -> tuple[int, bool]:
        """Bytes moved, and whether the end of the file was reached."""
        moved, chunk = 0, CHUNK_BYTES
        while moved < PASS_BYTES and not batch.full:
            limit = self._room_before_ahead(chunk)
            count = self.file.read_into(self.position, buffer[:limit])
            at_gap_end = count == limit < chunk
            at_end = count < limit
            taken = self._move(
                batch, buffer[:count], final=at_gap_end or (final and at_end), flush=flush and at_end
            )
            moved += taken
            self._wait_for(buffer[taken:count] if at_end else buffer[:0], given_up=flush and at_end)
            if taken == 0 and count == chunk < MAX_CHUNK_BYTES:
                chunk = MAX_CHUNK_BYTES
            elif at_end and not batch.full:
                return moved, True
            elif taken == 0 and not batch.full:
                raise RuntimeError(f"the lexer took nothing of {count} bytes of {self.path}")
        return moved, False

    def _wait_for(self, left: memoryview, *, given_up: bool) -> None:
        """Note what of the file was read and not taken: lines whose record may go on, and an unfinished one."""
        if self.labels.multiline is None:
            return
        self._held = bytes(left)
        self._patience.note(self.position, len(left))
        if given_up:
            self._patience.give_up()

    def _move(self, batch: Batch, data: memoryview, *, final: bool = False, flush: bool = False) -> int:
        start = self.position
        taken = batch.add(self, data, final=final, flush=flush)
        if taken:
            self._footprint.take(data[:taken])
            batch.cover(self, start, self.position)
        self._skip_ahead()
        return taken

    def _room_before_ahead(self, chunk: int) -> int:
        self._skip_ahead()
        return min(chunk, self._ahead[0][0] - self.position) if self._ahead else chunk

    def _skip_ahead(self) -> None:
        while self._ahead and self._ahead[0][0] <= self.position:
            _, end = self._ahead.pop(0)
            if end > self.position:
                self._footprint = Footprint.of(self.file, end)


def relabel(labels: Labels, path: str) -> Labels:
    """The labels with the file's path among the tags."""
    return replace(labels, tags={**labels.tags, "log.file.path": path})
