"""The gateway over HTTP, in a process of its own state, with a real ClickHouse behind it."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ingest.app import GatewaySettings, create_app
from ingest.ledger import WINDOW_SECONDS
from ingest.spool import Spool
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native import frames
from storage.native.block import SealedBlock, pack
from tests.listening import Listening


@pytest.fixture
def settings(tmp_path: Path, clickhouse: EmbeddedServer, namespace: str) -> GatewaySettings:
    return GatewaySettings(
        tmp_path / "gateway", clickhouse.config, namespaces=(namespace,), create_namespaces=False
    )


@pytest.fixture
def client(settings: GatewaySettings) -> Iterator[Listening]:
    with Listening(create_app(settings)) as one:
        yield one


def wait_inserted(client: Listening) -> None:
    """Wait until the gateway's spool is empty."""
    spool: Spool = client.app.state.gateway.spool
    while len(spool):
        spool.wait_room(0.2)


def messages(hot: Hot, namespace: str) -> list[Any]:
    return [row[0] for row in hot.query(f"SELECT message FROM neve_{namespace}.events ORDER BY message").rows]


def block_bytes(block: SealedBlock) -> bytes:
    return pack(block.header, frames.split(block.frames))


PACK = {"": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("encoding", PACK)
def test_lines_become_searchable(client: Listening, hot: Hot, namespace: str, encoding: str) -> None:
    headers = {"content-type": "text/plain", "content-encoding": encoding}
    reply = client.post(
        "/api/v1/ingest",
        params={"namespace": namespace, "service": "api", "host": "web-1"},
        content=PACK[encoding](b"one\ntwo\n\nthree"),
        headers=headers,
    )
    assert (reply.status_code, reply.json()["accepted"], reply.json()["rejected"]) == (200, 3, 0)
    wait_inserted(client)
    assert messages(hot, namespace) == ["one", "three", "two"]
    sql = f"SELECT DISTINCT service, host FROM neve_{namespace}.events"
    assert hot.query(sql).rows == [("api", "web-1")]


def test_json_lines_and_the_one_that_is_none(client: Listening, hot: Hot, namespace: str) -> None:
    body = b'{"message":"one","user":"u"}\n{"broken\n' + json.dumps({"msg": "two"}).encode()
    reply = client.post(
        "/api/v1/ingest",
        params={"namespace": namespace},
        content=body,
        headers={"content-type": "application/x-ndjson"},
    )
    assert reply.json()["accepted"] == 3
    assert [error["line"] for error in reply.json()["errors"]] == [2]
    wait_inserted(client)
    assert messages(hot, namespace) == ["one", "two", '{"broken']


@pytest.mark.parametrize("headers", [{}, {"idempotency-key": "k-1"}], ids=["body", "key"])
def test_repeated_request_is_stored_once(
    settings: GatewaySettings, hot: Hot, namespace: str, headers: dict[str, str]
) -> None:
    def send(client: Listening) -> Any:
        return client.post(
            "/api/v1/ingest", params={"namespace": namespace}, content=b"again\n", headers=headers
        ).json()

    with Listening(create_app(settings)) as client:
        assert send(client)["duplicate"] is False
        assert send(client) == {"accepted": 1, "rejected": 0, "errors": [], "duplicate": True}
        wait_inserted(client)
        assert send(client)["duplicate"] is True
    with Listening(create_app(settings)) as client:
        assert send(client)["duplicate"] is True
        wait_inserted(client)
    assert messages(hot, namespace) == ["again"]


def test_large_request_becomes_several_blocks(client: Listening, hot: Hot, namespace: str) -> None:
    count = 120_000
    body = b"".join(b"%d\n" % number for number in range(count))
    reply = client.post("/api/v1/ingest", params={"namespace": namespace}, content=body)
    assert reply.json()["accepted"] == count
    wait_inserted(client)
    sql = f"SELECT count() AS rows, uniqExact(message) AS lines FROM neve_{namespace}.events"
    assert hot.query(sql).rows == [(count, count)]


def test_block_is_taken_once(client: Listening, hot: Hot, namespace: str, make_block: Any) -> None:
    block = make_block([{"message": "one", "timestamp": 10**18}])
    data = block_bytes(block)
    first = client.post("/api/v1/blocks", content=data)
    assert first.json() == {"status": "accepted", "block_id": block.header.block_id.hex()}
    assert client.post("/api/v1/blocks", content=data).json()["status"] == "duplicate"
    wait_inserted(client)
    assert client.post("/api/v1/blocks", content=data).json()["status"] == "duplicate"
    assert messages(hot, namespace) == ["one"]
    counters = client.get("/gateway/status").json()["counters"]
    assert (counters["blocks_received"], counters["blocks_duplicate"]) == (3, 2)


def test_block_that_the_ledger_has_forgotten_is_known_by_clickhouse(
    client: Listening, hot: Hot, namespace: str, make_block: Any
) -> None:
    blocks = [make_block([{"message": text, "timestamp": 10**18}]) for text in ("one", "two")]
    gateway = client.app.state.gateway
    assert client.post("/api/v1/blocks", content=block_bytes(blocks[0])).json()["status"] == "accepted"
    wait_inserted(client)
    gateway.ledger.prune(now=time.time() + WINDOW_SECONDS + 60)
    for block in blocks:
        assert client.post("/api/v1/blocks", content=block_bytes(block)).json()["status"] == "accepted"
    wait_inserted(client)
    assert messages(hot, namespace) == ["one", "two"]
    assert client.get("/gateway/status").json()["counters"]["blocks_known_by_clickhouse"] == 1
    assert client.post("/api/v1/blocks", content=block_bytes(blocks[0])).json()["status"] == "duplicate"


def test_damaged_block_is_refused(client: Listening, make_block: Any) -> None:
    data = bytearray(block_bytes(make_block([{"message": "one"}])))
    data[-1] ^= 1
    reply = client.post("/api/v1/blocks", content=bytes(data))
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "block_damaged"


def test_unknown_namespace_is_said(client: Listening) -> None:
    reply = client.post("/api/v1/ingest", params={"namespace": "nobody"}, content=b"x\n")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "namespace_unknown")


@pytest.mark.parametrize("namespace_", ["No-Name", "x' OR 1=1 --", ""])
def test_wrong_namespace_is_said(client: Listening, namespace_: str) -> None:
    reply = client.post("/api/v1/ingest", params={"namespace": namespace_}, content=b"x\n")
    assert 400 <= reply.status_code < 500
    assert set(reply.json()["error"]) >= {"code", "message", "hint"}


def test_wrong_parameter_and_encoding_are_said(client: Listening, namespace: str) -> None:
    where = {"namespace": namespace}
    reply = client.post("/api/v1/ingest", params={**where, "format": "xml"}, content=b"x\n")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_parameter")
    reply = client.post("/api/v1/ingest", params=where, content=b"x\n", headers={"content-encoding": "gzip"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_encoding")
    reply = client.post("/api/v1/ingest", params=where, content=b"x" * (33 << 20))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_full_spool_turns_senders_away(tmp_path: Path, clickhouse: EmbeddedServer, namespace: str) -> None:
    settings = GatewaySettings(
        tmp_path / "small", clickhouse.config, namespaces=(namespace,), spool_quota_bytes=4000
    )
    with Listening(create_app(settings)) as client:
        gateway = client.app.state.gateway
        gateway.inserter.stop()
        codes = [
            client.post("/api/v1/ingest", params={"namespace": namespace}, content=b"line %d\n" % number)
            for number in range(3)
        ]
        assert codes[0].status_code == 200
        assert codes[-1].status_code == 429
        assert int(codes[-1].headers["retry-after"]) >= 1
        assert codes[-1].json()["error"]["code"] == "spool_full"
        assert client.get("/gateway/status").json()["spool"]["full"] == "quota"
