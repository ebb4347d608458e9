"""What OpenTelemetry's log records cost: to decode them, and to take whole requests until they are durable.

    python -m bench.otlp [--rows N] [--quick] [--json]

Records have 10 attributes, a resource 8, a request 1,000 records. Decoding is CPU time of one thread: `official-parse`
is what the official protobuf package (upb, in C) takes to parse the bytes, `official` also to make rows of them in
Python, `neve` is ours, and `neve-sealed` with the block compressed. Requests go over HTTP through the front door or
over gRPC, one after the other; CPU is the gateway's (with fsync, and sending to ClickHouse) and the front door's.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import httpx
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench import corpus
from bench.report import Report, parser
from bench.server import Server, free_port
from ingest.receivers.otlp_grpc import SERVICE
from lexer import Columns, OtlpLogs
from storage.native.block import seal

RECORDS = 1000  # of a request
ATTRIBUTES = 10
RUNS = 5
LEVELS = {"debug": 5, "info": 9, "warn": 13, "error": 17}
RESOURCE = {
    "service.name": "shop",
    "service.version": "2.14.0",
    "service.instance.id": "3875c211-98b0-4a31-8435-8211254de54d",
    "host.name": "ip-10-0-7-31.internal",
    "k8s.pod.name": "shop-7d9f8b6c5-x2v9p",
    "k8s.namespace.name": "default",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.version": "1.45.2",
}
RECEIVED = corpus.START + corpus.SPAN


def value(text: str) -> AnyValue:
    return AnyValue(int_value=int(text)) if text.isdigit() else AnyValue(string_value=text)


def pairs(values: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(str(one))) for key, one in values.items()]


def record(number: int, event: dict[str, Any]) -> LogRecord:
    tags = dict(islice(event["tags"].items(), ATTRIBUTES))
    now = corpus.START + number * 1000
    return LogRecord(
        time_unix_nano=now,
        observed_time_unix_nano=now + 900,
        severity_number=LEVELS[event["level"]],  # type: ignore[arg-type]
        severity_text=event["level"].upper(),
        body=AnyValue(string_value=event["message"]),
        attributes=pairs(tags),
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        flags=1,
    )


def requests(rows: int) -> Iterator[ExportLogsServiceRequest]:
    """Requests that hold so many records together."""
    events = enumerate(corpus.events(rows), 1)
    resource = Resource(attributes=pairs(RESOURCE))
    while records := [record(number, event) for number, event in islice(events, RECORDS)]:
        logs = ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=records)])
        yield ExportLogsServiceRequest(resource_logs=[logs])


# --- decoding ---


def parse(data: bytes) -> ExportLogsServiceRequest:
    found = ExportLogsServiceRequest()
    found.ParseFromString(data)
    return found


def text_of(one: AnyValue) -> str:
    kind = one.WhichOneof("value")
    return one.string_value if kind == "string_value" else str(getattr(one, str(kind)))


def through_python(data: bytes, columns: Columns) -> None:
    """The rows as somebody makes them who has the official messages: the shared attributes once, then each record."""
    for resource_logs in parse(data).resource_logs:
        shared = [(one.key, text_of(one.value)) for one in resource_logs.resource.attributes]
        names = dict(shared)
        tags = [one for one in shared if one[0] not in ("service.name", "host.name")]
        for scope_logs in resource_logs.scope_logs:
            for one in scope_logs.log_records:
                own = [(pair.key, text_of(pair.value)) for pair in one.attributes]
                own.append(("flags", str(one.flags)))
                columns.add_one(
                    text_of(one.body),
                    service=names["service.name"],
                    host=names["host.name"],
                    tags=own + tags,
                    received_ns=RECEIVED,
                    timestamp_ns=one.time_unix_nano or one.observed_time_unix_nano,
                    level=("trace", "debug", "info", "warn", "error", "fatal")[
                        (one.severity_number - 1) // 4
                    ],
                    trace_id=one.trace_id.hex(),
                    span_id=one.span_id.hex(),
                )
    columns.reset()


def natively(data: bytes, columns: Columns, *, sealed: bool = False) -> None:
    columns.add_otlp(OtlpLogs(data), received_ns=RECEIVED)
    if sealed:
        seal(columns, agent_id="bench", sequence=0, namespace="default")
    columns.reset()


def decoding(report: Report, bodies: list[bytes], rows: int) -> None:
    columns = Columns()
    ways: dict[str, Callable[[bytes], object]] = {
        "official-parse": parse,
        "official": lambda data: through_python(data, columns),
        "neve": lambda data: natively(data, columns),
        "neve-sealed": lambda data: natively(data, columns, sealed=True),
    }
    for name, work in ways.items():
        spent = []
        for _ in range(RUNS):
            begun = time.process_time()
            for body in bodies:
                work(body)
            spent.append(time.process_time() - begun)
        report.add(f"decode {name}", **figures(rows, median(spent), sum(map(len, bodies))))


# --- whole requests ---


def over_http(url: str, kind: str, bodies: list[bytes]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for body in bodies:
            client.post("/v1/logs", content=body, headers={"content-type": kind}).raise_for_status()


def over_grpc(address: str, bodies: list[bytes]) -> None:
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(f"/{SERVICE}/Export")
        for body in bodies:
            export(body)


def whole(report: Report, binary: list[bytes], json: list[bytes], rows: int, folder: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    config = folder / "neve.toml"
    config.write_text(f'[receivers]\notlp_grpc = "{address}"\n')
    with Server(folder / "server", options=("--config", str(config))) as server:
        ways: dict[str, tuple[list[bytes], Callable[[list[bytes]], None]]] = {
            "http": (binary, lambda bodies: over_http(server.url, "application/x-protobuf", bodies)),
            "grpc": (binary, lambda bodies: over_grpc(address, bodies)),
            "json": (json, lambda bodies: over_http(server.url, "application/json", bodies)),
        }
        for number, (name, (bodies, send)) in enumerate(ways.items(), 1):
            # The same bytes again would be a repetition: a field that nobody knows makes them others.
            sent = [one + b"\x78" + bytes([number]) for one in bodies] if name != "json" else bodies
            before, begun = server.parts(), time.monotonic()
            send(sent)
            seconds = time.monotonic() - begun
            server.wait_for("*", number * rows)
            after = server.parts()
            spent = {part: after[part].cpu - before[part].cpu for part in ("gateway", "front")}
            report.add(
                f"request {name}",
                **figures(rows, sum(spent.values()), sum(map(len, bodies))),
                gateway_cpu_us_per_event=spent["gateway"] / rows * 1e6,
                events_per_s=rows / seconds,
                peak_gateway_mib=after["gateway"].peak,
            )


def figures(rows: int, cpu: float, size: int) -> dict[str, float]:
    return {
        "events_per_cpu_s": rows / cpu,
        "client_cpu_us_per_event": cpu / rows * 1e6,
        "bytes_per_event_sent": size / rows,
    }


def run(rows: int, folder: Path) -> Report:
    report = Report("otlp", rows)
    messages = list(requests(rows))
    binary = [one.SerializeToString() for one in messages]
    few = binary[: max(1, 20_000 // RECORDS)]
    decoding(report, few, min(rows, len(few) * RECORDS))
    json = [MessageToJson(one, indent=None).encode() for one in messages]
    whole(report, binary, [as_hex(one) for one in json], rows, folder)
    ours = report.result("decode neve")["client_cpu_us_per_event"]
    for row in report.results:
        row["times_neve"] = row["client_cpu_us_per_event"] / ours
    return report


def as_hex(text: bytes) -> bytes:
    """JSON of Protocol Buffers as OTLP has it: ids in hex, not in base64."""

    def hex_of(found: re.Match[bytes]) -> bytes:
        return found[1] + base64.b64decode(found[2]).hex().encode() + b'"'

    return re.sub(rb'("(?:traceId|spanId)": ?")([^"]*)"', hex_of, text)


def main() -> int:
    options = parser("cost of OpenTelemetry's log records", 400_000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(20_000 if args.quick else args.rows, Path(folder))
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
