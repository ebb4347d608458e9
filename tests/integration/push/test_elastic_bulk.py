"""Elasticsearch's bulk API, byte by byte: what is taken, what is refused, and what the answer says."""

import gzip
import json
from typing import Any

import pytest

from tests.integration.push.conftest import Events
from tests.listening import Listening

MS = 1_790_000_000_123
Line = dict[str, Any]


def ndjson(*lines: Line | str) -> bytes:
    return b"".join((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n" for line in lines)


def send(gateway: Listening, body: bytes, headers: dict[str, str], path: str = "/_bulk") -> Any:
    return gateway.post(path, content=body, headers={"content-type": "application/x-ndjson", **headers})


def statuses(answer: Any) -> list[int]:
    return [next(iter(item.values()))["status"] for item in answer.json()["items"]]


def test_a_document_in_ecs_fills_the_columns(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    document = {
        "@timestamp": "2026-09-21T14:13:20.123Z",
        "message": "user 17 not found",
        "log": {"level": "warning", "logger": "auth"},
        "service": {"name": "shop"},
        "host": {"name": "web-1", "ip": ["10.0.0.1"]},
        "trace": {"id": "abc"},
        "span.id": "def",
        "http.response.status_code": 404,
    }
    answer = send(gateway, ndjson({"create": {"_index": "logs-shop"}}, document), tenant)
    assert (answer.status_code, answer.json()["errors"], statuses(answer)) == (200, False, [201])
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    (event,) = events()
    assert event["time"] == 1_790_000_000_123_000_000
    assert (event["message"], event["level"], event["service"], event["host"], event["trace_id"], event["span_id"]) == (
        "user 17 not found", "warn", "shop", "web-1", "abc", "def",
    )  # fmt: skip
    assert event["tags"] == {
        "_index": "logs-shop",
        "log.logger": "auth",
        "host.ip": '["10.0.0.1"]',
        "http.response.status_code": "404",
    }


def test_each_item_is_told_what_became_of_it_in_order(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    body = ndjson(
        {"index": {"_index": "a"}},
        {"message": "m0"},
        {"index": {"_index": "a"}},
        "{not json",
        {"index": {"_index": "a"}},
        '["no object"]',
        {"create": {"_id": "x-1"}},
        {"message": "m3"},
        {"delete": {"_index": "a", "_id": "1"}},
        {"update": {"_index": "a", "_id": "2"}},
        {"doc": {"message": "never"}},
        "",
        {"index": {"_index": "a"}},
        {"message": "m6"},
    )
    answer = send(gateway, body, tenant, "/fallback/_bulk")
    items = answer.json()["items"]
    assert answer.json()["errors"] is True
    assert [next(iter(item)) for item in items] == [
        "index",
        "index",
        "index",
        "create",
        "delete",
        "update",
        "index",
    ]
    assert statuses(answer) == [201, 400, 400, 201, 400, 400, 201]
    assert items[1]["index"]["error"]["type"] == "mapper_parsing_exception"
    assert "append-only" in items[4]["delete"]["error"]["reason"]
    assert items[3]["create"]["_id"] == "x-1"
    assert len({item["index"]["_id"] for item in items if "index" in item}) == 4
    stored = events()
    assert [(event["message"], event["tags"]) for event in stored] == [
        ("m0", {"_index": "a"}),
        ("m3", {"_index": "fallback", "_id": "x-1"}),
        ("m6", {"_index": "a"}),
    ]
    metrics = gateway.get("/metrics").text
    assert "neve_gateway_refused_elasticsearch_total 4" in metrics
    assert "neve_gateway_lines_elasticsearch_total " in metrics


def test_an_answer_without_errors_has_the_bytes_that_clients_look_for(
    gateway: Listening, tenant: dict[str, str]
) -> None:
    answer = send(gateway, ndjson({"create": {}}, {"message": "m"}), tenant)
    assert '"errors":false,"items":[' in answer.text


def test_filter_path_leaves_what_is_asked_for(gateway: Listening, tenant: dict[str, str]) -> None:
    body = ndjson({"create": {}}, {"message": "m"}, {"create": {}}, "[]")
    path = "/_bulk?filter_path=errors,items.*.error,items.*.status"
    error = {"type": "mapper_parsing_exception", "reason": "failed to parse: the document is no json object"}
    assert send(gateway, body, tenant, path).json() == {
        "errors": True,
        "items": [{"create": {"status": 201}}, {"create": {"status": 400, "error": error}}],
    }
    assert send(gateway, body, tenant, "/_bulk?filter_path=errors").json() == {"errors": True}
    only = send(gateway, body, tenant, "/_bulk?filter_path=items.*.error.type").json()
    assert only == {"items": [{"create": {"error": error}}]}


def test_repeated_requests_are_stored_once(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    body = gzip.compress(ndjson({"create": {}}, {"message": "once"}, {"create": {}}, {"message": "twice"}))
    answers = [send(gateway, body, {**tenant, "content-encoding": "gzip"}).json() for _ in range(3)]
    assert [answer["items"] for answer in answers] == [answers[0]["items"]] * 3
    assert [event["message"] for event in events()] == ["once", "twice"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b'{"create":{}}\n',
        b'{"create":{}}',
        b'"create"\n{}\n',
        b'{"create":{},"index":{}}\n{}\n',
        b'{"upsert":{}}\n{}\n',
        b"not json\n{}\n",
        b"[" * 100_000,
        b"{" * 9_000 + b"\n{}\n",
        b'{"create":{}}\n{"message":"m"}\n{"create":[]}\n{}\n',
    ],
)
def test_a_body_that_is_no_bulk_request_is_refused_whole(
    gateway: Listening, tenant: dict[str, str], events: Events, body: bytes
) -> None:
    answer = send(gateway, body, tenant)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert answer.json()["error"]["type"] == "illegal_argument_exception"
    assert "\n" not in answer.json()["error"]["reason"]
    assert events() == []


def test_a_document_past_the_lexers_bounds_is_kept_as_text(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    many = {f"k{number}": 1 for number in range(5000)}
    long = {"message": "x" * (1 << 20), "z": 1}
    answer = send(gateway, ndjson({"create": {}}, many, {"create": {}}, long), tenant)
    assert statuses(answer) == [201, 201]
    assert (
        "".join(sorted(event["message"] for event in events() if event["message"][:3] != '{"k')).count("x")
        == 1 << 20
    )


def test_more_documents_than_a_block_holds(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    count = 40_000
    body = b"".join(
        b'{"create":{"_index":"i%d"}}\n{"message":"m%d"}\n' % (n // 30_000, n) for n in range(count)
    )
    answer = send(gateway, body, tenant)
    assert statuses(answer) == [201] * count
    stored = events()
    assert {event["message"] for event in stored} == {f"m{n}" for n in range(count)}
    assert len(stored) == count


def test_a_single_document(gateway: Listening, tenant: dict[str, str], events: Events) -> None:
    pretty = json.dumps({"message": "one", "n": 1}, indent=2).encode()
    for method, path in (
        ("POST", "/app/_doc"),
        ("PUT", "/app/_create/7"),
        ("PUT", "/elasticsearch/app/_doc/8"),
    ):
        answer = gateway.request(method, path, content=pretty, headers=tenant)
        assert (answer.status_code, answer.json()["result"]) == (201, "created")
    assert gateway.post("/app/_doc", content=b"[1]", headers=tenant).status_code == 400
    assert sorted((event["tags"] for event in events()), key=lambda tags: tags.get("_id", "")) == [
        {"_index": "app", "n": "1"},
        {"_index": "app", "n": "1", "_id": "7"},
        {"_index": "app", "n": "1", "_id": "8"},
    ]


def test_a_namespace_that_cannot_be_is_said(gateway: Listening) -> None:
    answer = send(gateway, ndjson({"create": {}}, {"message": "m"}), {"x-scope-orgid": "No-Name"})
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert "namespace" in answer.json()["error"]["reason"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/elasticsearch", 200),
        ("GET", "/elasticsearch/", 200),
        ("GET", "/_license", 200),
        ("GET", "/_xpack", 200),
        ("GET", "/_cluster/health", 200),
        ("GET", "/_nodes/http", 200),
        ("GET", "/_nodes/_all/http", 200),
        ("GET", "/_cat/health", 200),
        ("HEAD", "/filebeat-8", 200),
        ("HEAD", "/_index_template/filebeat-8", 200),
        ("PUT", "/_index_template/filebeat-8", 200),
        ("PUT", "/_component_template/x@settings", 200),
        ("GET", "/_ilm/policy/filebeat", 200),
        ("PUT", "/_ilm/policy/filebeat", 200),
        ("PUT", "/_ingest/pipeline/p", 200),
        ("GET", "/_data_stream/logs-x", 200),
        ("PUT", "/_data_stream/logs-x", 200),
        ("POST", "/logs-x/_refresh", 200),
        ("PUT", "/logs-x", 200),
        ("DELETE", "/logs-x", 400),
        ("DELETE", "/_data_stream/logs-x", 400),
        ("POST", "/logs-x/_search", 400),
        ("POST", "/logs-x/_delete_by_query", 400),
        ("POST", "/_reindex", 400),
    ],
)
def test_what_clients_ask_beside(gateway: Listening, method: str, path: str, status: int) -> None:
    answer = gateway.request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    if status == 400:
        assert "/api/v1/search" in answer.json()["error"]["reason"]
