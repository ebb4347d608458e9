"""Splunk's HTTP Event Collector, byte by byte."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ingest.app import GatewaySettings, create_app
from storage.embedded import EmbeddedServer
from tests.integration.push.conftest import Events
from tests.listening import Listening

SUCCESS = {"text": "Success", "code": 0}


def send(gateway: Listening, body: bytes | str, tenant: dict[str, str], path: str = "", **more: Any) -> Any:
    headers = {"authorization": "Splunk 00000000-0000-0000-0000-000000000000", **tenant}
    return gateway.post(f"/services/collector{path}", content=body, headers=headers, **more)


def test_events_that_follow_one_another(gateway: Listening, tenant: dict[str, str], events: Events) -> None:
    body = (
        json.dumps(
            {
                "time": 1790000000.123456,
                "host": "web-1",
                "source": "app.log",
                "sourcetype": "nginx:access",
                "index": "main",
                "event": {"message": "one", "user": {"id": 7}, "level": "WARN"},
                "fields": {"service.name": "shop", "region": "eu", "list": ["a"], "trace_id": "t"},
            }
        )
        + ' {"event":"user=9 two \\u00e9","time":"1790000001","fields":{"severity":"error"}}\n\n'
        + '{"event":[1,2],"time":1790000002000}{"event":"three\\nlines"}'
    )
    answer = send(gateway, body, tenant)
    assert (answer.status_code, answer.json()) == (200, SUCCESS)
    stored = {event["message"]: event for event in events()}
    one, two, three = stored["one"], stored["user=9 two é"], stored["[1,2]"]
    assert (one["time"], one["host"], one["service"], one["level"]) == (
        1790000000123456000,
        "web-1",
        "shop",
        "warn",
    )
    assert one["trace_id"] == "t"
    assert one["tags"] == {
        "source": "app.log", "sourcetype": "nginx:access", "index": "main",
        "region": "eu", "list": '["a"]', "user.id": "7",
    }  # fmt: skip
    assert (two["time"], two["level"], two["tags"]) == (1790000001 * 10**9, "error", {"user": "9"})
    assert three["time"] == 1790000002 * 10**9
    assert "three\nlines" in stored


def test_raw_lines(gateway: Listening, tenant: dict[str, str], events: Events) -> None:
    params = {"host": "h", "sourcetype": "syslog", "source": "s", "index": "i"}
    assert send(gateway, "one\ntwo\n", tenant, "/raw", params=params).json() == SUCCESS
    assert [(event["message"], event["host"], event["tags"]) for event in events()] == [
        (line, "h", {"sourcetype": "syslog", "source": "s", "index": "i"}) for line in ("one", "two")
    ]


def test_a_channel_gets_ids_whose_events_are_durable(gateway: Listening, tenant: dict[str, str]) -> None:
    channel = {**tenant, "x-splunk-request-channel": "c-1"}
    ids = [send(gateway, f'{{"event":"e{n}"}}', channel).json()["ackId"] for n in range(3)]
    assert len(set(ids)) == 3
    asked = send(gateway, json.dumps({"acks": [*ids, max(ids) + 10**9]}), channel, "/ack").json()["acks"]
    assert asked == {**{str(one): True for one in ids}, str(max(ids) + 10**9): False}
    assert send(gateway, '{"acks":[1]}', tenant, "/ack").json()["code"] == 10
    for wrong in ("", "[]", '{"acks":1}', '{"acks":["a"]}', "[" * 9000):
        assert send(gateway, wrong, channel, "/ack").status_code == 400


def test_repeated_requests_are_stored_once(
    gateway: Listening, tenant: dict[str, str], events: Events
) -> None:
    body = gzip.compress(b'{"event":"once"}')
    for _ in range(3):
        assert send(gateway, body, {**tenant, "content-encoding": "gzip"}).json() == SUCCESS
    assert [event["message"] for event in events()] == ["once"]


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        ("", 5, None),
        (" \n", 5, None),
        ("nothing", 6, 0),
        ('{"event":"a"}{"event":', 6, 1),
        ('{"event":"a"} x', 6, 1),
        ('{"event":"a","time":"noon"}', 6, 0),
        ('{"event":"a","time":1e400}', 6, 0),
        ('{"event":"a","time":NaN}', 6, 0),
        ('{"event":"a"}{"host":"h"}', 12, 1),
        ('{"event":null}', 12, 0),
        ('{"event":"a"}{"event":"a"}{"event":" "}', 13, 2),
        ('{"event":"a","fields":[1]}', 15, 0),
        ("[" * 100_000, 6, 0),
        ('{"event":' + "[" * 100_000, 6, 0),
        ('{"event":"a",' + ",".join(f'"k{n}":1' for n in range(200)) + "}", 6, 0),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_kept(
    gateway: Listening, tenant: dict[str, str], events: Events, body: str, code: int, place: int | None
) -> None:
    answer = send(gateway, body, tenant)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json().get("invalid-event-number") == place
    assert events() == []


def test_bytes_that_are_no_utf8(gateway: Listening, tenant: dict[str, str], events: Events) -> None:
    assert send(gateway, b'{"event":{"message":"a\xff"}}', tenant).json() == SUCCESS
    assert send(gateway, b'{"event":"b\xff","host":"\xff"}', tenant).json() == SUCCESS
    assert send(gateway, b'{"event":"c\\ud800"}', tenant).json() == SUCCESS
    assert len(events()) == 3


def test_health(gateway: Listening) -> None:
    assert gateway.get("/services/collector/health").json()["code"] == 17
    assert gateway.get("/services/collector/health/1.0").status_code == 200


def test_a_full_spool_says_come_back(tmp_path: Path, clickhouse: EmbeddedServer, namespace: str) -> None:
    """In each protocol's own way; what was refused can be sent again."""
    settings = GatewaySettings(
        tmp_path / "full", clickhouse.config, namespaces=(namespace,), spool_quota_bytes=4000
    )
    with Listening(create_app(settings)) as gateway:
        gateway.app.state.gateway.inserter.stop()
        headers = {"x-scope-orgid": namespace}
        number = 0
        while gateway.post("/api/v1/ingest", content=b"line %d" % number, headers=headers).status_code == 200:
            number += 1
        splunk = send(gateway, '{"event":"e"}', headers)
        assert (splunk.status_code, splunk.json()["code"]) == (503, 9)
        health = gateway.get("/services/collector/health")
        assert (health.status_code, health.json()["code"]) == (503, 18)
        bulk = gateway.post("/_bulk", content=b'{"create":{}}\n{"a":1}\n', headers=headers)
        assert (bulk.status_code, bulk.json()["error"]["type"]) == (429, "es_rejected_execution_exception")
        streams = {"streams": [{"stream": {"a": "b"}, "values": [["1790000000000000000", "l"]]}]}
        loki = gateway.post("/loki/api/v1/push", json=streams, headers=headers)
        assert loki.status_code == 429
        assert loki.headers["content-type"].startswith("text/plain")
        for answer in (splunk, bulk, loki):
            assert int(answer.headers["retry-after"]) >= 1
