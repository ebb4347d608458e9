"""Bodies that are almost, or not at all, what they should be: each gets its protocol's answer, and what was
acknowledged is stored."""

import gzip
import json
import re
import resource
import socket
import zlib
from contextlib import ExitStack
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.logproto import packed, push
from tests.integration.push.conftest import Events
from tests.listening import Listening

NOW = 1_790_000_000 * 10**9
BULK = (
    b'{"create":{"_index":"a"}}\n{"message":"one","a":{"b":[1,2]}}\n{"index":{"_id":"7"}}\n{"x":"\\u00e9"}\n'
)
HEC = (
    b'{"event":"one","time":1790000000.5,"fields":{"a":"b"}}{"event":{"message":"two","n":[1]},"host":"h"}\n'
)
LINES = json.dumps(
    {"streams": [{"stream": {"app": "a"}, "values": [[str(NOW), "one"], [str(NOW + 1), "two", {"k": "v"}]]}]}
).encode()
PLAIN = push(
    [('{app="a"}', [(NOW, '{"a":1}', {"k": "v"}), (NOW, "two", {})]), ('{app="b"}', [(NOW, "three", {})])]
)
JSON = {"content-type": "application/json"}
NDJSON = b'{"msg":"one","level":"warn","a":{"b":[1,2]}}\n{"msg":"two","time":"2026-09-21T00:00:00Z"}\nplain\n'
OTLP = ExportLogsServiceRequest(
    resource_logs=[
        ResourceLogs(
            resource=Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="s"))]),
            scope_logs=[
                ScopeLogs(log_records=[LogRecord(time_unix_nano=NOW, body=AnyValue(string_value="one"))] * 2)
            ],
        )
    ]
)
OTLP_JSON = json.dumps(
    {
        "resourceLogs": [
            {"scopeLogs": [{"logRecords": [{"timeUnixNano": str(NOW), "body": {"stringValue": "one"}}]}]}
        ]
    }
).encode()
JOURNAL = (
    b"__CURSOR=s=1\n__REALTIME_TIMESTAMP=1790000000000000\nMESSAGE=one\nPRIORITY=3\n\n__CURSOR=s=2\nMESSAGE\n"
    + (3).to_bytes(8, "little") + b"two\n_HOSTNAME=h\n\n"
)  # fmt: skip
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"\\",
    b"\n",
    b",",
    b":",
    b"\0",
    b"\xff",
    b"1e999",
    b"null",
    b'{"event":',
]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """With pieces taken out, put in, and the end cut off."""
    body = bytearray(whole)
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 6))] = draw(
            st.one_of(st.sampled_from(PIECES), st.binary(max_size=4))
        )
    return bytes(body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body)


WAYS: dict[str, tuple[str, dict[str, str], st.SearchStrategy[bytes]]] = {
    "elasticsearch": ("/_bulk", JSON, mutated(BULK)),
    "document": ("/a/_doc", JSON, mutated(b'{"message":"one","a":{"b":1}}')),
    "splunk": ("/services/collector", {}, mutated(HEC)),
    "acks": ("/services/collector/ack?channel=c", {}, mutated(b'{"acks":[1,2,3]}')),
    "loki json": ("/loki/api/v1/push", JSON, mutated(LINES)),
    "loki protobuf": ("/loki/api/v1/push", {}, mutated(PLAIN).map(packed)),
    "loki snappy": ("/loki/api/v1/push", {}, mutated(packed(PLAIN))),
    "lines": ("/api/v1/ingest", {"content-type": "application/x-ndjson"}, mutated(NDJSON)),
    "lines in gzip": (
        "/api/v1/ingest",
        {"content-encoding": "gzip"},
        mutated(gzip.compress(NDJSON, mtime=0)),
    ),
    "lines in zstd": ("/api/v1/ingest", {"content-encoding": "zstd"}, mutated(zstandard.compress(NDJSON))),
    "otlp protobuf": (
        "/v1/logs",
        {"content-type": "application/x-protobuf"},
        mutated(OTLP.SerializeToString()),
    ),
    "otlp json": ("/v1/logs", JSON, mutated(OTLP_JSON)),
    "journal": ("/upload", {"content-type": "application/vnd.fdo.journal"}, mutated(JOURNAL)),
}
SECRET = re.compile(r"Traceback|DB::|SELECT |INSERT INTO|\.py\b")
RANDOM = st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


def stored_lines(gateway: Listening) -> int:
    return int(gateway.app.state.gateway.counters.all().get("lines_received", 0))


@pytest.mark.parametrize("way", WAYS)
def test_any_body_gets_an_answer(
    gateway: Listening, tenant: dict[str, str], events: Events, way: str
) -> None:
    path, headers, bodies = WAYS[way]
    before = stored_lines(gateway)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(bodies, bodies, RANDOM))
    def send(body: bytes) -> None:
        answer = gateway.post(path, content=body, headers={**headers, **tenant})
        assert answer.status_code in (200, 201, 202, 204, 400, 413)
        assert not SECRET.search(answer.text)
        if answer.headers.get("content-type", "").startswith(("application/x-protobuf", "text/plain; ")):
            return
        if path.startswith("/loki"):
            assert (answer.status_code == 204) == (not answer.content)
        else:
            said = answer.json()
            assert answer.status_code < 300 or said.get("error") or said["code"] > 0, said
            if path == "/_bulk" and answer.status_code == 200:
                states = [next(iter(item.values()))["status"] for item in said["items"]]
                assert said["errors"] == (set(states) > {201} or 400 in states)

    send()
    assert len(events()) == stored_lines(gateway) - before


BOMB_BYTES = 80 << 20
PATHS = [
    "/_bulk", "/a/_doc", "/services/collector", "/services/collector/raw", "/loki/api/v1/push", "/api/v1/ingest",
    "/v1/logs",
]  # fmt: skip


def test_what_would_unpack_to_too_much_is_refused(gateway: Listening, tenant: dict[str, str]) -> None:
    bomb = gzip.compress(b" " * BOMB_BYTES, 1)
    headers = {**tenant, **JSON, "content-encoding": "gzip"}
    for path in PATHS:
        assert gateway.post(path, content=bomb, headers=headers).status_code == 413
        assert gateway.post(path, content=bomb[: len(bomb) // 2], headers=headers).status_code in (400, 413)
        assert gateway.post(path, content=zlib.compress(b"{}"), headers=headers).status_code == 400
        assert (
            gateway.post(path, content=b"{}", headers={**headers, "content-encoding": "br"}).status_code
            == 415
        )


def test_too_many_documents_are_refused_whole(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    body = b'{"create":{}}\n{}\n' * 101_000
    answer: Any = gateway.post(
        "/_bulk", content=gzip.compress(body, 1), headers={**tenant, "content-encoding": "gzip"}
    )
    assert (answer.status_code, answer.json()["status"]) == (413, 413)
    assert json.loads(answer.text)["error"]["reason"].startswith("cannot take request")
    assert events() == []


DEEP = 200_000
NESTED: list[tuple[str, dict[str, str], bytes]] = [
    ("/api/v1/ingest", {}, b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    ("/_bulk", JSON, b'{"create":{}}\n{"a":' + b"[" * DEEP + b"]" * DEEP + b"}\n"),
    ("/_bulk", JSON, b"[" * DEEP + b"\n{}\n"),
    ("/services/collector", JSON, b'{"event":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    ("/services/collector/ack?channel=c", JSON, b'{"acks":' + b"[" * DEEP),
    ("/loki/api/v1/push", JSON, b'{"streams":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    ("/v1/logs", JSON, b'{"resourceLogs":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    ("/v1/logs", JSON, b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":'
     + b'{"arrayValue":{"values":[' * 3000 + b"]}}" * 3000 + b"}]}]}]}"),
    ("/gateway/evict", JSON, b'{"inserter":' + b"[" * DEEP),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "headers", "body"), NESTED, ids=[f"{path} {n}" for n, (path, *_) in enumerate(NESTED)]
)
def test_what_is_nested_without_end_gets_an_answer(
    gateway: Listening, tenant: dict[str, str], path: str, headers: dict[str, str], body: bytes
) -> None:
    answer = gateway.post(path, content=body, headers={**headers, **tenant})
    assert answer.status_code in (200, 400), answer.text[:200]
    assert not SECRET.search(answer.text[:2000])


def test_very_many_lines_of_nothing_take_little_memory(gateway: Listening, tenant: dict[str, str]) -> None:
    """A line that is no JSON is looked for among them all."""
    before = peak_bytes()
    body = gzip.compress(b'{"a":\n' + b"\n" * (60 << 20), 1)
    answer = gateway.post(
        "/api/v1/ingest", content=body, headers={**tenant, **LINES_KIND, "content-encoding": "gzip"}
    )
    assert answer.status_code == 200
    assert answer.json()["errors"] == [{"line": 1, "reason": "not valid json; kept as text"}]
    assert peak_bytes() - before < 600 << 20


LINES_KIND = {"content-type": "application/x-ndjson"}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_uploads_that_stand_still_leave_room_for_others(gateway: Listening, tenant: dict[str, str]) -> None:
    """A journal's upload may be open for ever; many of them must not take what bodies may take together."""
    head = (
        f"POST /upload HTTP/1.1\r\nhost: h\r\ncontent-type: application/vnd.fdo.journal\r\n"
        f"x-scope-orgid: {tenant['x-scope-orgid']}\r\ntransfer-encoding: chunked\r\n\r\n9\r\nMESSAGE=x\r\n"
    )
    with ExitStack() as opened:
        for _ in range(20):
            one = opened.enter_context(socket.create_connection(gateway.listening.getsockname()))
            one.sendall(head.encode())
        while gateway.app.state.budget.requests < 20:
            gateway.get("/gateway/ready")
        answer = gateway.post("/api/v1/ingest", content=b"x" * (8 << 20), headers=tenant)
        assert answer.status_code == 200
    while gateway.app.state.budget.requests:
        gateway.get("/gateway/ready")
    assert gateway.app.state.budget.used == 0
