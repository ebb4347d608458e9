"""OpenTelemetry's own exporters, unmodified, and requests that no exporter would send."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter as JsonExporter
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource as SdkResource

from bench.server import Server, free_port
from lexer import OTLP_DEPTH, OtlpLogs
from tests.otlp_messages import requests, value
from tests.pages import blocks

PAGE = "ingest/opentelemetry.md"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
BINARY = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
SPOOL_BYTES = 3 << 20  # soon full
PATIENCE = 240


@dataclass
class Place:
    """A server, and where it takes OTLP over gRPC."""

    server: Server
    grpc: str

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return self.server.client.post("/v1/logs", content=body, headers={**BINARY, **named})

    def call(self, body: bytes, method: str = EXPORT, **options: Any) -> bytes:
        with grpc.insecure_channel(self.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
            answer: bytes = channel.unary_unary(method)(body, timeout=PATIENCE, **options)
            return answer

    def events(self, service: str, count: int, **options: Any) -> list[dict[str, Any]]:
        """All events of a service, the oldest first, once there are so many."""
        self.server.wait_for(f"service:{service}", count)
        found: list[dict[str, Any]] = self.server.search(f"service:{service}", order="oldest", **options)[
            "events"
        ]
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, address = tmp_path_factory.mktemp("otlp"), f"127.0.0.1:{free_port()}"
    (section,) = blocks(PAGE, "toml")
    config = folder / "neve.toml"
    config.write_text(f"spool_bytes = {SPOOL_BYTES}\n" + section.replace("127.0.0.1:14317", address))
    with Server(folder / "server", options=("--config", str(config))) as server:
        yield Place(server, address)


def request_of(service: str, *records: LogRecord) -> ExportLogsServiceRequest:
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])
    logs = ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=records)])
    return ExportLogsServiceRequest(resource_logs=[logs])


def text(message: str) -> LogRecord:
    return LogRecord(body=AnyValue(string_value=message))


# --- exporters ---


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_page_as_it_is_written(place: Place, transport: str) -> None:
    (script,) = blocks(PAGE, "python")
    (lines,) = blocks(PAGE, "sh")
    environment = dict(line.split("=", 1) for line in lines.splitlines())
    address = place.server.url if transport == "http" else f"http://{place.grpc}"
    environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_SERVICE_NAME": f"shop-{transport}"}
    script = script.replace("otlp.proto.http", f"otlp.proto.{transport}")
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    paid, failed = place.events(f"shop-{transport}", 2)
    assert (paid["message"], paid["level"], paid["host"]) == ("paid order 17", "info", "web-1")
    assert (paid["tags"]["user"], paid["tags"]["cart.items"], paid["tags"]["scope.name"]) == (
        "u1",
        "3",
        "shop.cart",
    )
    assert paid["tags"]["telemetry.sdk.language"] == "python"
    assert (failed["message"], failed["level"]) == ("cannot ship", "error")
    assert failed["tags"]["exception.type"] == "ZeroDivisionError"
    assert failed["tags"]["exception.message"] == "division by zero"
    assert failed["tags"]["exception.stacktrace"].startswith("Traceback (most recent call last):\n")
    assert paid["trace_id"] == failed["trace_id"] != ""
    assert len(paid["trace_id"]), len(paid["span_id"]) == (32, 16)
    joined = place.server.search(f"trace_id:{paid['trace_id']} span_id:{paid['span_id']}")["events"]
    assert {one["id"] for one in joined} == {paid["id"], failed["id"]}


def test_an_exporter_of_json(place: Place) -> None:
    provider = LoggerProvider(resource=SdkResource({"service.name": "json"}))
    exporter = JsonExporter(endpoint=f"{place.server.url}/v1/logs", timeout=PATIENCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("scope", "1.0").emit(
        body={"msg": "hi", "n": [1, 2.5]}, attributes={"bytes": b"\0\xff", "deep": {"a": 1}}
    )
    provider.shutdown()
    (event,) = place.events("json", 1)
    assert event["message"] == "hi"
    expected = {"n": "[1,2.5]", "bytes": "AP8=", "deep.a": "1", "scope.name": "scope", "scope.version": "1.0"}
    assert event["tags"].items() >= expected.items()


@contextmanager
def storage_asleep(server: Server) -> Iterator[None]:
    pid = server.pids()["clickhouse"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def refusals(server: Server) -> int:
    return sum(server.client.get("/gateway/status").json()["spool"]["reasons"].values())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_exporters_try_again_while_the_gateway_is_full(place: Place) -> None:
    exporters = {
        "retry-http": HttpExporter(endpoint=f"{place.server.url}/v1/logs", timeout=PATIENCE),
        "retry-grpc": GrpcExporter(endpoint=place.grpc, insecure=True, timeout=PATIENCE),
    }
    filled = 0
    with ThreadPoolExecutor() as pool:
        with storage_asleep(place.server):
            for _ in range(100):
                answer = place.post(request_of("fill", text(secrets.token_hex(200_000))).SerializeToString())
                if answer.status_code != 200:
                    break
                filled += 1
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert Status.FromString(answer.content).message.startswith("cannot ")
            with pytest.raises(grpc.RpcError) as caught:
                place.call(request_of("fill", text("one more")).SerializeToString())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert retry_seconds(caught.value) >= 1
            before = refusals(place.server)
            results = [pool.submit(export_one, name, exporter) for name, exporter in exporters.items()]
            wait_until(lambda: refusals(place.server) >= before + 2 or all(one.done() for one in results))
            assert not any(one.done() for one in results)
        assert [one.result(PATIENCE) for one in results] == ["SUCCESS"] * 2
    for name in exporters:
        assert [one["message"] for one in place.events(name, 1)] == ["patient"]
    place.server.wait_for("service:fill", filled)


def export_one(service: str, exporter: Any) -> str:
    """Export a record; what became of it."""
    seen: list[Any] = []
    export = exporter.export
    exporter.export = lambda batch: seen.append(export(batch)) or seen[-1]
    provider = LoggerProvider(resource=SdkResource({"service.name": service}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("x").emit(body="patient")
    provider.shutdown()
    return str(seen[0].name)


def retry_seconds(error: Any) -> int:
    """What the details of a gRPC status say about another try."""
    metadata = dict(error.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    info = RetryInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert RetryInfo.FromString(metadata["google.rpc.retryinfo-bin"]) == info
    return int(info.retry_delay.seconds)


# --- what is rejected, refused, and repeated ---


def partly(service: str) -> ExportLogsServiceRequest:
    """A request of which one record is nested too deep."""
    deep = value("end")
    for _ in range(OTLP_DEPTH):
        deep = AnyValue(array_value={"values": [deep]})
    return request_of(service, text("good"), LogRecord(body=deep), text("good"))


def test_partial_success(place: Place) -> None:
    answer = place.post(partly("partly-http").SerializeToString())
    assert (answer.status_code, answer.headers["content-type"]) == (200, BINARY["content-type"])
    said = [ExportLogsServiceResponse.FromString(answer.content)]
    said.append(ExportLogsServiceResponse.FromString(place.call(partly("partly-grpc").SerializeToString())))
    for one in said:
        assert one.partial_success.rejected_log_records == 1
        assert (
            one.partial_success.error_message == "1 log records rejected: 1 with values nested deeper than 32"
        )
    deep: dict[str, Any] = {"stringValue": "end"}
    for _ in range(OTLP_DEPTH):
        deep = {"arrayValue": {"values": [deep]}}
    logs = {"scopeLogs": [{"logRecords": [{"body": deep}]}]}
    answer = place.post(json.dumps({"resourceLogs": [logs]}).encode(), **JSON)
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    for transport in ("http", "grpc"):
        assert len(place.events(f"partly-{transport}", 2)) == 2
    metrics = place.server.client.get("/metrics").text
    assert "\nneve_gateway_lines_rejected_otlp_http_total 2" in metrics
    assert "\nneve_gateway_lines_rejected_otlp_grpc_total 1" in metrics
    assert "\nneve_gateway_lines_otlp_grpc_total " in metrics


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.parametrize("encoding", PACK)
def test_encodings_and_repetition(place: Place, encoding: str) -> None:
    service = f"packed-{encoding or 'plain'}"
    plain = {way: request_of(f"{service}-{way}", text(way)).SerializeToString() for way in ("http", "grpc")}
    for body, said in (
        (PACK[encoding](plain["http"]), encoding),
        (plain["http"], ""),
    ):  # once is not packed again
        answer = place.post(body, content_encoding=said)
        assert (answer.status_code, answer.content) == (200, b"")
    pack = bytes if encoding == "zstd" else PACK[encoding]  # grpcio has no zstd
    for body in (pack(plain["grpc"]), plain["grpc"]):
        assert place.call(body) == b""
    if encoding == "gzip":  # as one of Python's does
        packed = request_of("packed-grpcio", text("grpc")).SerializeToString()
        assert place.call(packed, compression=grpc.Compression.Gzip) == b""
        assert len(place.events("packed-grpcio", 1)) == 1
    for way in ("http", "grpc"):
        assert [one["message"] for one in place.events(f"{service}-{way}", 1)] == [way]


def test_namespaces(place: Place) -> None:
    assert (
        place.post(request_of("n", text("http")).SerializeToString(), x_neve_namespace="other").status_code
        == 200
    )
    place.call(request_of("n", text("grpc")).SerializeToString(), metadata=[("x-neve-namespace", "other")])
    wait_until(lambda: len(place.server.search("service:n", namespace="other")["events"]) == 2)
    assert place.server.count("service:n") == 0


BOMB = bytes(40 << 20)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"\x08", BINARY, 400, 3),
        (b"{", JSON, 400, 3),
        (b'{"resourceLogs":5}', {"content-type": "Application/JSON; charset=utf-8"}, 400, 3),
        (b"x", {"content-type": "text/plain"}, 415, 3),
        (b"", {"content-type": ""}, 415, 3),
        (b"x", {**BINARY, "content-encoding": "br"}, 415, 3),
        (b"x", {**JSON, "content-encoding": "gzip"}, 400, 3),
        (gzip.compress(BOMB), {**BINARY, "content-encoding": "gzip"}, 413, 8),
        (zlib.compress(BOMB[: 9 << 20]), {**JSON, "content-encoding": "deflate"}, 413, 8),
        (BOMB, BINARY, 413, 8),
        (b"", {**BINARY, "x-neve-namespace": "No-Name"}, 400, 3),
    ],
)
def test_refusals_over_http(
    place: Place, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    answer = place.server.client.post("/v1/logs", content=body, headers=headers)
    assert answer.status_code == status
    if headers["content-type"] == BINARY["content-type"]:
        assert answer.headers["content-type"] == BINARY["content-type"]
        said = Status.FromString(answer.content)
        found, message = said.code, said.message
    else:
        assert answer.headers["content-type"] == JSON["content-type"]
        found, message = answer.json()["code"], answer.json()["message"]
    assert found == code
    assert message.startswith("cannot ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("body", "method", "code"),
    [
        (b"\x08", EXPORT, grpc.StatusCode.INVALID_ARGUMENT),
        (b"", EXPORT.replace("logs", "trace").replace("Logs", "Trace"), grpc.StatusCode.UNIMPLEMENTED),
        (gzip.compress(BOMB), EXPORT, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (BOMB, EXPORT, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_refusals_over_grpc(place: Place, body: bytes, method: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        place.call(body, method)
    assert caught.value.code() is code
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        metrics = place.server.client.get("/metrics").text
        assert "\nneve_gateway_requests_refused_otlp_grpc_total " in metrics


def test_anything_gets_an_answer(place: Place) -> None:
    acknowledged: dict[bytes, int] = {}

    @given(requests, st.data())
    @settings(max_examples=40, deadline=None)
    def send(request: ExportLogsServiceRequest, draw: st.DataObject) -> None:
        changed = bytearray(request.SerializeToString())
        for _ in range(draw.draw(st.integers(0, 3))):
            at = draw.draw(st.integers(0, len(changed)))
            changed[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        body = bytes(changed)
        answer = place.post(body, x_neve_namespace="anything")
        try:
            records = OtlpLogs(body).records
        except ValueError:
            assert answer.status_code == 400
            assert Status.FromString(answer.content).message
            return
        assert answer.status_code == 200
        acknowledged[body] = records

    send()
    table = "SELECT count() AS n FROM neve_anything.events"
    wait_until(lambda: place.server.hot.query(table).rows[0][0] >= sum(acknowledged.values()))
    assert place.server.hot.query(table).rows == [(sum(acknowledged.values()),)]
