"""Loki's push: both encodings say the same, labels are read as Go writes them, and damage is told."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.logproto import field, packed, push, stream, varint
from ingest.errors import RequestRefused
from ingest.receivers import loki
from ingest.receivers.intake import Lexers, Taken
from ingest.receivers.loki_labels import parse_labels, said_by
from ingest.receivers.snappy import unsnappy
from storage.native.block import SealedBlock
from storage.native.columns import BlockColumns

NOW = 1_790_000_000 * 10**9
KEY = bytes(16)


def take(body: bytes, is_json: bool = False) -> Taken:
    return loki._take(Lexers(), body, "", is_json, "default", KEY)


def columns(taken: Taken) -> list[bytes]:
    return [bytes(SealedBlock.parse(data).frames) for _, data in taken.blocks]


NAMES = st.one_of(
    st.sampled_from(
        [
            "app",
            "level",
            "detected_level",
            "trace_id",
            "host",
            "service_name",
            "severity",
            "job",
            "x" * 600,
            "é",
        ]
    ),
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
)
TEXTS = st.one_of(
    st.text(max_size=20), st.sampled_from(["info", "WARN", "", '{"a":1,"level":"error"}', "a=1 b", "x\ny"])
)
LINES = st.one_of(
    TEXTS,
    st.dictionaries(NAMES, TEXTS, max_size=4).map(json.dumps),
    st.sampled_from(["2026-09-21 10:00:00 ERROR took 5ms id=7"]),
)
METADATA = st.one_of(
    st.dictionaries(NAMES, TEXTS, max_size=4),
    st.sampled_from([300, 1500]).map(lambda count: {f"k{n}": "v" for n in range(count)}),
)
ENTRIES = st.lists(st.tuples(st.integers(NOW - 10**15, NOW), LINES, METADATA), max_size=5)
STREAMS = st.lists(
    st.tuples(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), TEXTS), ENTRIES), max_size=3
)


def written(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}={go_quoted(value)}" for name, value in labels.items()) + "}"


def go_quoted(value: str) -> str:
    return '"' + "".join({"\\": "\\\\", '"': '\\"', "\n": "\\n"}.get(c, c) for c in value) + '"'


@settings(deadline=None, max_examples=50)
@given(STREAMS)
def test_protobuf_and_json_say_the_same(streams: list[tuple[dict[str, str], list[Any]]]) -> None:
    as_json = {
        "streams": [
            {"stream": labels, "values": [[str(time), line, more] for time, line, more in entries]}
            for labels, entries in streams
        ]
    }
    as_proto = push([(written(labels), entries) for labels, entries in streams])
    by_json, by_proto = take(json.dumps(as_json).encode(), is_json=True), take(packed(as_proto))
    assert by_json.rows == by_proto.rows == sum(len(entries) for _, entries in streams)
    assert columns(by_json) == columns(by_proto)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{}", {}),
        (" { } ", {}),
        ('{a="b"}', {"a": "b"}),
        ('{a="b", c = "d" ,}', {"a": "b", "c": "d"}),
        (r'{a="q\"\\\n\t\x41\u00e9\U0001f600\101"}', {"a": 'q"\\\n\tAé😀A'}),
        ("{a=`raw\\n`}", {"a": "raw\\n"}),
        ('{k8s.pod="p"}', {"k8s.pod": "p"}),
    ],
)
def test_labels_are_read(text: str, labels: dict[str, str]) -> None:
    assert parse_labels(text) == labels


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text()))
def test_labels_that_were_written_are_read(labels: dict[str, str]) -> None:
    assert parse_labels(written(labels)) == labels


@pytest.mark.parametrize(
    "text", ["", "a", "{", "{a}", "{a=b}", '{a="b"', '{a="b" c="d"}', '{="b"}', '{a="' + "b" * 500]
)
def test_labels_that_are_none_are_told(text: str) -> None:
    with pytest.raises(RequestRefused) as told:
        parse_labels(text)
    assert len(str(told.value)) < 400


@pytest.mark.parametrize(
    ("labels", "service", "host", "level", "tags"),
    [
        ({"service_name": "a", "service": "b", "job": "c"}, "a", "", "", {"service": "b", "job": "c"}),
        (
            {"service_name": "unknown_service", "job": "c"},
            "c",
            "",
            "",
            {"service_name": "unknown_service", "job": "c"},
        ),
        ({"service_name": "unknown_service"}, "unknown_service", "", "", {}),
        ({"job": "c", "app": "d", "container": "e"}, "c", "", "", {"job": "c", "app": "d", "container": "e"}),
        ({"hostname": "h", "instance": "i"}, "", "h", "", {"instance": "i"}),
        ({"instance": "i:9"}, "", "i:9", "", {"instance": "i:9"}),
        ({"level": "WARNING", "detected_level": "info"}, "", "", "warn", {"detected_level": "info"}),
        ({"level": "loud", "detected_level": "info"}, "", "", "info", {"level": "loud"}),
    ],
)
def test_labels_fill_columns(
    labels: dict[str, str], service: str, host: str, level: str, tags: dict[str, str]
) -> None:
    said = said_by(labels)
    assert (said.service, said.host, said.level, dict(said.tags)) == (service, host, level, tags)


DAMAGED = [
    b"\x0a",
    b"\x0a\x05ab",
    b"\x0b",
    b"\x00\x00",
    b"\xff" * 20,
    field(1, b"\x12\xff\xff\xff\xff\x0f"),
    field(1, field(1, "{}") + b"\x10\x05"),  # entries that are a number
    field(1, field(1, b'{a="\xff"}') + field(2, field(2, "l"))),
    field(1, field(2, field(1, b"\x08"))),
    field(1, field(2, b"\x08\x05")),
    field(1, field(2, field(3, b"\x0a\xff"))),
    field(1, field(1, "no labels") + field(2, field(2, "l"))),
]


@pytest.mark.parametrize("plain", DAMAGED)
def test_a_damaged_message_is_told(plain: bytes) -> None:
    with pytest.raises(RequestRefused):
        take(packed(plain))


@settings(deadline=None)
@given(st.data())
def test_any_bytes_are_taken_or_told(data: st.DataObject) -> None:
    whole = bytearray(push([('{a="b"}', [(NOW, '{"a":1}', {"k": "v"}), (NOW, "line", {})])] * 2))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not whole:
            break
    body = data.draw(st.one_of(st.just(packed(bytes(whole))), st.just(bytes(whole)), st.binary()))
    try:
        assert take(body).rows < 100
    except RequestRefused as told:
        assert told.status in (400, 413)


def test_an_entry_without_a_time_has_its_lines_or_none() -> None:
    body = field(1, field(1, "{}") + field(2, field(2, "2026-09-21T10:00:00Z hello")))
    taken = take(packed(body))
    assert taken.headers[0].min_timestamp == 1_789_984_800 * 10**9


def test_labels_may_come_after_entries() -> None:
    taken = take(packed(field(1, field(2, field(2, "l")) + field(1, '{app="late"}'))))
    block = BlockColumns(SealedBlock.parse(taken.blocks[0][1]))
    assert block.column("service").to_pylist() == [b"late"]


@pytest.mark.parametrize("seconds", [2**63 - 1, -(2**63), 2**40])
def test_a_time_that_cannot_be_is_kept_as_a_claim(seconds: int) -> None:
    taken = take(packed(field(1, field(2, field(1, b"\x08" + varint(seconds)) + field(2, "l")))))
    assert taken.counts["implausible_times"] == 1


def test_a_small_body_does_not_become_a_large_one() -> None:
    with pytest.raises(RequestRefused, match="larger than"):
        unsnappy(varint(1 << 30) + b"x", 1 << 20, 0)
    with pytest.raises(RequestRefused, match="no snappy"):
        unsnappy(varint(1 << 20) + b"x", 1 << 20, 0)
    with pytest.raises(RequestRefused, match="no snappy"):
        unsnappy(b"\xff" * 9, 1 << 20, 0)


def test_too_many_pieces_and_too_deep_are_told() -> None:
    for body in (
        b'{"streams":[' + b"[]," * (1 << 20) + b"[]]}",
        b"[" * 100_000,
        b'{"streams":' + b"[" * 90_000,
    ):
        with pytest.raises(RequestRefused):
            take(body, is_json=True)
    late = field(1, field(2, b"") * 2000 + field(1, "{}"))
    with pytest.raises(RequestRefused, match="labels do not come first"):
        take(packed(late))
    with pytest.raises(RequestRefused, match="too many streams"):
        take(packed(field(1, b"") * 70_000))


def test_a_large_stream_goes_over_blocks() -> None:
    entries = [(NOW + n, f"m{n}", {"n": str(n)}) for n in range(40_000)]
    taken = take(packed(field(1, stream('{app="a"}', entries))))
    assert taken.rows == 40_000
    assert len(taken.blocks) == 3
