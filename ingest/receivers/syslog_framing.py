"""Where one syslog message ends on a connection (RFC 6587): counted octets, or a newline (or NUL) after each.

The first byte of a connection says which: a digit, or anything else. Where the first thing that ends has a NUL
after it, a NUL ends all others, and newlines are part of them.
"""

from collections.abc import Iterator

MAX_COUNTED = 16 << 20
"""A larger count is taken for no count."""
_COUNT_ROOM = 9  # digits and the space after them
_DIGITS = frozenset(b"0123456789")


class Rest(bytes):
    """What a message that was too long goes on with: it has no header of its own."""


class Framing:
    """Bytes of one connection in, messages out. Holds `limit` bytes of an unfinished one at most.

    `damaged` counts what was no count where one was expected, and messages that ended with the connection; `split`
    messages that were longer than `limit`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = b""
        self._counted: bool | None = None
        self._ender = b""  # newline or NUL, once one of them was there
        self._left = 0  # of a counted message that is too long: octets to come
        self._within = False  # a message that is too long: its beginning was given
        self.damaged = 0
        self.split = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        data = self._kept + data if self._kept else data
        self._kept = b""
        if self._counted is None:
            self._counted = data[:1].isdigit()
        return list(self._by_count(data) if self._counted else self._by_line(data))

    def end(self) -> list[bytes]:
        """What is left when the connection ends."""
        kept, self._kept = self._kept, b""
        if self._counted and (kept or self._left):
            self.damaged += 1
            kept = kept.partition(b" ")[2] if kept[:1].isdigit() else kept
        return [self._piece(kept)] if kept.strip(b"\r\n\0") else []

    def _by_line(self, data: bytes) -> Iterator[bytes]:
        if not self._ender and (b"\0" in data or b"\n" in data):
            self._ender = b"\0" if b"\0" in data else b"\n"
        if self._ender == b"\n" and b"\0" in data:
            data = data.replace(b"\0", b"\n")
        lines = data.split(self._ender or b"\n")
        last = lines.pop()
        for line in lines:
            yield from self._pieces(line)
            self._within = False
        while len(last) > self._limit:
            yield self._over(last[: self._limit])
            last = last[self._limit :]
        self._kept = last

    def _by_count(self, data: bytes) -> Iterator[bytes]:
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at, self._limit)
                if step < min(self._left, self._limit):
                    break
                yield Rest(data[at : at + step])
                self._left -= step
                at += step
                continue
            space = data.find(b" ", at, at + _COUNT_ROOM)
            if space < 0 and end - at < _COUNT_ROOM and data[at:].isdigit():
                break
            count = int(data[at:space]) if space > at and _DIGITS.issuperset(data[at:space]) else 0
            if not 0 < count <= MAX_COUNTED:
                found = self._no_count(data, at)
                if found is None:
                    break
                line, at = found
                yield from self._pieces(line)
                self._within = False
                continue
            start = space + 1
            if count > self._limit:
                if end - start < self._limit:
                    break
                self.split += 1
                yield data[start : start + self._limit]
                self._left, at = count - self._limit, start + self._limit
                continue
            if end - start < count:
                break
            yield data[start : start + count]
            at = start + count
        self._kept = data[at:]

    def _no_count(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """What stands where a count should: it is a message up to a newline, after which there may be a count again.

        Without one, up to `limit` bytes are waited for.
        """
        newline = data.find(b"\n", at)
        if newline < 0 and len(data) - at < self._limit:
            return None
        after = newline + 1 if newline >= 0 else at + self._limit
        line = data[at:after].strip(b"\r\n\0")
        self.damaged += bool(line)  # newlines between counted messages are common, and harmless
        return line, after

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        while len(line) > self._limit:
            yield self._over(line[: self._limit])
            line = line[self._limit :]
        line = line.strip(b"\r\n")
        if line:
            yield self._piece(line)

    def _over(self, piece: bytes) -> bytes:
        self.split += not self._within
        piece, self._within = self._piece(piece), True
        return piece

    def _piece(self, piece: bytes) -> bytes:
        return Rest(piece) if self._within or self._left else piece
