"""Bodies that are almost, or not at all, what they should be: each gets its protocol's answer, and what was
acknowledged is stored."""

import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
}
RANDOM = st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


def stored_lines(gateway: Listening) -> int:
    return int(gateway.app.state.gateway.counters.all().get("lines_received", 0))


@pytest.mark.parametrize("way", WAYS)
def test_any_body_gets_an_answer(
    gateway: Listening, tenant: dict[str, str], events: Events, way: str
) -> None:
    path, headers, bodies = WAYS[way]
    before = stored_lines(gateway)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(bodies, bodies, RANDOM))
    def send(body: bytes) -> None:
        answer = gateway.post(path, content=body, headers={**headers, **tenant})
        assert answer.status_code in (200, 201, 204, 400, 413)
        if path.startswith("/loki"):
            assert (answer.status_code == 204) == (not answer.content)
        else:
            said = answer.json()
            assert answer.status_code < 300 or said.get("error") or said["code"] > 0
            if path == "/_bulk" and answer.status_code == 200:
                states = [next(iter(item.values()))["status"] for item in said["items"]]
                assert said["errors"] == (set(states) > {201} or 400 in states)

    send()
    assert len(events()) == stored_lines(gateway) - before


BOMB_BYTES = 80 << 20
PATHS = ["/_bulk", "/a/_doc", "/services/collector", "/services/collector/raw", "/loki/api/v1/push"]


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
