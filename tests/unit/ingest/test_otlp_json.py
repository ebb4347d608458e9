"""JSON of OTLP is the same message as its binary form, and what is none is refused in one line."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ingest.errors import RequestRefused
from ingest.receivers.otlp_json import to_binary
from lexer import OTLP_DEPTH, OtlpLogs
from tests.otlp_messages import requests


def hex_ids(message: Any) -> Any:
    """JSON of Protocol Buffers, but for ids: these are in hex."""
    for resource_logs in message.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                for name in {"traceId", "spanId"} & record.keys():
                    record[name] = base64.b64decode(record[name]).hex()
    return message


def parsed(data: bytes) -> ExportLogsServiceRequest:
    found = ExportLogsServiceRequest()
    found.ParseFromString(data)
    for resource_logs in found.resource_logs:  # these are not read
        resource_logs.ClearField("schema_url")
        for scope_logs in resource_logs.scope_logs:
            scope_logs.ClearField("schema_url")
    return found


@given(requests, st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_is_the_same_message(request: ExportLogsServiceRequest, numbers: bool) -> None:
    expected = MessageToDict(parsed(request.SerializeToString()))
    message = hex_ids(MessageToDict(request, use_integers_for_enums=numbers))
    assert MessageToDict(parsed(to_binary(json.dumps(message).encode()))) == expected


def one(**record: Any) -> bytes:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


def test_what_senders_write_in_other_ways() -> None:
    told = one(
        time_unix_nano="1780000000000000000",
        observedTimeUnixNano=1780000000000000000,
        severityNumber="SEVERITY_NUMBER_WARN2",
        traceId="0102030405060708090A0B0C0D0E0F10",
        spanId=None,
        body={"bytesValue": "-_8="},
        attributes=[
            {"key": "n", "value": {"intValue": 5}},
            {"key": "d", "value": {"doubleValue": "Infinity"}},
            {},
        ],
        flags=1.0,
        tomorrow={"anything": []},
    )
    (record,) = parsed(to_binary(told)).resource_logs[0].scope_logs[0].log_records
    assert record.time_unix_nano == record.observed_time_unix_nano == 1780000000000000000
    assert (record.severity_number, record.flags) == (14, 1)
    assert (record.trace_id, record.span_id) == (bytes(range(1, 17)), b"")
    assert record.body.bytes_value == b"\xfb\xff"
    assert [pair.value.WhichOneof("value") for pair in record.attributes] == [
        "int_value",
        "double_value",
        None,
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe\xff", b"[]", b"5", b"null", b"[" * 100_000,
        b'{"resourceLogs":{}}', b'{"resourceLogs":[5]}', b'{"resourceLogs":[{"resource":[]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[null]}]}]}',
        one(timeUnixNano="soon"), one(timeUnixNano=-1), one(timeUnixNano=2**64), one(timeUnixNano=1.5),
        one(timeUnixNano=True), one(timeUnixNano={}), one(traceId="xyz"), one(traceId=5), one(severityText=5),
        one(severityNumber="LOUD"), one(flags=2**32), one(body="text"), one(body={"stringValue": 5}),
        one(body={"boolValue": 1}), one(body={"intValue": "1.5"}), one(body={"intValue": 1e400}),
        one(body={"doubleValue": "much"}), one(body={"bytesValue": "="}), one(body={"bytesValue": "a"}),
        one(body={"arrayValue": []}), one(body={"kvlistValue": {"values": {}}}), one(attributes=[{"key": 5}]),
        one(attributes=[[]]), one(body={"intValue": 0}).replace(b"0", b"9" * 5000),
    ],
)  # fmt: skip
def test_what_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefused) as caught:
        to_binary(body)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)


def test_what_is_too_deep_is_rejected_as_in_binary() -> None:
    deep: dict[str, Any] = {"stringValue": "end"}
    for _ in range(OTLP_DEPTH):
        deep = {"arrayValue": {"values": [deep]}}
    logs = OtlpLogs(to_binary(one(body=deep)))
    assert (logs.records, logs.rejected) == (0, {"too deep": 1, "too large": 0})
    assert OtlpLogs(to_binary(one(body=deep["arrayValue"]["values"][0]))).records == 1


def test_half_of_a_pair_is_replaced() -> None:
    told = one(body={"stringValue": "a?b"}).replace(b"?", b"\\ud83d")
    assert "a\ufffdb".encode() in to_binary(told)
