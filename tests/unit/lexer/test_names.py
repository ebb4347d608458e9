"""Well-known names of structured lines fill their columns; what does not fit stays a tag."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import lexer

NOW = 1_780_000_000 * 10**9
TIME = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 10**9


def taken(line: dict[str, Any] | bytes, format: str = "auto", **source: Any) -> lexer.Columns:
    columns = lexer.Columns(shards=1)
    data = line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()
    columns.add(data + b"\n", received_ns=NOW, format=format, **source)
    assert columns.rows == 1
    return columns


def string(data: bytes, at: int) -> tuple[bytes, int]:
    length = data[at]
    assert length < 128
    return data[at + 1 : at + 1 + length], at + 1 + length


def strings(data: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count):
        text, at = string(data, at)
        found.append(text)
    assert at == len(data)
    return found


def columns_of(columns: lexer.Columns) -> dict[str, bytes]:
    """The bodies of a block of one row and one shard: each column's bytes behind its header."""
    data, found = b"".join(columns.chunks()), {}
    heads = [
        bytes([len(n)]) + n.encode() + bytes([len(t)]) + t.encode() + b"\0" for n, t in columns.column_types
    ]
    for (name, _), head, following in zip(columns.column_types, heads, [*heads[1:], None], strict=True):
        data = data.removeprefix(head)
        body = data if following is None else data[: data.index(following)]
        found[name], data = body, data[len(body) :]
    return found


def value(columns: lexer.Columns, name: str) -> str:
    body = columns_of(columns)[name]
    if name in ("level", "service", "host"):  # version, header, one key
        body = body[24:-9]
    return strings(body, 1)[0].decode()


def tags(columns: lexer.Columns) -> dict[str, str]:
    body = columns_of(columns)["tags_00"][8:]
    count = int.from_bytes(body[:8], "little")
    if not count:
        return {}
    at, keys = 24, []
    assert int.from_bytes(body[16:24], "little") == count
    for _ in range(count):
        text, at = string(body, at)
        keys.append(text)
    values = strings(body[at + 8 + count :], count)
    return {k.decode(): v.decode() for k, v in zip(keys, values, strict=True)}


@pytest.mark.parametrize("name", ["timestamp", "@timestamp", "ts", "time", "datetime"])
@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05+01:00",
        1767323045,
        1767323045000,
        "1767323045",
        1767323045.0,
    ],
)
def test_times(name: str, text: str | float) -> None:
    columns = taken({name: text, "a": "b"})
    assert columns.min_timestamp == TIME
    assert tags(columns) == {"a": "b"}


@pytest.mark.parametrize("name", ["level", "severity", "lvl", "log.level", "loglevel", "severity_text"])
@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("warn", "warn"),
        ("WARNING", "warn"),
        ("Error", "error"),
        ("E", "error"),
        (30, "info"),
        (50, "error"),
        ("trace", "trace"),
    ],
)
def test_levels(name: str, text: str | int, level: str) -> None:
    columns = taken({name: text, "a": "b"})
    assert value(columns, "level") == level
    assert tags(columns) == {"a": "b"}


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("message", ["message", "msg", "body", "log"]),
        ("service", ["service", "service.name", "service_name", "app"]),
        ("host", ["host", "hostname", "host.name"]),
        ("trace_id", ["trace_id", "traceId", "trace.id", "traceid"]),
        ("span_id", ["span_id", "spanId", "span.id", "spanid"]),
    ],
)
def test_texts(column: str, names: list[str]) -> None:
    for name in names:
        flat, *rest = name.split(".")
        for line in ({name: "x y"}, {flat: {rest[0]: "x y"}} if rest else {name: "x y"}):
            columns = taken({**line, "a": "b"}, service="s", host="h")
            assert value(columns, column) == "x y", line
            assert tags(columns) == {"a": "b"}, line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"ts": "soon"}, {"ts": "soon"}),
        ({"ts": ""}, {"ts": ""}),
        ({"ts": "2026-01-02T03:04:05Z and more"}, {"ts": "2026-01-02T03:04:05Z and more"}),
        ({"level": "loud"}, {"level": "loud"}),
        ({"level": 7}, {"level": "7"}),
        ({"msg": ""}, {"msg": ""}),
        ({"Level": "info"}, {"Level": "info"}),
        ({"ts": 1767323045, "time": 5}, {"time": "5"}),
        ({"msg": "a", "message": "b"}, {"message": "b"}),
        (
            {"app": "a", "service": {"name": "b", "version": "1"}},
            {"service.name": "b", "service.version": "1"},
        ),
        ({"tags": {"host": "x", "k": "v"}}, {"tags.host": "x", "k": "v"}),
    ],
)
def test_what_does_not_fit_stays_a_tag(line: dict[str, Any], expected: dict[str, str]) -> None:
    assert tags(taken(line)) == expected


def test_a_line_without_a_message_is_its_own() -> None:
    line = {"a": 1, "b": {"c": "x"}}
    assert value(taken(line), "message") == json.dumps(line)


def test_names_of_the_source_hold_where_a_line_has_none() -> None:
    columns = taken({"a": 1}, service="api", host="h1", tags={"a": "2", "env": "prod"})
    assert (value(columns, "service"), value(columns, "host")) == ("api", "h1")
    assert tags(columns) == {"a": "1", "env": "prod"}


def test_logfmt_has_the_same_names() -> None:
    columns = taken(
        b'time=2026-01-02T03:04:05Z severity=warning body="x y" app=pay hostname=h1 traceId=t span.id=s n=1',
        "logfmt",
    )
    assert columns.min_timestamp == TIME
    names = ("level", "message", "service", "host", "trace_id", "span_id")
    assert [value(columns, name) for name in names] == ["warn", "x y", "pay", "h1", "t", "s"]
    assert tags(columns) == {"n": "1"}
