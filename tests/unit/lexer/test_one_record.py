"""Records that a sender describes: what it says beside the text holds before what the text says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lexer
from storage.native.block import SealedBlock, seal
from storage.native.columns import BlockColumns

NOW = 1_780_000_000 * 10**9
SAID = NOW - 5 * 10**9
NAMES = ("timestamp", "level", "service", "host", "message", "trace_id", "span_id")


def rows(columns: lexer.Columns, *keys: str) -> list[dict[str, Any]]:
    """What a block of them says; of the tags those asked for."""
    block = seal(columns, agent_id="a", sequence=0, namespace="default", rules_version=1)
    read = BlockColumns(SealedBlock.parse(block))
    lists = {name: read.column(name).to_pylist() for name in NAMES} | {
        key: read.tag(key).to_pylist() for key in keys
    }
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def test_a_message_is_taken_as_it_is() -> None:
    columns = lexer.Columns()
    columns.add_one(
        "2026-01-02 ERROR a=1 {not json}\nsecond",
        service="api",
        host="h1",
        tags={"k": "v", "level": "loud"},
        received_ns=NOW,
        timestamp_ns=SAID,
        level="info",
        trace_id=b"t",
        span_id="s",
    )
    assert rows(columns, "k", "a", "level") == [
        {
            "timestamp": SAID,
            "level": b"loud",  # the tag of that name
            "service": b"api",
            "host": b"h1",
            "message": b"2026-01-02 ERROR a=1 {not json}\nsecond",
            "trace_id": b"t",
            "span_id": b"s",
            "k": b"v",
            "a": None,
        }
    ]


def test_a_level_that_nobody_gives_is_looked_for() -> None:
    columns = lexer.Columns()
    columns.add_one("WARN disk is full", received_ns=NOW)
    columns.add_one("WARN disk is full", received_ns=NOW, level="fatal")
    assert [(row["level"], row["timestamp"]) for row in rows(columns)] == [(b"warn", NOW), (b"fatal", NOW)]


def test_a_line_says_what_its_sender_does_not() -> None:
    columns = lexer.Columns()
    text = b'{"msg":"m","level":"error","time":"2026-01-02T03:04:05Z","service":"own","trace_id":"t","k":1}'
    columns.add_one(text, format="auto", received_ns=NOW, service="given", tags={"k": "2"})
    columns.add_one(text, format="auto", received_ns=NOW, timestamp_ns=SAID, level="debug", trace_id="u")
    own, said = rows(columns, "k", "time", "trace_id")
    assert (own["service"], own["level"], own["timestamp"]) == (b"own", b"error", 1767323045 * 10**9)
    assert (own["k"], own["time"]) == (b"1", None)
    assert (said["level"], said["timestamp"]) == (b"debug", SAID)
    assert said["time"] == b"2026-01-02T03:04:05Z"  # what has lost stays as a tag
    assert said["trace_id"] == b"t"


def test_of_equal_keys_the_first_holds() -> None:
    columns = lexer.Columns()
    columns.add_one("m", tags=[("a", "1"), ("b", ""), ("a", "2")], received_ns=NOW)
    assert rows(columns, "a", "b")[0]["a"] == b"1"
    assert rows(columns, "a", "b")[0]["b"] == b""


def test_an_implausible_time_is_kept_as_a_tag() -> None:
    columns = lexer.Columns()
    columns.add_one("m", received_ns=NOW, timestamp_ns=5)
    (row,) = rows(columns, "claimed_timestamp")
    assert (row["timestamp"], row["claimed_timestamp"]) == (NOW, b"5")


@pytest.mark.parametrize("text", [b"", b"\n", b"a\nb\n\n", b"\r\n", b"x" * lexer.MAX_LINE_BYTES, b"\0"])
def test_every_record_is_one_row(text: bytes) -> None:
    for format in ("message", "text", "auto", "json", "logfmt"):
        columns = lexer.Columns()
        columns.add_one(text, format=format, received_ns=NOW)
        assert [row["message"] for row in rows(columns)] == [text]


def test_what_is_too_long_is_stored_in_pieces() -> None:
    columns = lexer.Columns()
    columns.add_one(b"y" * (2 * lexer.MAX_LINE_BYTES + 5), received_ns=NOW, tags={"k": "v"})
    assert [len(row["message"]) for row in rows(columns)] == [lexer.MAX_LINE_BYTES, lexer.MAX_LINE_BYTES, 5]
    assert columns.counts["split_lines"] == 2


def test_what_cannot_be_is_refused() -> None:
    columns = lexer.Columns()
    for wrong in ({"level": "loud"}, {"format": "xml"}, {"tags": {"x" * (lexer.MAX_KEY_BYTES + 1): "1"}}):
        with pytest.raises(ValueError, match="cannot"):
            columns.add_one("m", received_ns=NOW, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tags"):
        columns.add_one("m", received_ns=NOW, tags=[("k", "v")] * (lexer.MAX_TAGS + 1))
    assert columns.rows == 0
    columns.add_one("m", received_ns=NOW)
    assert columns.rows == 1


def test_levels_by_name() -> None:
    assert [lexer.level_of(one) for one in (b"WARNING", b"err", b"I", b"loud", b"")] == [
        "warn",
        "error",
        "info",
        "",
        "",
    ]


texts = st.text(max_size=8) | st.binary(max_size=8)


@given(texts, st.dictionaries(st.text(max_size=5), texts, max_size=6), texts, texts)
def test_what_is_given_is_what_is_stored(text: Any, tags: dict[str, Any], service: Any, trace: Any) -> None:
    def stored(one: Any) -> bytes:
        return (
            one
            if isinstance(one, bytes)
            else "".join("�" if "\ud800" <= c < "\ue000" else c for c in one).encode()
        )

    given_tags = {stored(key): stored(value) for key, value in reversed(tags.items())}
    columns = lexer.Columns()
    columns.add_one(text, tags=[*tags.items()][::-1][::-1], service=service, trace_id=trace, received_ns=NOW)
    block = seal(columns, agent_id="a", sequence=0, namespace="default", rules_version=1)
    read = BlockColumns(SealedBlock.parse(block))
    assert read.column("message").to_pylist() == [stored(text)]
    assert read.column("service").to_pylist() == [stored(service)]
    assert read.column("trace_id").to_pylist() == [stored(trace)]
    assert {key: read.tag(key).to_pylist()[0] for key in given_tags} == given_tags
