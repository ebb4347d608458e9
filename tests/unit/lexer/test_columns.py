"""Columns in native layout: packed offsets are the plain ones, whatever rows have tags."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from lz4 import block as lz4

import lexer

NOW = 1_780_000_000 * 10**9


def columns_of(rows: list[list[str]], shards: int) -> lexer.Columns:
    """A row for each list of keys."""
    columns = lexer.Columns(shards=shards)
    lines = b"".join(json.dumps({"m": "", **dict.fromkeys(keys, "v")}).encode() + b"\n" for keys in rows)
    assert columns.add(lines, received_ns=NOW) == len(lines)
    return columns


def plain(pieces: list[Any]) -> bytes:
    return b"".join(
        lz4.decompress(p[0], uncompressed_size=p[1]) if isinstance(p, tuple) else p for p in pieces
    )


keys = st.sampled_from([f"key{i}" for i in range(12)])
sparse = st.just([]) | st.lists(keys, max_size=6)
runs = st.lists(st.tuples(st.integers(1, 400), sparse), min_size=1, max_size=12)


@given(runs, st.integers(1, 5))
def test_packed_offsets_are_the_plain_ones(runs: list[tuple[int, list[str]]], shards: int) -> None:
    columns = columns_of([tags for rows, tags in runs for _ in range(rows)], shards)
    pieces = columns.chunks(1)
    assert plain(pieces) == b"".join(columns.chunks())
    assert sum(isinstance(piece, tuple) for piece in pieces) == (shards if columns.rows >= 16 else 0)


def test_counts_that_carry_into_higher_bytes() -> None:
    rows = [[f"key{i}" for i in range(300)]] * 40 + [["key1"]] * 300 + [[]] * 20_000 + [["key1"]]
    columns = columns_of(rows, 1)
    assert plain(columns.chunks(1)) == b"".join(columns.chunks())


def test_few_rows_are_not_worth_packing() -> None:
    assert not any(isinstance(piece, tuple) for piece in columns_of([["a"]] * 99, 31).chunks(100))
