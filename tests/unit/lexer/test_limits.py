"""What bounds a line's fields, and that nothing is lost where a bound is met."""

import json

import pytest

import lexer

NOW = 1_780_000_000 * 10**9
MOST_FIELDS, LONGEST_KEY = 4096, 512


def taken(data: bytes, format: str = "auto") -> lexer.Columns:
    columns = lexer.Columns()
    assert columns.add(data, received_ns=NOW, format=format, final=True) == len(data)
    return columns


@pytest.mark.parametrize(("count", "kept"), [(MOST_FIELDS, MOST_FIELDS), (MOST_FIELDS + 1, None)])
def test_the_most_fields_of_a_line(count: int, kept: int | None) -> None:
    for format, line in (
        ("json", json.dumps({f"k{i}": i for i in range(count)}).encode()),
        ("logfmt", b" ".join(b"k%d=%d" % (i, i) for i in range(count))),
    ):
        found = lexer.Columns().fields(line, format)
        assert (None if found is None else len(found)) == kept, format


@pytest.mark.parametrize(("length", "kept"), [(LONGEST_KEY, True), (LONGEST_KEY + 1, False)])
def test_the_longest_key(length: int, kept: bool) -> None:
    name = b"k" * length
    half = b"k" * (length // 2)
    other = b"k" * (length - len(half) - 1)
    for format, line in (
        ("json", b'{"%s":1}' % name),
        ("json", b'{"%s":{"%s":1}}' % (half, other)),
        ("json", b'{"tags":{"%s":1}}' % name),
        ("logfmt", name + b"=1"),
    ):
        assert (lexer.Columns().fields(line, format) is not None) is kept


@pytest.mark.parametrize("format", ["json", "logfmt"])
def test_a_line_with_a_key_too_long_is_kept_whole_and_counted(format: str) -> None:
    name = b"k" * (LONGEST_KEY + 1)
    line = b'{"%s":"x"}' % name if format == "json" else name + b"=x"
    columns = taken(line + b"\n", format)
    assert columns.rows == 1
    assert line in b"".join(columns.chunks())
    assert columns.counts[f"malformed_{format}"] == 1


def test_a_name_too_long_in_an_array_is_a_value() -> None:
    line = b'{"a":[{"%s":1}]}' % (b"k" * 5000)
    assert lexer.Columns().fields(line) == [(b"a", line[5:-1])]


def test_a_tag_of_the_source_is_not_too_long() -> None:
    with pytest.raises(ValueError, match="512 bytes"):
        lexer.Columns().add(b"x\n", received_ns=NOW, tags={"k" * (LONGEST_KEY + 1): "v"})


def test_the_tags_of_the_source_are_on_a_line_with_the_most_fields() -> None:
    columns = lexer.Columns()
    line = json.dumps({f"k{i}": i for i in range(MOST_FIELDS - 1)} | {"ts": "2099-01-01T00:00:00Z"}).encode()
    columns.add(line + b"\n", received_ns=NOW, tags={f"env{i}": "prod" for i in range(256)})
    assert columns.counts["implausible_times"] == 1
    data = b"".join(columns.chunks())
    assert b"\x04env0" in data
    assert b"\x06env255" in data
    assert b"claimed_timestamp" in data


def test_a_block_with_many_keys_is_full() -> None:
    columns = lexer.Columns()
    lines = [b'{"a%d":1,"b%d":1}\n' % (i, i) for i in range(50_000)]
    data = b"".join(lines)
    blocks = 0
    while data:
        data = data[columns.add(data, received_ns=NOW) :]
        assert columns.rows
        blocks += 1
        assert columns.full is bool(data)
        columns.reset()
    assert blocks == 2
