"""Fluent's messages in every mode, and bytes that are none."""

import gzip
import struct
from typing import Any

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import RequestRefused
from ingest.receivers.fluent import MAX_ENTRY_BYTES, put, read
from ingest.receivers.fluent_listening import MAX_MESSAGE_BYTES, Stream

NS = 1_700_000_000_123_456_789
TIME = msgpack.ExtType(0, struct.pack(">II", NS // 10**9, NS % 10**9))


class Kept:
    """Stands where an intake would: the records that it would be given."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def record(self, text: bytes, **said: Any) -> None:
        self.records.append({"text": text, **said})


def taken(raw: bytes) -> tuple[list[dict[str, Any]], int]:
    message, kept = read(raw), Kept()
    assert message is not None
    odd = put(kept, message, b"peer")  # type: ignore[arg-type]
    return kept.records, odd


ENTRIES = [[TIME, {"message": "a", "n": 1}], [1700000000, {"log": "b\n", "k": {"x": [1, "y"], "z": True}}]]
PACKED = b"".join(map(msgpack.packb, ENTRIES))
MODES: dict[str, Any] = {
    "forward": ENTRIES,
    "packed": PACKED,
    "packed as text": msgpack.packb(PACKED, use_bin_type=False),
    "gzip": gzip.compress(PACKED[:20]) + gzip.compress(PACKED[20:]),
    "zstd": zstandard.compress(PACKED),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str) -> None:
    option = {"chunk": "c1", **({"compressed": mode} if mode in ("gzip", "zstd") else {})}
    body = MODES[mode]
    raw = (
        b"\x93"
        + msgpack.packb("t.x")
        + (body if mode == "packed as text" else msgpack.packb(body))
        + msgpack.packb(option)
    )
    message = read(raw)
    assert message is not None
    assert message.chunk == b"c1"
    first, second = taken(raw)[0]
    assert (first["text"], first["timestamp_ns"], first["host"]) == (b"a", NS, b"peer")
    assert first["tags"] == [(b"fluent.tag", b"t.x"), (b"n", b"1")]
    assert (second["text"], second["timestamp_ns"]) == (b"b", 1700000000 * 10**9)
    assert second["tags"][1:] == [(b"k.x", b'[1,"y"]'), (b"k.z", b"true")]


def test_one_event_alone_and_a_heartbeat() -> None:
    raw = msgpack.packb(
        ["app", 1700000000, {"level": "warn", "msg": "m", "service": "s", "host": "h", "trace_id": "ab"}]
    )
    ((record,), odd) = taken(raw)
    assert odd == 0
    assert {name: record[name] for name in ("text", "level", "service", "host", "trace_id")} == {
        "text": b"m", "level": "warn", "service": b"s", "host": b"h", "trace_id": b"ab",
    }  # fmt: skip
    assert read(b"\xc0") is None


def test_what_becomes_of_fields() -> None:
    kubernetes = {
        "kubernetes": {"container_name": "web", "host": "node-1", "pod_name": "web-0"},
        "PRIORITY": "3",
    }
    ((record,), _) = taken(
        msgpack.packb(["t", [[[TIME, {"otlp": {"a": 1}}], {"log": '{"x":1}', **kubernetes}]]])
    )
    assert (record["service"], record["host"], record["level"], record["format"]) == (
        b"web",
        b"node-1",
        "error",
        "json",
    )
    assert dict(record["tags"]) == {b"fluent.tag": b"t", b"otlp.a": b"1", b"kubernetes.pod_name": b"web-0"}
    ((record,), _) = taken(msgpack.packb(["t", 1, {"a": 1, "b": None}]))
    assert (record["text"], record["tags"][1:]) == (b'{"a":1,"b":null}', [(b"a", b"1")])


def test_messagepacks_own_times_are_times() -> None:
    moment, odd = msgpack.Timestamp.from_unix_nano(NS), msgpack.Timestamp(2**60, 5)
    ((record,), _) = taken(msgpack.packb(["t", moment, {"m": 1, "at": moment, "in": [moment], "far": odd}]))
    assert record["timestamp_ns"] == NS
    written = b"2023-11-14T22:13:20.123456789Z"
    assert dict(record["tags"]) == {
        b"fluent.tag": b"t", b"m": b"1", b"at": written, b"in": b'["' + written + b'"]',
        b"far": b"1152921504606846976.000000005",
    }  # fmt: skip


def test_what_is_whole_before_what_is_none_is_taken() -> None:
    whole, stream = msgpack.packb(["t", 1, {"m": 2}]), Stream()
    assert stream.feed(whole + b"\xc1 none") == [whole]
    with pytest.raises(RequestRefused):
        stream.check()


def test_entries_that_are_none_are_kept_as_they_are() -> None:
    broken = PACKED + b"\x92\x01"
    records, odd = taken(msgpack.packb(["t", broken]))
    assert (len(records), odd, records[2]["text"]) == (3, 1, b"\x92\x01")
    records, odd = taken(msgpack.packb(["t", [[1], "x", [1, {"m": "y" * MAX_ENTRY_BYTES}]]]))
    assert (len(records), odd) == (3, 3)


@pytest.mark.parametrize(
    ("body", "option", "why"),
    [
        (PACKED, {"compressed": "gzip"}, "cannot decode"),
        (PACKED, {"compressed": "brotli"}, "compression"),
        (PACKED, {"fluent_signal": 1}, "metrics"),
        (gzip.compress(bytes(80 << 20)), {"compressed": "gzip"}, "larger than"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_whole(body: bytes, option: Any, why: str) -> None:
    with pytest.raises(RequestRefused, match=why):
        taken(msgpack.packb(["t", body, option]))


def test_a_message_that_never_ends_is_refused() -> None:
    stream = Stream()
    stream.feed(b"\x92\xa1t\xc6" + struct.pack(">I", 1 << 30))
    for _ in range(MAX_MESSAGE_BYTES // (1 << 20) - 1):
        assert stream.feed(bytes(1 << 20)) == []
    with pytest.raises(RequestRefused):
        stream.feed(bytes(1 << 20))


VALID = [
    msgpack.packb(["t", ENTRIES]),
    msgpack.packb(["t", PACKED, {"chunk": "x"}]),
    msgpack.packb(["t", 1, {"m": 2}]),
]


@given(
    st.binary(max_size=200)
    | st.tuples(st.sampled_from(VALID), st.integers(0, 300), st.binary(max_size=4)).map(
        lambda one: one[0][: one[1]] + one[2] + one[0][one[1] + len(one[2]) :]
    )
    | st.sampled_from(
        [
            b"\x91" * 5000,
            b"\xdd\xff\xff\xff\xff" * 600,
            b"\xdf\xff\xff\xff\xff" * 9,
            b"\x92\xa1t" + b"\x92\x01" * 5000,
        ]
    )
)
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    try:
        messages = Stream().feed(data)
    except RequestRefused:
        return
    for raw in messages:
        try:
            message = read(raw)
            if message is not None:
                put(Kept(), message, b"")  # type: ignore[arg-type]
        except RequestRefused:
            pass
