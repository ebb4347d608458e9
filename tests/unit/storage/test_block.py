from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import schema
from storage.errors import BlockDamaged
from storage.native import block, frames
from storage.native.block import Header, SealedBlock, Source, seal

Encode = Callable[[Sequence[dict[str, Any]]], Any]

EVENTS = [{"timestamp": 1_700_000_000_123_456_789 + row, "message": f"line {row}"} for row in range(5)]
SOURCE = Source(device=1, inode=2, head="ab" * 16, path="/var/log/a.log", start=0, end=10)


def sealed(columns: Any, **changes: Any) -> bytes:
    arguments = {"agent_id": "a", "sequence": 1, "namespace": "main", "sources": [SOURCE], "rules_version": 3}
    return seal(columns, **{**arguments, **changes})


def test_parse_gives_what_was_sealed(plain_columns: Encode) -> None:
    columns = plain_columns(EVENTS)
    columns.raw_bytes = 77
    columns.counts = {"empty_lines": 2}
    columns.known_templates = [(2**64 - 1, b"took <*> \xff")]
    parsed = SealedBlock.parse(sealed(columns))
    header = parsed.header
    assert (header.agent_id, header.sequence, header.namespace) == ("a", 1, "main")
    assert (header.rows, header.raw_bytes, header.counts) == (5, 77, {"empty_lines": 2})
    assert (header.min_timestamp, header.max_timestamp) == (EVENTS[0]["timestamp"], EVENTS[4]["timestamp"])
    assert (header.rules_version, header.schema_version) == (3, schema.SCHEMA_VERSION)
    assert header.sources == (SOURCE,)
    assert header.templates == ((2**64 - 1, "took <*> \\xff"),)
    assert header.columns == (*schema.CONTENT_COLUMNS, *schema.BLOCK_COLUMNS)
    assert parsed.columns[-2:] == ("block_id", "row")


def test_frames_are_the_columns_then_block_id_and_row(plain_columns: Encode) -> None:
    columns = plain_columns(EVENTS)
    parsed = SealedBlock.parse(sealed(columns))
    tail = (
        b"\x08block_id\x0fFixedString(16)\0" + parsed.header.block_id * 5
        + b"\x03row\x06UInt32\0" + struct.pack("<5I", *range(5))
    )  # fmt: skip
    assert frames.decompress(parsed.frames) == b"".join(columns.chunks()) + tail


def test_no_rows(plain_columns: Encode) -> None:
    assert SealedBlock.parse(sealed(plain_columns([]))).header.rows == 0


@pytest.mark.parametrize(
    "change",
    [
        {"agent_id": "b"},
        {"sequence": 2},
        {"namespace": "other"},
        {"sources": []},
        {"sources": [dataclasses.replace(SOURCE, end=11)]},
    ],
)
def test_block_id_depends_on_who_and_what_of(plain_columns: Encode, change: dict[str, Any]) -> None:
    columns = plain_columns(EVENTS)
    ids = {SealedBlock.parse(sealed(columns, **kind)).header.block_id for kind in ({}, change)}
    assert len(ids) == 2


def test_block_id_depends_on_content_and_on_nothing_else(plain_columns: Encode) -> None:
    def block_id(events: list[dict[str, Any]]) -> bytes:
        return SealedBlock.parse(sealed(plain_columns(events))).header.block_id

    assert block_id(EVENTS) == block_id(EVENTS)
    assert block_id(EVENTS) != block_id([*EVENTS[:4], {**EVENTS[4], "message": "line 5"}])


def test_every_flipped_byte_is_found(plain_columns: Encode) -> None:
    data = bytearray(sealed(plain_columns(EVENTS)))
    for position in range(len(data)):
        for mask in (0x01, 0x80):
            data[position] ^= mask
            with pytest.raises(BlockDamaged):
                SealedBlock.parse(data)
            data[position] ^= mask
    SealedBlock.parse(data)


def test_every_cut_and_any_tail_is_found(plain_columns: Encode) -> None:
    data = sealed(plain_columns(EVENTS))
    for length in range(len(data)):
        with pytest.raises(BlockDamaged):
            SealedBlock.parse(data[:length])
    with pytest.raises(BlockDamaged):
        SealedBlock.parse(data + b"\0")


def test_header_reads_from_the_first_bytes_alone(plain_columns: Encode) -> None:
    data = sealed(plain_columns(EVENTS))
    header, position = block.parse_header(data)
    assert block.parse_header(data[:position]) == (header, position)
    assert header == SealedBlock.parse(data).header


def test_other_format_version_is_refused_with_advice(plain_columns: Encode) -> None:
    header = SealedBlock.parse(sealed(plain_columns([]))).header
    newer = block.pack(dataclasses.replace(header, format_version=3), ())
    with pytest.raises(BlockDamaged, match="format version 3; upgrade"):
        SealedBlock.parse(newer)


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
paths = texts | st.just("/var/log/caf\udce9.log")
numbers = st.integers(0, 2**64 - 1)
headers = st.builds(
    Header,
    block_id=st.binary(min_size=16, max_size=16),
    agent_id=texts,
    sequence=numbers,
    namespace=st.from_regex(schema.NAMESPACE, fullmatch=True),
    schema_version=st.integers(0, 999),
    rules_version=st.integers(0, 999),
    redaction_version=st.integers(0, 999),
    rows=st.integers(0, block.MAX_ROWS),
    raw_bytes=numbers,
    min_timestamp=st.integers(-(2**63), 2**63 - 1),
    max_timestamp=st.integers(-(2**63), 2**63 - 1),
    columns=st.lists(st.tuples(names, names)).map(tuple),
    sources=st.lists(
        st.builds(Source, device=numbers, inode=numbers, head=names, path=paths, start=numbers, end=numbers),
        max_size=3,
    ).map(tuple),
    templates=st.lists(st.tuples(numbers, texts), max_size=3).map(tuple),
    counts=st.dictionaries(names, numbers, max_size=3),
    created_ns=numbers,
    format_version=st.just(block.FORMAT_VERSION),
)


@given(headers, st.binary(max_size=50))
def test_any_header_round_trips(header: Header, content: bytes) -> None:
    body = list(frames.compress([content]))
    parsed = SealedBlock.parse(block.pack(header, body))
    assert parsed.header == header
    assert bytes(parsed.frames) == frames.join(body)
    assert parsed.decoded_bytes == len(content)


HOSTILE: list[dict[str, Any]] = [
    {"rows": -1}, {"rows": "5"}, {"rows": True}, {"rows": 1 << 40}, {"rows": 1.5}, {"rows": None},
    {"namespace": ""}, {"namespace": "default; DROP"}, {"namespace": 5}, {"namespace": "../x"}, {"namespace": None},
    {"block_id": "ab"}, {"block_id": "zz" * 16}, {"block_id": 7}, {"agent_id": "\ud800"}, {"agent_id": None},
    {"templates": [["x", "text"]]}, {"templates": [[1 << 64, "text"]]}, {"templates": [[1, "\ud800"]]},
    {"templates": [[-1, "text"]]}, {"templates": [[1]]}, {"templates": {"a": 1}}, {"templates": [[1, ["x"]]]},
    {"counts": 5}, {"counts": {"a": "b"}}, {"counts": {"a": -1}}, {"rules_version": 1 << 20}, {"schema_version": "1"},
    {"min_timestamp": 1 << 70}, {"created_ns": -5}, {"sequence": -1}, {"raw_bytes": -(1 << 40)}, {"unknown": 1},
    {"columns": [["epoch", "UInt32"]]}, {"columns": [["a) VALUES", "String"]]}, {"columns": [["a", 5]]},
    {"columns": [["a", "String"]] * 300}, {"sources": [{}]}, {"sources": 7}, {"redaction": [1]}, {"redaction": 7},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=repr)
def test_a_header_that_would_stop_whoever_reads_it_later_is_refused(
    plain_columns: Encode, change: dict[str, Any]
) -> None:
    """With a checksum that fits: its maker means harm, or has a mistake in it."""
    with pytest.raises(BlockDamaged, match="cannot read block header"):
        SealedBlock.parse(with_header(sealed(plain_columns(EVENTS)), change))


def with_header(data: bytes, change: dict[str, Any]) -> bytes:
    """The same block with other values in its header."""
    _, version, length = block.START.unpack_from(data)
    end = block.START.size + length
    text = json.dumps({**json.loads(data[block.START.size : end]), **change}).encode()
    head = block.START.pack(block.MAGIC, version, len(text)) + text
    return head + block.HEADER_CRC.pack(zlib.crc32(text)) + data[end + block.HEADER_CRC.size :]


def test_a_header_nested_without_end_is_refused() -> None:
    text = b'{"counts":' + b"[" * 200_000
    head = block.START.pack(block.MAGIC, block.FORMAT_VERSION, len(text)) + text
    with pytest.raises(BlockDamaged):
        SealedBlock.parse(head + block.HEADER_CRC.pack(zlib.crc32(text)))


def test_body_that_is_not_frames_is_found(plain_columns: Encode) -> None:
    good = SealedBlock.parse(sealed(plain_columns(EVENTS)))
    checksum, rest = bytes(good.frames[:16]), bytes(good.frames[16:])
    changed = bytearray(rest)
    changed[40] ^= 1
    for body in ((checksum, bytes(changed)), (b"anything else", b""), (checksum, rest[:-1])):
        with pytest.raises(BlockDamaged):
            SealedBlock.parse(block.pack(good.header, [frames.Frame(*body)]))


def test_block_of_format_version_1_still_opens(plain_columns: Encode) -> None:
    """The file was written once by version 1 and is never written anew: such blocks lie in spools."""
    parsed = SealedBlock.parse((Path(__file__).parent / "golden_block_v1.bin").read_bytes())
    header = parsed.header
    assert header.block_id.hex() == "2bf03a52deac4bb08eb7920f87d97faa"
    assert (header.agent_id, header.sequence, header.namespace) == ("agent-1", 42, "main")
    assert header.sources == (Source(2049, 131, "00" * 16, "/var/log/caf\udce9.log", 10, 109),)
    assert header.templates == ((2**64 - 1, "caf\\xe9 took <*>"),)
    assert (header.rows, header.raw_bytes, header.counts) == (2, 99, {"empty_lines": 1})
    columns = plain_columns(
        [
            {
                "timestamp": 1_700_000_000_000_000_001,
                "level": "warn",
                "service": "api",
                "host": "h1",
                "message": b"caf\xe9 took 3ms",
                "fingerprint": 2**64 - 1,
                "trace_id": "ab" * 16,
                "span_id": "cd" * 8,
                "tags": {"region": "eu", "user_id": "7"},
            },
            {"timestamp": 1_600_000_000_000_000_000},
        ]
    )
    assert frames.decompress(parsed.frames).startswith(b"".join(columns.chunks()))


@pytest.mark.parametrize(
    ("name", "block_id", "sequence", "redaction"),
    [
        ("golden_block_v2.bin", "e894fc2eec811609988fad1867405ddb", 43, ()),
        ("golden_block_v2_redacted.bin", "9012cf94318d80df11a08349e8840eb7", 44, ("bearer", "key:password")),
    ],
)
def test_blocks_of_format_version_2_still_open(
    plain_columns: Encode, name: str, block_id: str, sequence: int, redaction: tuple[str, ...]
) -> None:
    """The first was written by the version that made this format, the other by the first that says what was masked."""
    data = (Path(__file__).parent / name).read_bytes()
    parsed = SealedBlock.parse(data)
    header = parsed.header
    assert (header.block_id.hex(), header.sequence, header.redaction) == (block_id, sequence, redaction)
    assert (header.rows, header.format_version) == (2, 2)
    columns = plain_columns(
        [
            {
                "timestamp": 1_700_000_000_000_000_001,
                "level": "warn",
                "service": "api",
                "host": "h1",
                "message": b"caf\xe9 took 3ms",
                "fingerprint": 2**64 - 1,
                "trace_id": "ab" * 16,
                "span_id": "cd" * 8,
                "tags": {"region": "eu", "user_id": "7"},
            },
            {"timestamp": 1_600_000_000_000_000_000, "message": "of format 2"},
        ]
    )
    assert frames.decompress(parsed.frames).startswith(b"".join(columns.chunks()))


@pytest.mark.parametrize("name", ["", "a`", "a, b", "a) SELECT 1", "é", "a\n", 7, None])
def test_column_names_that_must_not_get_into_sql_are_found(plain_columns: Encode, name: Any) -> None:
    header = SealedBlock.parse(sealed(plain_columns([]))).header
    crafted = dataclasses.replace(header, columns=((name, "String"),))
    with pytest.raises(BlockDamaged, match="cannot read block header"):
        SealedBlock.parse(block.pack(crafted, ()))
