"""How lines become rows; JSON and logfmt line by line are in test_json.py and test_logfmt.py."""

import json
import zlib
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import lexer

NOW = 1_780_000_000 * 10**9


def test_an_empty_object_of_tags_is_a_field() -> None:
    assert lexer.Columns().fields(b'{"tags":{}}') == [(b"tags", b"{}")]
    assert lexer.Columns().fields(b'{"tags":{"":1},"a":{}}') == [(b"", b"1"), (b"a", b"{}")]


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OBJECTS = st.recursive(
    st.dictionaries(TEXTS, SCALARS | TEXTS, max_size=5),
    lambda inner: st.dictionaries(TEXTS, inner | SCALARS | TEXTS, max_size=4),
    max_leaves=12,
)


def flat(value: Any, prefix: str = "", depth: int = 1) -> dict[str, str]:
    """The rule in Python: dotted keys, the last of equal keys, scalars as they are written."""
    found: dict[str, str] = {}
    for name, item in value.items():
        key = f"{prefix}.{name}" if depth > 1 else name
        if isinstance(item, dict):
            found.update(flat(item, key, depth + 1) if item else {key: "{}"})
        else:
            found[key] = item if isinstance(item, str) else json.dumps(item)
    return found


@given(OBJECTS.filter(lambda o: "tags" not in o), st.booleans())
def test_fields_equal_the_standard_librarys(value: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    found = lexer.Columns().fields(text)
    assert found is not None
    assert {k.decode(): v.decode() for k, v in found} == flat(value)


def refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@given(st.binary(max_size=200))
def test_validity_is_judged_as_the_standard_library_judges(data: bytes) -> None:
    try:
        text = data.decode("utf-8")
        json.loads(text, parse_constant=refuse)
        expected = not text.startswith("\ufeff")
    except UnicodeDecodeError:
        return  # bytes that are no UTF-8 are kept in strings
    except ValueError:
        expected = False
    assert lexer.Columns().json_valid(data) is expected


def test_a_broken_line_is_kept_whole_and_counted() -> None:
    columns = lexer.Columns()
    assert columns.add(b'{"a": 1\n{"b": 2}\n', received_ns=NOW) == 17
    assert columns.rows == 2
    assert columns.counts["malformed_json"] == 1
    assert b'{"a": 1' in b"".join(columns.chunks())


def test_known_names_fill_columns_and_tags_lose_their_prefix() -> None:
    columns = lexer.Columns()
    line = {
        "ts": "2026-01-02T03:04:05Z",
        "lvl": "WARNING",
        "msg": "hello",
        "app": "pay",
        "tags": {"k": "v"},
        "n": {"m": 1},
    }
    columns.add(json.dumps(line).encode() + b"\n", received_ns=NOW)
    data = b"".join(columns.chunks())
    assert columns.min_timestamp == 1767323045 * 10**9
    for text in (b"\x04warn", b"\x03pay", b"\x05hello", b"\x01k", b"\x03n.m"):
        assert text in data
    assert b"tags.k" not in data
    assert b"msg" not in data


@given(st.text(max_size=50))
def test_the_shard_is_zlibs_crc(key: str) -> None:
    data = key.encode("utf-8", "surrogatepass")
    assert lexer.key_shard(data, 31) == zlib.crc32(data) % 31


LINES = [
    b"one 1",
    b"",
    b"two\r",
    b"\r",
    b"nul \0 byte",
    b"\xff\xfe bad utf-8",
    b"x" * 5000,
    b'{"a":"b"}',
    b"last",
]


def fill(pieces: list[bytes]) -> bytes:
    columns, rest = lexer.Columns(), b""
    for i, piece in enumerate(pieces):
        rest += piece
        rest = rest[columns.add(rest, received_ns=NOW, final=i == len(pieces) - 1) :]
    assert not rest
    assert columns.rows == 7
    assert columns.counts["empty_lines"] == 2
    return b"".join(columns.chunks())


@given(st.lists(st.integers(0, 5100), max_size=6))
def test_lines_cut_anywhere_make_the_same_block(cuts: list[int]) -> None:
    data = b"\n".join(LINES)
    edges = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
    assert fill([data[a:b] for a, b in pairwise(edges)]) == fill([data])


def test_lines_of_a_megabyte_pass_and_longer_ones_are_split() -> None:
    columns = lexer.Columns()
    whole, long = b"a" * lexer.MAX_LINE_BYTES, b"b" * (lexer.MAX_LINE_BYTES + 1)
    assert columns.add(whole + b"\n", received_ns=NOW) == len(whole) + 1
    assert columns.rows == 1
    assert columns.add(long + b"\n", received_ns=NOW) == len(long) + 1
    assert (columns.rows, columns.counts["split_lines"]) == (3, 1)


def test_an_unfinished_line_waits() -> None:
    columns = lexer.Columns()
    assert columns.add(b"done\nnot yet", received_ns=NOW) == 5
    assert columns.add(b"not yet", received_ns=NOW, final=True) == 7
    assert columns.rows == 2


def test_an_implausible_time_is_kept_as_a_tag() -> None:
    columns = lexer.Columns()
    columns.add(b"2099-01-01T00:00:00Z x\n", received_ns=NOW)
    assert columns.min_timestamp == NOW
    assert columns.counts["implausible_times"] == 1
    assert b"claimed_timestamp" in b"".join(columns.chunks())


def test_reset_and_reuse_give_the_same_bytes() -> None:
    columns = lexer.Columns()
    data = b'{"a":"1","b":"2"}\nplain text 5\n'
    columns.add(data, received_ns=NOW, service="s", tags={"env": "x"})
    first, templates = b"".join(columns.chunks()), columns.templates()
    columns.reset()
    columns.add(data, received_ns=NOW, service="s", tags={"env": "x"})
    assert b"".join(columns.chunks()) == first
    assert len(templates) == 2
    assert columns.templates() == []
