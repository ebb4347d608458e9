"""logfmt: quotes, escapes, flags, what is missing; a line that is none is kept whole."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lexer

NOW = 1_780_000_000 * 10**9


def fields(line: bytes) -> list[tuple[bytes, bytes]] | None:
    return lexer.Columns().fields(line, "logfmt")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a=1", [(b"a", b"1")]),
        (b"a=1 b=2", [(b"a", b"1"), (b"b", b"2")]),
        (b"  a=1 \t b=2\r", [(b"a", b"1"), (b"b", b"2")]),
        (b'a="x y"', [(b"a", b"x y")]),
        (b'a=""', [(b"a", b"")]),
        (b"a=", [(b"a", b"")]),
        (b"a= b=2", [(b"a", b""), (b"b", b"2")]),
        (b"flag a=1", [(b"flag", b"true"), (b"a", b"1")]),
        (b"a=1 flag", [(b"a", b"1"), (b"flag", b"true")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b"url=/a?b=c&d=e", [(b"url", b"/a?b=c&d=e")]),
        (b"a.b-c/d@e_f=1", [(b"a.b-c/d@e_f", b"1")]),
        (b"@timestamp=x _a=y", [(b"@timestamp", b"x"), (b"_a", b"y")]),
        ("größe=1 b=ü".encode(), [("größe".encode(), b"1"), (b"b", "ü".encode())]),
        (b"a=\xff\xfe", [(b"a", b"\xff\xfe")]),
        (
            rb'a="q\"q" b="\\" c="\n\t\r" d="\x"',
            [(b"a", b'q"q'), (b"b", b"\\"), (b"c", b"\n\t\r"), (b"d", b"x")],
        ),
        (rb"a=\n b='c", [(b"a", rb"\n"), (b"b", b"'c")]),
        (b'a="b"c=d', [(b"a", b"b"), (b"c", b"d")]),
        (b"a=1 a=2", [(b"a", b"2")]),
        (b"a=1 b=2 a", [(b"a", b"true"), (b"b", b"2")]),
        (b"a={x}[y](z)<|>,;", [(b"a", b"{x}[y](z)<|>,;")]),
    ],
)
def test_lines(line: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert fields(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"words only",
        b"=1",
        b"=",
        b"==",
        b'a="open',
        b'a="open b=2',
        b'a="ends in a backslash\\"',
        b'a=b"c',
        b'a=1 "b"',
        b"a=1 =2",
        b"1a=2",
        b"-a=2",
        b"a=1, b=2 (c)",
        b"a=1 \0",
        b"a=\0",
        b'a="\0"',
        b"a=1 [x]",
        b"a\x01=1",
    ],
)
def test_what_is_no_logfmt_is_kept_whole_and_counted(line: bytes) -> None:
    assert fields(line) is None
    columns = lexer.Columns()
    columns.add(
        line + b" .\n", received_ns=NOW, format="logfmt"
    )  # the dot: no line is empty, and none is logfmt
    assert columns.rows == 1
    assert columns.counts["malformed_logfmt"] == 1
    assert line + b" ." in b"".join(columns.chunks())


KEYS = st.text(string.ascii_letters + "_@é", min_size=1, max_size=3).flatmap(
    lambda start: st.text(string.ascii_letters + string.digits + "_.@/-é", max_size=8).map(start.__add__)
)
VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def quoted(value: str) -> str:
    escapes = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return '"' + "".join(escapes.get(c, c) for c in value) + '"'


def written(key: str, value: str | None) -> str:
    if value is None:
        return key
    plain = re.fullmatch(r'[^\x00-\x20"=][^\x00-\x20"]*', value)
    return f"{key}={value if plain else quoted(value)}"


@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=8), st.sampled_from([" ", "  ", "\t"]))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str | None]], gap: str) -> None:
    line = gap.join(written(*pair) for pair in pairs).encode()
    if all(value is None for _, value in pairs):
        assert fields(line) is None
        return
    expected = {key: "true" if value is None else value for key, value in pairs}
    found = fields(line)
    assert found is not None
    assert {k.decode(): v.decode() for k, v in found} == expected
    assert [k.decode() for k, _ in found] == list(dict.fromkeys(key for key, _ in pairs))


def test_known_names_fill_columns() -> None:
    columns = lexer.Columns()
    columns.add(
        b'ts=2026-01-02T03:04:05Z lvl=warning msg="it is 5" app=pay n=1\n', received_ns=NOW, format="logfmt"
    )
    data = b"".join(columns.chunks())
    assert columns.min_timestamp == 1767323045 * 10**9
    for text in (b"\x04warn", b"\x03pay", b"\x07it is 5", b"\x01n"):
        assert text in data
    assert b"msg" not in data
