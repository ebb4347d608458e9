"""Which file is this? A path names a place, not content: files are renamed, copied, truncated, inodes used
again.

A file is known by device, inode, a generation that grows whenever the content under that inode starts anew,
and two digests: of its first bytes (`HEAD_BYTES`, fewer while less has been read) and of the bytes just
before a read offset. The head alone cannot tell two files that begin alike, the end alone cannot tell where a
file begins.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct
from struct import error as StructError
from typing import Protocol

HEAD_BYTES = 1024
"""Enough for a first line with its timestamp, little enough to read on every pass."""
TAIL_BYTES = 256
"""Looked at before an offset; a line or two."""
_DIGEST_BYTES = 12
_MARK = Struct(f">IH{_DIGEST_BYTES}s{_DIGEST_BYTES}s")


class Content(Protocol):
    """The bytes of an open file, by offset. Raises OSError as the system does."""

    def size(self) -> int:
        """How many bytes there are now."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a file has been read to, and what its bytes there were.

    `head` is the digest of the first `head_length` bytes, `tail` of the up to TAIL_BYTES before `offset`.
    """

    generation: int
    offset: int
    head_length: int
    head: bytes
    tail: bytes

    def encode(self) -> str:
        """As hex, for a block's source; the offset travels beside it, as the end of the range."""
        return _MARK.pack(self.generation, self.head_length, self.head, self.tail).hex()

    @classmethod
    def decode(cls, text: str, offset: int) -> "Mark":
        """Raises ValueError where `text` is no mark."""
        try:
            generation, head_length, head, tail = _MARK.unpack(bytes.fromhex(text))
        except (StructError, ValueError) as error:
            raise ValueError(f"not a file mark: {text}") from error
        return cls(generation, offset, head_length, head, tail)

    def begins(self, data: bytes) -> bool:
        """Is `data`, of `head_length` bytes, how the file began?"""
        return digest(data) == self.head

    def matches(self, content: Content) -> bool:
        """Does `content` still hold what was read when this mark was made?"""
        if content.size() < self.offset or not self.begins(content.read_at(0, self.head_length)):
            return False
        return digest(before(content, self.offset)) == self.tail


@dataclass(slots=True)
class Footprint:
    """The bytes of a file that its next mark is made of, as they were when they were read.

    Kept in memory, because by the time a block is sealed the file may hold something else.
    """

    head: bytes = b""
    tail: bytes = b""
    offset: int = field(default=0)

    @classmethod
    def of(cls, content: Content, offset: int) -> "Footprint":
        """As if everything before `offset` had just been read."""
        return cls(content.read_at(0, min(HEAD_BYTES, offset)), before(content, offset), offset)

    def take(self, data: memoryview) -> None:
        """Go on over `data`, which has been read at the present offset."""
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        if len(data) >= TAIL_BYTES:
            self.tail = bytes(data[-TAIL_BYTES:])
        else:
            self.tail = (self.tail + bytes(data))[-TAIL_BYTES:]
        self.offset += len(data)

    def mark(self, generation: int) -> Mark:
        return Mark(generation, self.offset, len(self.head), digest(self.head), digest(self.tail))

    def matches(self, content: Content) -> bool:
        """Does `content` still hold what was read?"""
        if content.size() < self.offset:
            return False
        return content.read_at(0, len(self.head)) == self.head and before(content, self.offset) == self.tail


def before(content: Content, offset: int) -> bytes:
    """The up to TAIL_BYTES bytes just before `offset`."""
    start = max(0, offset - TAIL_BYTES)
    return content.read_at(start, offset - start)


def digest(data: bytes) -> bytes:
    """A short hash, the same everywhere and for ever."""
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()
