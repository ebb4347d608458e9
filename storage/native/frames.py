"""ClickHouse's compressed-block frames: what a native stream is cut into on the wire and in its files.

A frame is 16 bytes of CityHash128 (high half first) over the rest, then a method byte, the frame's size with
these nine header bytes, the size of the data within (both 32 bits, little-endian), and the data compressed
with LZ4. ClickHouse reads frames as one stream, so where they cut it means nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from clickhouse_cityhash.cityhash import CityHash128
from lz4 import block as lz4

from storage.errors import BlockDamaged

Buffer: TypeAlias = bytes | bytearray | memoryview

LZ4_METHOD = 0x82
HEADER = struct.Struct("<BII")  # method, size with this header, size of the data within
CHECKSUM = struct.Struct("<QQ")
OVERHEAD = CHECKSUM.size + HEADER.size
FRAME_BYTES = 1 << 20  # what ClickHouse itself cuts at; large enough for LZ4, small enough for a cache
MAX_FRAME_BYTES = 1 << 30  # what ClickHouse refuses beyond


def checksum(data: Buffer) -> bytes:
    """CityHash128 of the data, 16 bytes, high half first, as ClickHouse writes it."""
    # The extension never releases a buffer that is not bytes: a gateway would grow by every block that it reads.
    value = CityHash128(data if isinstance(data, bytes) else bytes(data))
    return CHECKSUM.pack(value >> 64, value & 0xFFFFFFFFFFFFFFFF)


def compress(chunks: Iterable[Buffer], frame_bytes: int = FRAME_BYTES) -> bytes:
    """The chunks, one after another, as frames of up to `frame_bytes` of data each."""
    return b"".join(_frames(chunks, frame_bytes))


def frame(data: Buffer) -> bytes:
    """One frame that holds all of the data."""
    return b"".join(_frame(data))


def decompress(frames: Buffer) -> bytes:
    """The data in a run of frames; BlockDamaged when one of them is cut or changed."""
    return b"".join(_unpack(memoryview(frames)))


def verify(frames: Buffer) -> int:
    """How many bytes of data are in a run of frames, without unpacking them; BlockDamaged as `decompress`."""
    return sum(data_size for _, data_size in _checked(memoryview(frames)))


def _frames(chunks: Iterable[Buffer], frame_bytes: int) -> Iterator[bytes]:
    pending = bytearray()
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        if pending:
            missing = frame_bytes - len(pending)
            pending += view[:missing]
            view = view[missing:]
            if len(pending) == frame_bytes:
                yield from _frame(pending)
                pending = bytearray()
        whole = len(view) - len(view) % frame_bytes
        for start in range(0, whole, frame_bytes):
            yield from _frame(view[start : start + frame_bytes])
        pending += view[whole:]
    if pending:
        yield from _frame(pending)


def _frame(data: Buffer) -> tuple[bytes, bytes]:
    packed = lz4.compress(data, store_size=False)
    body = HEADER.pack(LZ4_METHOD, HEADER.size + len(packed), len(data)) + packed
    return checksum(body), body


def _unpack(view: memoryview) -> Iterator[bytes]:
    for packed, data_size in _checked(view):
        yield lz4.decompress(packed, uncompressed_size=data_size)


def _checked(view: memoryview) -> Iterator[tuple[memoryview, int]]:
    """The packed data of each frame and its unpacked size."""
    position = 0
    while position < len(view):
        start = position + CHECKSUM.size
        if start + HEADER.size > len(view):
            raise BlockDamaged(f"cannot read frame at byte {position}: cut short")
        method, size, data_size = HEADER.unpack_from(view, start)
        body = view[start : start + size]
        if method != LZ4_METHOD or size < HEADER.size or data_size > MAX_FRAME_BYTES or len(body) < size:
            raise BlockDamaged(f"cannot read frame at byte {position}: not a whole lz4 frame")
        if checksum(body) != view[position:start]:
            raise BlockDamaged(f"cannot read frame at byte {position}: checksum differs")
        yield body[HEADER.size :], data_size
        position = start + size
