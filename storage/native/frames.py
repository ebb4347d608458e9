"""ClickHouse's compressed-block frames: what a native stream is cut into on the wire and in its files.

A frame is 16 bytes of CityHash128 (high half first) over the rest, then a method byte, the frame's size with
these nine header bytes, the size of the data within (both 32 bits, little-endian), and the data compressed
with LZ4, or as they are. ClickHouse reads frames as one stream, so where they cut it means nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from clickhouse_cityhash.cityhash import CityHash128
from lz4 import block as lz4

from storage.errors import BlockDamaged

Buffer: TypeAlias = bytes | bytearray | memoryview
Piece: TypeAlias = (
    Buffer | tuple[Buffer, int]
)  # data, or data that is one LZ4 block already and its unpacked size

LZ4_METHOD = 0x82
PLAIN_METHOD = 0x02  # the data as they are
HEADER = struct.Struct("<BII")  # method, size with this header, size of the data within
CHECKSUM = struct.Struct("<QQ")
OVERHEAD = CHECKSUM.size + HEADER.size
FRAME_BYTES = 1 << 20  # what ClickHouse itself cuts at; large enough for LZ4, small enough for a cache
DIRECT_BYTES = 64 << 10  # a piece of so much is compressed where it lies, smaller ones are put together first
SAMPLE_BYTES = 16 << 10  # of a piece, compressed to see whether the rest is worth it
WORTH_PACKING = 0.9  # ids in hex come out at 0.93: a fifth of the time of LZ4 for nothing
MAX_FRAME_BYTES = 1 << 30  # what ClickHouse refuses beyond


class Frame(NamedTuple):
    """One frame: its checksum and what that is over."""

    checksum: bytes
    body: bytes


def checksum(data: Buffer) -> bytes:
    """CityHash128 of the data, 16 bytes, high half first, as ClickHouse writes it."""
    # The extension never releases a buffer that is not bytes: a gateway would grow by every block that it reads.
    value = CityHash128(data if isinstance(data, bytes) else bytes(data))
    return CHECKSUM.pack(value >> 64, value & 0xFFFFFFFFFFFFFFFF)


def compress(pieces: Iterable[Piece], frame_bytes: int = FRAME_BYTES) -> Iterator[Frame]:
    """The pieces, one after another, as frames of up to `frame_bytes` of data each."""
    small: list[Buffer] = []
    size = 0
    for piece in pieces:
        whole = isinstance(piece, tuple) or len(piece) >= DIRECT_BYTES
        if small and (whole or size >= frame_bytes):
            yield from _cut(b"".join(small), frame_bytes)
            small, size = [], 0
        if isinstance(piece, tuple):
            yield _packed(*piece)
        elif whole:
            yield from _cut(piece, frame_bytes, _method(piece))
        else:
            small.append(piece)
            size += len(piece)
    yield from _cut(b"".join(small), frame_bytes)


def frame(data: Buffer) -> bytes:
    """One frame that holds all of the data."""
    return b"".join(_frame(data, LZ4_METHOD))


def join(frames: Iterable[Frame]) -> bytes:
    """Frames as they are written and sent."""
    return b"".join(part for one in frames for part in one)


def decompress(frames: Buffer) -> bytes:
    """The data in a run of frames; BlockDamaged when one of them is cut or changed."""
    return b"".join(_unpack(memoryview(frames)))


def split(frames: Buffer) -> list[Frame]:
    """A run of frames, one by one; their checksums are not looked at."""
    view = memoryview(frames)
    return [
        Frame(bytes(view[position : position + CHECKSUM.size]), bytes(body))
        for position, body, _ in _walk(view)
    ]


def data_bytes(frames: Buffer) -> int:
    """How many bytes of data are in a run of frames that was verified before."""
    return sum(data_size for _, _, data_size in _walk(memoryview(frames)))


def verify(frames: Buffer) -> bytes:
    """The checksums of a run of frames, all of which are right; BlockDamaged as `decompress`."""
    return b"".join(expected for _, _, expected in _checked(memoryview(frames)))


def _method(piece: Buffer) -> int:
    middle = len(piece) // 2
    sample = memoryview(piece)[middle : middle + SAMPLE_BYTES]
    packed = lz4.compress(sample, store_size=False)
    return LZ4_METHOD if len(packed) < len(sample) * WORTH_PACKING else PLAIN_METHOD


def _cut(data: Buffer, frame_bytes: int, method: int = LZ4_METHOD) -> Iterator[Frame]:
    view = memoryview(data)
    for start in range(0, len(view), frame_bytes):
        yield _frame(view[start : start + frame_bytes], method)


def _frame(data: Buffer, method: int) -> Frame:
    packed = lz4.compress(data, store_size=False) if method == LZ4_METHOD else data
    return _packed(packed, len(data), method)


def _packed(packed: Buffer, data_size: int, method: int = LZ4_METHOD) -> Frame:
    body = b"".join((HEADER.pack(method, HEADER.size + len(packed), data_size), packed))
    return Frame(checksum(body), body)


def _unpack(view: memoryview) -> Iterator[bytes]:
    for body, data_size, _ in _checked(view):
        packed = body[HEADER.size :]
        yield lz4.decompress(packed, uncompressed_size=data_size) if body[0] == LZ4_METHOD else bytes(packed)


def _checked(view: memoryview) -> Iterator[tuple[memoryview, int, bytes]]:
    """Each frame from its method on, the size of its data and its checksum, which is right."""
    for position, body, data_size in _walk(view):
        expected = bytes(view[position : position + CHECKSUM.size])
        if checksum(body) != expected:
            raise BlockDamaged(f"cannot read frame at byte {position}: checksum differs")
        yield body, data_size, expected


def _walk(view: memoryview) -> Iterator[tuple[int, memoryview, int]]:
    """Where each frame starts, the frame from its method on, and the size of its data."""
    position = 0
    while position < len(view):
        start = position + CHECKSUM.size
        if start + HEADER.size > len(view):
            raise BlockDamaged(f"cannot read frame at byte {position}: cut short")
        method, size, data_size = HEADER.unpack_from(view, start)
        body = view[start : start + size]
        sound = method == LZ4_METHOD or (method == PLAIN_METHOD and size == HEADER.size + data_size)
        if not sound or size < HEADER.size or data_size > MAX_FRAME_BYTES or len(body) < size:
            raise BlockDamaged(
                f"cannot read frame at byte {position}: not a whole frame of lz4 or plain data"
            )
        yield position, body, data_size
        position = start + size
