"""Traces as a collector of OpenTelemetry gets them: a request, its statements, its commit and its INSERT."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import ingest.app
import query.app
from ingest.app import GatewaySettings
from ingest.spool import Spool
from storage import tracing
from storage.embedded import EmbeddedServer
from storage.errors import ConfigError
from storage.hot import Hot
from storage.sections import Secret
from storage.traces_config import TracesConfig
from tests.listening import Listening

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Any] = []
        self.authorizations: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.authorizations.add(self.headers["authorization"])
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.server_address[:2]
        tracing.set_up("neve-test", TracesConfig(f"http://{host!s}:{port}/v1/traces", Secret("Bearer hush")))
        yield server
        tracing.end()
        server.shutdown()
        thread.join()


def test_what_a_request_did_is_one_trace(
    collector: Collector, tmp_path: Path, clickhouse: EmbeddedServer, hot: Hot, namespace: str
) -> None:
    settings = GatewaySettings(tmp_path / "gateway", clickhouse.config, namespaces=(namespace,))
    asked = {"namespace": namespace, "service": "traced"}
    with Listening(ingest.app.create_app(settings)) as gateway:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        gateway.post("/api/v1/ingest", params=asked, content=b"one\n", headers=headers).raise_for_status()
        spool: Spool = gateway.app.state.gateway.spool
        while len(spool):
            spool.wait_room(0.2)
        gateway.get("/metrics")
    with Listening(query.app.create_app(hot, default_namespace=namespace)) as api:
        assert len(api.get("/api/v1/search", params={"q": "service:traced"}).json()["events"]) == 1
    tracing.end()
    assert collector.authorizations == {"Bearer hush"}
    by_name = {span.name: span for span in collector.spans}
    taken, commit, insert = (by_name[name] for name in ("POST /api/v1/ingest", "commit", "insert"))
    assert {one.trace_id.hex() for one in (taken, commit, insert)} == {TRACE}
    assert commit.parent_span_id == taken.span_id
    assert insert.parent_span_id == commit.span_id
    search = by_name["GET /api/v1/search"]
    statements = [span for span in collector.spans if span.parent_span_id == search.span_id]
    assert statements
    assert {span.name for span in statements} == {"clickhouse"}
    words = " ".join(str(span.attributes) for span in collector.spans)
    assert "traced" not in words, "what a user asks for is bound, and in no statement"
    assert not any("metrics" in span.name for span in collector.spans)
    beginnings = {span.name.partition(" ")[0] for span in collector.spans if not span.parent_span_id}
    assert beginnings == {"GET"}, "what nobody asked for is in no trace"


def test_without_an_endpoint_nothing_is_traced() -> None:
    tracing.set_up("neve-test", TracesConfig())
    with tracing.span("anything") as one:
        assert one is None
    assert tracing.begin("anything") is None
    with tracing.span_of_blocks("insert", [b"x" * 16]):
        pass


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"endpoint": "collector:4318"}, "traces.endpoint: collector:4318"),
        ({"sample": 2.0}, "traces.sample: 2.0"),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TracesConfig(**said)
