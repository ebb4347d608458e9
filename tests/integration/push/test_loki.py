"""Loki's push over HTTP: what is stored, and what is answered."""

import gzip
import json
from typing import Any

import pytest

from bench.logproto import packed, push
from tests.integration.push.conftest import Events
from tests.listening import Listening

NOW = 1_790_000_000 * 10**9
PROTOBUF = {"content-type": "application/x-protobuf"}
LABELS = {"job": "shop", "namespace": "prod", "level": "warning", "host": "web-1"}
Entry = tuple[int, str, dict[str, str]]
ENTRIES: list[Entry] = [
    (
        NOW + 1,
        '{"msg":"paid","user":"u1","level":"error"}',
        {"trace_id": "t1", "pod": "p-1", "namespace": "more"},
    ),
    (NOW + 2, "took=5ms 2001-01-01 plain", {}),
]


def as_json(entries: list[Entry]) -> bytes:
    values = [[str(time), line, *([more] if more else [])] for time, line, more in entries]
    return json.dumps({"streams": [{"stream": LABELS, "values": values}]}).encode()


def as_protobuf(entries: list[Entry]) -> bytes:
    labels = ", ".join(f'{name}="{value}"' for name, value in LABELS.items())
    return packed(push([("{" + labels + "}", entries)]))


BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "json": (as_json(ENTRIES), {"content-type": "application/json; charset=utf-8"}),
    "json, gzip": (
        gzip.compress(as_json(ENTRIES)),
        {"content-type": "application/json", "content-encoding": "gzip"},
    ),
    "protobuf": (as_protobuf(ENTRIES), PROTOBUF),
    "protobuf, said": (as_protobuf(ENTRIES), {**PROTOBUF, "content-encoding": "snappy"}),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("path", ["/loki/api/v1/push", "/api/prom/push"])
def test_labels_and_metadata_are_tags_and_the_line_is_read(
    gateway: Listening, tenant: dict[str, str], events: Events, body: str, path: str
) -> None:
    content, headers = BODIES[body]
    for _ in range(2):  # a client that lost the answer sends it again
        answer = gateway.post(path, content=content, headers={**headers, **tenant})
        assert (answer.status_code, answer.content) == (204, b"")
    paid, plain = events()
    assert (paid["message"], paid["time"], paid["service"], paid["host"]) == (
        "paid",
        NOW + 1,
        "shop",
        "web-1",
    )
    assert paid["trace_id"] == "t1"
    assert paid["level"] == "warn"  # what the sender says holds before what the text says
    assert paid["tags"] == {"job": "shop", "namespace": "more", "pod": "p-1", "user": "u1", "level": "error"}
    assert (plain["time"], plain["tags"]) == (NOW + 2, {"job": "shop", "namespace": "prod", "took": "5ms"})


def test_the_old_form(gateway: Listening, tenant: dict[str, str], events: Events) -> None:
    stream = {"labels": '{app="a"}', "entries": [{"ts": "2026-09-21T14:13:20.5Z", "line": "old"}]}
    assert gateway.post("/api/prom/push", json={"streams": [stream]}, headers=tenant).status_code == 204
    (event,) = events()
    assert (event["message"], event["service"], event["time"]) == ("old", "a", 1_790_000_000_500_000_000)


WRONG: list[Any] = [
    [],
    {},
    {"streams": None},
    {"streams": {}},
    {"streams": [1]},
    {"streams": [{"stream": [], "values": []}]},
    {"streams": [{"stream": {}, "values": [["1"]]}]},
    {"streams": [{"stream": {}, "values": [1]}]},
    {"streams": [{"stream": {}, "values": {"a": 1}}]},
    {"streams": [{"stream": {}, "values": [["noon", "line"]]}]},
    {"streams": [{"stream": {}, "values": [["1" * 40, "line"]]}]},
    {"streams": [{"stream": {}, "values": [[True, "line"]]}]},
    {"streams": [{"stream": {}, "values": [[str(NOW), 5]]}]},
    {"streams": [{"stream": {}, "values": [[str(NOW), "good"], [str(NOW), "line", "no object"]]}]},
    {"streams": [{"labels": "a", "entries": []}]},
    {"streams": [{"labels": '{a="b"}', "entries": [{"ts": "noon", "line": "l"}]}]},
    {"streams": [{"labels": '{a="b"}', "entries": [1]}]},
]


@pytest.mark.parametrize(
    "body", [*map(json.dumps, WRONG), "", "no json", "[" * 90_000, '"\\ud800', "1" * 5000]
)
def test_what_is_wrong_is_told_in_one_line(
    gateway: Listening, tenant: dict[str, str], events: Events, body: str
) -> None:
    headers = {**tenant, "content-type": "application/json"}
    answer = gateway.post("/loki/api/v1/push", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("cannot read ")
    assert answer.text.count("\n") == 1
    assert events() == []


def test_a_tenant_that_cannot_be_is_said(gateway: Listening) -> None:
    body, headers = BODIES["json"]
    answer = gateway.post(
        "/loki/api/v1/push", content=body, headers={**headers, "x-scope-orgid": "team|other"}
    )
    assert answer.status_code == 400
    assert "namespace" in answer.text


def test_requests_and_entries_are_counted(gateway: Listening, tenant: dict[str, str]) -> None:
    body, headers = BODIES["protobuf"]
    gateway.post("/loki/api/v1/push", content=body, headers={**headers, **tenant})
    gateway.post("/loki/api/v1/push", content=b"damaged", headers={**headers, **tenant})
    gateway.post("/services/collector", content=b"damaged", headers=tenant)
    gateway.post("/_bulk", content=b"damaged", headers=tenant)
    gateway.post("/v1/logs", content=b"damaged", headers={**tenant, "content-type": "application/json"})
    metrics = gateway.get("/metrics").text
    assert "neve_gateway_lines_loki_total " in metrics
    assert "neve_gateway_requests_loki_total " in metrics
    for receiver in ("loki", "splunk", "elasticsearch", "otlp_http"):
        assert f"neve_gateway_requests_refused_{receiver}_total " in metrics
