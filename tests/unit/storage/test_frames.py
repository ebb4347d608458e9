from __future__ import annotations

import os
import struct
from typing import Any

import pytest
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given
from hypothesis import strategies as st
from lz4 import block as lz4

from storage.errors import BlockDamaged
from storage.native import frames


def compress(pieces: list[Any], frame_bytes: int = frames.FRAME_BYTES) -> bytes:
    return frames.join(frames.compress(pieces, frame_bytes))


@given(st.lists(st.binary(max_size=300)), st.integers(1, 128))
def test_round_trip(chunks: list[bytes], frame_bytes: int) -> None:
    assert frames.decompress(compress(chunks, frame_bytes)) == b"".join(chunks)


def test_large_pieces_small_ones_and_packed_ones_keep_their_order() -> None:
    pieces = [b"a" * 10, os.urandom(frames.DIRECT_BYTES), b"b", b"c", bytes(3 * frames.FRAME_BYTES), b"d"]
    packed = [(lz4.compress(piece, store_size=False), len(piece)) for piece in pieces]
    mixed = [*pieces[:2], *packed[2:5], pieces[5]]
    for given_pieces in (pieces, packed, mixed):
        assert frames.decompress(compress(given_pieces)) == b"".join(pieces)


def test_layout_of_one_frame() -> None:
    data = b"neve " * 100
    packed = lz4.compress(data, store_size=False)
    body = struct.pack("<BII", 0x82, 9 + len(packed), len(data)) + packed
    value = CityHash128(body)
    assert frames.frame(data) == struct.pack("<QQ", value >> 64, value & (1 << 64) - 1) + body


def test_frames_hold_no_more_than_asked() -> None:
    stream = compress([os.urandom(10_000)], 4096)
    sizes = []
    position = 0
    while position < len(stream):
        _, size, data_size = frames.HEADER.unpack_from(stream, position + 16)
        sizes.append(data_size)
        position += 16 + size
    assert sizes == [4096, 4096, 1808]


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(buffer: type) -> None:
    assert frames.decompress(buffer(compress([buffer(b"abc" * 1000)]))) == b"abc" * 1000


def test_every_changed_byte_is_found() -> None:
    stream = bytearray(compress([b"some lines of a log\n" * 20], 150))
    for position in range(len(stream)):
        stream[position] ^= 0x40
        with pytest.raises(BlockDamaged):
            frames.decompress(stream)
        stream[position] ^= 0x40


def test_every_cut_is_found() -> None:
    stream = frames.frame(b"some lines of a log\n" * 20)
    for length in range(1, len(stream)):
        with pytest.raises(BlockDamaged):
            frames.decompress(stream[:length])


def test_a_checksum_releases_the_memory_that_it_read() -> None:
    data = bytearray(b"x" * 1000)
    for _ in range(3):
        frames.checksum(memoryview(data))
    data += b"y"  # raises BufferError while anything holds a view of it
    assert frames.checksum(data) == frames.checksum(bytes(data))
