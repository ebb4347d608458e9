"""Columns out of sealed blocks: what the tests' own plain encoder wrote is what is read, and nothing else ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexer import Columns, read_strings
from storage.errors import BlockDamaged
from storage.native import block as blocks
from storage.native import frames
from storage.native.block import SealedBlock, seal
from storage.native.columns import BlockColumns

Encode = Callable[[Sequence[dict[str, Any]]], Any]
TEXTS = ("message", "trace_id", "span_id")
LOWS = ("level", "service", "host")

texts = st.text(max_size=6) | st.sampled_from(["x" * 127, "x" * 128, "y" * 20_000])
keys = st.sampled_from(["status", "region", "a", "b", "c", "user_id", "é"]) | st.text(min_size=1, max_size=3)
raw = st.binary(max_size=5)
events = st.fixed_dictionaries(
    {
        "timestamp": st.integers(-(2**63), 2**63 - 1),
        **dict.fromkeys(LOWS, texts),
        "message": texts.map(str.encode) | raw,
        "trace_id": texts,
        "span_id": texts,
        "fingerprint": st.integers(0, 2**64 - 1),
        "tags": st.dictionaries(keys, texts.map(str.encode) | raw, max_size=5),
    }
)


def sealed(columns: Any) -> SealedBlock:
    return SealedBlock.parse(seal(columns, agent_id="a", sequence=1, namespace="main", rules_version=3))


def encoded(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else value


@given(st.lists(events, max_size=12))
def test_every_column_is_what_was_written(plain_columns: Encode, rows: list[dict[str, Any]]) -> None:
    columns = BlockColumns(sealed(plain_columns(rows)))
    assert columns.rows == len(rows)
    for name in (*TEXTS, *LOWS):
        assert columns.column(name).to_pylist() == [encoded(row[name]) for row in rows]
    for name in ("timestamp", "fingerprint"):
        assert columns.column(name).to_pylist() == [row[name] for row in rows]
    assert columns.column("row").to_pylist() == list(range(len(rows)))
    assert columns.column("block_id").to_pylist() == [columns.header.block_id] * len(rows)
    for key in {key for row in rows for key in row["tags"]} | {"nowhere"}:
        assert columns.tag(key).to_pylist() == [row["tags"].get(key) for row in rows]


def test_what_the_lexer_wrote_is_read() -> None:
    filled = Columns()
    filled.add(b'{"msg":"one","status":"500"}\n{"msg":"two","region":"eu"}\n', received_ns=1, final=True)
    columns = BlockColumns(sealed(filled))
    assert columns.column("message").to_pylist() == [b"one", b"two"]
    assert columns.tag("status").to_pylist() == [b"500", None]
    assert columns.tag("region").to_pylist() == [None, b"eu"]


def test_a_block_of_format_version_1_is_read() -> None:
    data = (Path(__file__).parent / "golden_block_v1.bin").read_bytes()
    columns = BlockColumns(SealedBlock.parse(data))
    assert columns.column("message").to_pylist() == [b"caf\xe9 took 3ms", b""]
    assert columns.tag("region").to_pylist() == [b"eu", None]


SMALL = [
    {"timestamp": 5, "level": "warn", "message": "one", "tags": {"status": "500", "region": "eu"}},
    {"timestamp": 6, "level": "info", "message": "two", "tags": {"status": "200"}},
]


def read_all(header: blocks.Header, body: bytes) -> None:
    columns = BlockColumns(SealedBlock.parse(blocks.pack(header, list(frames.compress([body])))))
    for name, type_ in header.columns:
        if not type_.startswith("Map"):
            columns.column(name)
    for key in ("status", "region", "none"):
        columns.tag(key)


def test_every_truncation_is_found(plain_columns: Encode) -> None:
    whole = sealed(plain_columns(SMALL))
    body = frames.decompress(whole.frames)
    read_all(whole.header, body)
    for length in range(len(body)):
        with pytest.raises(BlockDamaged):
            read_all(whole.header, body[:length])
    with pytest.raises(BlockDamaged):
        read_all(whole.header, body + b"\0")


@given(st.data())
@settings(max_examples=300)
def test_any_change_is_read_or_found(plain_columns: Encode, data: st.DataObject) -> None:
    """Bytes within the frames changed, with right checksums: a crafted block. It may mean something else, no more."""
    whole = sealed(plain_columns(SMALL))
    body = bytearray(frames.decompress(whole.frames))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    rows = data.draw(st.sampled_from([2, 0, 1, 3, 1 << 20, 1 << 62]))
    try:
        read_all(dataclasses.replace(whole.header, rows=rows), bytes(body))
    except BlockDamaged as error:
        assert error.message.startswith("cannot read")


def test_a_block_too_large_when_unpacked_is_refused(plain_columns: Encode) -> None:
    whole = dataclasses.replace(sealed(plain_columns(SMALL)), decoded_bytes=1 << 31)
    with pytest.raises(BlockDamaged, match="too many"):
        BlockColumns(whole)


def test_a_type_of_a_newer_program_is_named(plain_columns: Encode) -> None:
    whole = sealed(plain_columns([]))
    header = dataclasses.replace(whole.header, rows=1, columns=(("n", "Decimal(3, 1)"),))
    with pytest.raises(BlockDamaged, match="Decimal"):
        read_all(header, blocks.column_start("n", "Decimal(3, 1)"))


@pytest.mark.parametrize(
    ("data", "start", "count"),
    [
        (b"", 0, 1),
        (b"\x01", 0, 1),
        (b"\x00", 2, 0),
        (b"\xff" * 20, 0, 1),
        (b"\x00", 0, 1 << 40),
        (b"\x80", 0, 1),
    ],
)
def test_strings_beyond_the_data_are_refused(data: bytes, start: int, count: int) -> None:
    with pytest.raises(ValueError, match="beyond"):
        read_strings(data, start, count)
