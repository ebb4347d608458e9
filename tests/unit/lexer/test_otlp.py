"""OpenTelemetry's logs, decoded in C: the rows are those that the plain reading of the official messages gives."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

import lexer
from lexer import Columns, OtlpLogs
from lexer._lexer import OTLP_DEPTH, OTLP_MAX_RECORD_BYTES, OTLP_MAX_TAGS
from storage.native.block import SealedBlock, seal
from storage.native.columns import BlockColumns
from tests.conftest import varint
from tests.otlp_messages import pairs, requests, value
from tests.unit.lexer import otlp_reference as reference

NOW = 1_780_000_000 * 10**9
COLUMNS = ("timestamp", "level", "service", "host", "message", "trace_id", "span_id")


def read(columns: Columns) -> list[dict[str, Any]]:
    """The rows of columns."""
    if not columns.rows:
        return []
    block = BlockColumns(
        SealedBlock.parse(seal(columns, agent_id="a", sequence=0, namespace="default", rules_version=1))
    )
    lists = {name: block.column(name).to_pylist() for name in COLUMNS}
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    for row in rows:
        row["tags"] = {}
    for number in range(columns.shards):
        shard = block.shard(number)
        for key in shard.names():
            for row, text in zip(rows, shard.of(key).to_pylist(), strict=True):
                if text is not None:
                    row["tags"][key] = text
    return rows


def taken(data: bytes, max_rows: int = 1000) -> list[dict[str, Any]]:
    """The rows that a request becomes."""
    logs, found = OtlpLogs(data), []
    while logs.left:
        columns = Columns(max_rows=max_rows)
        assert 0 < columns.add_otlp(logs, received_ns=NOW) <= max_rows
        found += read(columns)
    assert len(found) >= logs.records
    return found


def expected(request: ExportLogsServiceRequest) -> list[dict[str, Any]]:
    columns = Columns()
    for row in reference.rows(request):
        columns.add_one(**row, received_ns=NOW)
    return read(columns)


def request_of(*records: LogRecord, resource: Resource | None = None) -> ExportLogsServiceRequest:
    logs = ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=records)])
    return ExportLogsServiceRequest(resource_logs=[logs])


def one(record: LogRecord, resource: Resource | None = None) -> dict[str, Any]:
    """The one row that a record becomes; it is what the reference says."""
    request = request_of(record, resource=resource)
    (row,) = taken(request.SerializeToString())
    assert [row] == expected(request)
    return row


# --- what a record becomes ---


def test_a_record_with_all_that_it_may_have() -> None:
    record = LogRecord(
        time_unix_nano=NOW - 5,
        observed_time_unix_nano=NOW,
        severity_number=17,
        severity_text="ERROR",
        body=value("cannot reach 10.0.0.7"),
        attributes=pairs(
            {"http.status": 502, "slow": True, "took": 1.5, "peer": {"name": "db", "port": {"n": 5}}}
        ),
        dropped_attributes_count=2,
        flags=1,
        trace_id=bytes(range(1, 17)),
        span_id=bytes(range(1, 9)),
        event_name="peer.lost",
    )
    resource = Resource(
        attributes=pairs({"service.name": "shop", "host.name": "web-1", "os": ["linux", 6, None]})
    )
    assert one(record, resource) == {
        "timestamp": NOW - 5,
        "level": b"error",
        "service": b"shop",
        "host": b"web-1",
        "message": b"cannot reach 10.0.0.7",
        "trace_id": b"0102030405060708090a0b0c0d0e0f10",
        "span_id": b"0102030405060708",
        "tags": {
            b"http.status": b"502",
            b"slow": b"true",
            b"took": b"1.5",
            b"peer.name": b"db",
            b"peer.port.n": b"5",
            b"os": b'["linux",6,null]',
            b"dropped_attributes_count": b"2",
            b"flags": b"1",
            b"event_name": b"peer.lost",
        },
    }


@pytest.mark.parametrize(
    ("body", "message", "tags"),
    [
        (None, "", {}),
        ("text a=1", "text a=1", {}),
        (5, "5", {}),
        (True, "true", {}),
        (2.5, "2.5", {}),
        (b"\x00\xff", "AP8=", {}),
        ([1, "a", b"b", float("nan"), {"k": None}], '[1,"a","Yg==","NaN",{"k":null}]', {}),
        ({}, "{}", {}),
        ({"a": 1, "b": {"c": "x\n"}}, '{"a":1,"b":{"c":"x\\n"}}', {"a": "1", "b.c": "x\n"}),
        ({"msg": "second", "message": "first", "n": 1}, "first", {"msg": "second", "n": "1"}),
        ({"msg": "m", "message": 5}, "m", {"message": "5"}),
        ({"message": "", "n": []}, '{"message":"","n":[]}', {"message": "", "n": "[]"}),
        ({"k" * 513: 1}, '{"' + "k" * 513 + '":1}', {}),
    ],
)
def test_bodies(body: Any, message: str, tags: dict[str, str]) -> None:
    row = one(LogRecord(body=value(body)))
    assert row["message"] == message.encode()
    assert row["tags"] == {key.encode(): text.encode() for key, text in tags.items()}


@pytest.mark.parametrize(
    ("number", "text", "level", "tags"),
    [
        (0, "", "", {}),
        (1, "", "trace", {}),
        (5, "DEBUG", "debug", {}),
        (9, "Information", "info", {}),
        (9, "SevInfo", "info", {"severity_text": "SevInfo"}),
        (10, "NOTICE", "info", {"severity_text": "NOTICE", "severity_number": "10"}),
        (13, "WARNING", "warn", {}),
        (20, "", "error", {"severity_number": "20"}),
        (21, "CRITICAL", "fatal", {"severity_text": "CRITICAL"}),
        (24, "x" * 40, "fatal", {"severity_text": "x" * 40, "severity_number": "24"}),
        (0, "warning", "warn", {}),
        (0, "loud", "", {"severity_text": "loud"}),
        (25, "error", "error", {"severity_number": "25"}),
        (-1, "", "", {"severity_number": "-1"}),
    ],
)
def test_severities(number: int, text: str, level: str, tags: dict[str, str]) -> None:
    row = one(LogRecord(severity_number=number, severity_text=text))  # type: ignore[arg-type]
    assert row["level"] == level.encode()
    assert row["tags"] == {key.encode(): text.encode() for key, text in tags.items()}


def test_a_level_that_nobody_gives_is_looked_for() -> None:
    told = one(LogRecord(body=value({"severity": 5, "level": "Error", "msg": "WARN"})))
    assert (told["level"], told["tags"]) == (b"error", {b"severity": b"5", b"level": b"Error"})
    assert one(LogRecord(severity_number=9, attributes=pairs({"level": "error"})))["level"] == b"info"  # type: ignore[arg-type]
    assert one(LogRecord(body=value("WARN disk is full")))["level"] == b"warn"


@pytest.mark.parametrize(
    ("time", "observed", "stored", "claimed"),
    [(NOW - 7, NOW, NOW - 7, None), (0, NOW - 9, NOW - 9, None), (0, 0, NOW, None), (5, 0, NOW, b"5"),
     (2**64 - 1, 0, NOW, str(2**63 - 1).encode()), (2**63, 0, NOW, str(2**63 - 1).encode())],
)  # fmt: skip
def test_times(time: int, observed: int, stored: int, claimed: bytes | None) -> None:
    row = one(LogRecord(time_unix_nano=time, observed_time_unix_nano=observed))
    assert (row["timestamp"], row["tags"].get(b"claimed_timestamp")) == (stored, claimed)


def test_who_holds_where_names_are_the_same() -> None:
    record = LogRecord(attributes=pairs({"a": "record", "service.name": "own", "flags": "mine"}), flags=1)
    logs = ScopeLogs(
        scope=InstrumentationScope(name="n", version="v", attributes=pairs({"a": "scope", "b": "scope"})),
        log_records=[record],
    )
    resource = Resource(
        attributes=pairs({"a": "r", "b": "r", "c": "r", "host.name": ""}), dropped_attributes_count=3
    )
    request = ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=[logs])])
    (row,) = taken(request.SerializeToString())
    assert [row] == expected(request)
    assert (row["service"], row["host"]) == (b"own", b"")
    assert row["tags"] == {
        b"a": b"record", b"b": b"scope", b"c": b"r", b"flags": b"mine", b"scope.name": b"n", b"scope.version": b"v",
        b"host.name": b"", b"resource.dropped_attributes_count": b"3",
    }  # fmt: skip


def test_ids_of_zeros_are_none_and_odd_ones_are_kept() -> None:
    row = one(LogRecord(trace_id=bytes(16), span_id=b"\1\2\3"))
    assert (row["trace_id"], row["span_id"]) == (b"", b"010203")


def test_no_tag_is_too_many() -> None:
    many = {f"k{i}": "v" for i in range(OTLP_MAX_TAGS + 10)} | {"x" * 600: "long"}
    row = one(LogRecord(attributes=pairs(many), event_name="e"), Resource(attributes=pairs(many)))
    assert len(row["tags"]) == OTLP_MAX_TAGS + 3
    assert row["tags"][b"overflow_tags"].endswith(b'"' + b"x" * 600 + b'":"long"}')
    assert row["tags"][b"resource.overflow_tags"] == row["tags"][b"overflow_tags"]
    wide = one(LogRecord(attributes=pairs({"a": 1, "m": many, "z": {"n": 2}})))
    assert set(wide["tags"]) == {b"a", b"m", b"z.n"}
    nested = {"m": {"a": {f"k{i}": "v" for i in range(800)}, **{f"l{i}": 1 for i in range(300)}}}
    assert len(one(LogRecord(attributes=pairs(nested)))["tags"]) == 301  # what no longer fits stays whole


def test_a_message_that_is_too_long_is_stored_in_pieces() -> None:
    text = "y" * (2 * lexer.MAX_LINE_BYTES + 5)
    rows = taken(request_of(LogRecord(body=value(text), attributes=pairs({"k": "v"}))).SerializeToString())
    assert b"".join(row["message"] for row in rows) == text.encode()
    assert [row["tags"] for row in rows] == [{b"k": b"v"}] * 3


# --- what cannot be taken ---


def deep(levels: int) -> AnyValue:
    found = value("end")
    for _ in range(levels):
        found = AnyValue(array_value={"values": [found]})
    return found


def test_what_is_too_deep_or_too_large_is_rejected_and_counted() -> None:
    good = [LogRecord(body=value(text)) for text in ("one", "two", "three")]
    bad = [
        LogRecord(attributes=[KeyValue(key="k", value=deep(OTLP_DEPTH))]),
        LogRecord(body=value("x" * OTLP_MAX_RECORD_BYTES)),
    ]
    logs = OtlpLogs(request_of(good[0], bad[0], good[1], bad[1], good[2], bad[0]).SerializeToString())
    assert (logs.records, logs.rejected) == (3, {"too deep": 2, "too large": 1})
    columns = Columns()
    assert columns.add_otlp(logs, received_ns=NOW) == 3
    assert logs.left == 0
    assert [row["message"] for row in read(columns)] == [b"one", b"two", b"three"]
    assert one(LogRecord(body=deep(OTLP_DEPTH - 1)))["message"].count(b"[") == OTLP_DEPTH - 1


def field(number: int, wire: int, content: bytes = b"") -> bytes:
    return bytes([number << 3 | wire]) + (varint(len(content)) if wire == 2 else b"") + content


@pytest.mark.parametrize(
    "record",
    [
        b"\x08", b"\x80" * 11, b"\x08" + b"\xff" * 9 + b"\x02",  # varints without an end, and too large
        b"\x00\x01", field(1, 3) + field(1, 4), field(1, 7), field(1, 6),  # no number, groups, no wire type
        field(1, 1, b"1234567"), field(8, 5, b"123"), b"\x2a\x05abc", b"\x2a" + b"\xff" * 9 + b"\x01",  # cut off
        field(1, 0, b"\x05"), field(5, 0, b"\x05"), field(2, 2, b"x"), field(9, 5, b"1234"),  # other types
        field(5, 2, field(5, 2, field(1, 0, b"\x05"))), field(6, 2, field(2, 2, field(3, 2, b"x"))),
    ],
)  # fmt: skip
def test_damaged_bytes_are_refused_whole(record: bytes) -> None:
    good = request_of(LogRecord(body=value("good"))).SerializeToString()
    scope_logs = field(2, 2, record)
    with pytest.raises(ValueError, match="no ExportLogsServiceRequest"):
        OtlpLogs(good + field(1, 2, field(2, 2, scope_logs)) + good)


def test_fields_that_are_not_known_are_passed_over() -> None:
    unknown = (
        field(15, 0, b"\x05") + field(15, 1, bytes(8)) + field(15, 2, b"\xff\xff") + field(15, 5, bytes(4))
    )
    record = unknown + field(5, 2, unknown + field(1, 2, b"text") + unknown) + unknown
    assert [
        row["message"] for row in taken(field(1, 2, unknown + field(2, 2, field(2, 2, record) + unknown)))
    ] == [b"text"]


def test_rows_out_of_proportion_are_refused() -> None:
    resource = Resource(attributes=pairs({"k": "v" * (1 << 20)}))
    with pytest.raises(ValueError, match="too many"):
        OtlpLogs(request_of(*[LogRecord()] * 600, resource=resource).SerializeToString())
    with pytest.raises(ValueError, match="too many"):
        OtlpLogs(request_of(*[LogRecord()] * (2 << 20)).SerializeToString())


def test_a_resource_that_is_too_deep_is_refused() -> None:
    resource = Resource(attributes=[KeyValue(key="k", value=deep(OTLP_DEPTH))])
    with pytest.raises(ValueError, match="nested deeper"):
        OtlpLogs(request_of(LogRecord(), resource=resource).SerializeToString())


# --- anything ---


@given(requests, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_plain_reading(request: ExportLogsServiceRequest, max_rows: int) -> None:
    assert taken(request.SerializeToString(), max_rows) == expected(request)


@given(st.floats() | st.floats(-1e6, 1e6) | st.integers(-(10**9), 10**9).map(lambda n: n / 1000))
@example(2.0**-24)  # repr finds 16 digits here, where %.16g rounds to others
def test_numbers_read_back_the_same(number: float) -> None:
    text = one(LogRecord(body=value(number)))["message"].decode()
    assert text == reference.number(number)
    assert float(text) == number or number != number
    assert len(text) <= len(repr(number)) + 1 or text in ("Infinity", "-Infinity")


@given(requests.map(ExportLogsServiceRequest.SerializeToString), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_taken_is_what_everybody_reads(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(changed)))
        changed[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    try:
        found = taken(bytes(changed))
    except ValueError:
        return
    official = ExportLogsServiceRequest()
    try:
        official.ParseFromString(bytes(changed))
    except DecodeError:
        return  # texts that are no UTF-8: kept as they are
    assert len(found) == sum(len(s.log_records) for r in official.resource_logs for s in r.scope_logs)
