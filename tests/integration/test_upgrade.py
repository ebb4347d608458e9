"""Versions that meet while a system is upgraded: what was written, asked and answered by earlier ones, byte for byte.

The bytes were captured once and are never written anew: the blocks from the versions that first made them, the request
and the answers from 0.1.0.
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.app import GatewaySettings, create_app
from ingest.destination import Gateway, Verdict
from ingest.ledger import Ledger
from ingest.spool import Spool
from storage import migrations
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.migrations import Migration
from storage.native.block import SealedBlock
from tests.listening import Listening

GOLDEN = Path(__file__).parents[1] / "unit" / "storage"
BLOCKS = ("golden_block_v1.bin", "golden_block_v2.bin", "golden_block_v2_redacted.bin")
MESSAGES = [b"caf\xe9 took 3ms", "", b"caf\xe9 took 3ms", "of format 2", b"caf\xe9 took 3ms", "of format 2"]
NAMESPACE = "main"  # theirs
REQUEST = (
    b"POST /api/v1/blocks HTTP/1.1\r\nHost: %s\r\nAccept-Encoding: identity\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
)


def raw(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    """An answer as it was on the wire, but for its date."""
    length = b"content-length: %d\r\n" % len(body)
    return b"HTTP/1.1 " + status + b"\r\n" + more + length + b"content-type: application/json\r\n\r\n" + body


ANSWERS = [
    (
        raw(b"200 OK", b'{"status":"accepted","block_id":"e894fc2eec811609988fad1867405ddb"}'),
        Verdict.TAKEN,
        "",
    ),
    (
        raw(b"200 OK", b'{"status":"duplicate","block_id":"e894fc2eec811609988fad1867405ddb"}'),
        Verdict.TAKEN,
        "",
    ),
    (
        raw(
            b"422 Unprocessable Entity",
            b'{"error":{"code":"block_damaged","message":"cannot read block: format version 3",'
            b'"hint":"upgrade this program"}}',
        ),
        Verdict.REFUSED,
        "gateway refused block: cannot read block: format version 3",
    ),
    (
        raw(
            b"404 Not Found",
            b'{"error":{"code":"namespace_unknown","message":"cannot find namespace: main","hint":"make it first"}}',
        ),
        Verdict.BLOCKED,
        "gateway refused block: cannot find namespace: main",
    ),
    (
        raw(
            b"429 Too Many Requests",
            b'{"error":{"code":"spool_full","message":"cannot spool block: its quota is used up","hint":""}}',
            b"retry-after: 1\r\n",
        ),
        Verdict.LATER,
        "gateway refused block: cannot spool block: its quota is used up",
    ),
    (
        raw(
            b"503 Service Unavailable",
            b'{"error":{"code":"unavailable","message":"cannot answer yet: this part of the server is starting",'
            b'"hint":"try again in 1 s","position":null}}',
            b"connection: close\r\nretry-after: 1\r\n",
        ),
        Verdict.LATER,
        "gateway refused block: cannot answer yet: this part of the server is starting",
    ),
]


@pytest.fixture
def main(hot: Hot) -> Iterator[None]:
    """The namespace of the blocks."""
    hot.create_namespace(NAMESPACE)
    yield
    hot.execute(f"DROP DATABASE neve_{NAMESPACE}")
    hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": NAMESPACE})


def settings_of(folder: Path, clickhouse: EmbeddedServer) -> GatewaySettings:
    return GatewaySettings(folder, clickhouse.config, namespaces=(NAMESPACE,), create_namespaces=False)


def wait_inserted(gateway: Listening) -> None:
    spool: Spool = gateway.app.state.gateway.spool
    while len(spool):
        spool.wait_room(0.2)


def as_an_earlier_agent(gateway: Listening, data: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to the very bytes that one sends."""
    host, port = gateway.base_url.host, gateway.base_url.port
    assert port
    with socket.create_connection((host, port)) as connection:
        connection.settimeout(30)
        connection.sendall(REQUEST % (f"{host}:{port}".encode(), len(data)) + data)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length_of(answer):
            answer += connection.recv(65536)
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


def length_of(answer: bytes) -> int:
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])


@pytest.mark.usefixtures("main")
def test_earlier_agents_ship_to_this_gateway(tmp_path: Path, clickhouse: EmbeddedServer, hot: Hot) -> None:
    with Listening(create_app(settings_of(tmp_path / "gateway", clickhouse))) as gateway:
        for name in BLOCKS:
            data = (GOLDEN / name).read_bytes()
            block_id = SealedBlock.parse(data).header.block_id.hex()
            said = as_an_earlier_agent(gateway, data)
            assert said == (200, b'{"status":"accepted","block_id":"%s"}' % block_id.encode())
            said = as_an_earlier_agent(gateway, data)
            assert said == (200, b'{"status":"duplicate","block_id":"%s"}' % block_id.encode())
        newer = data[:8] + b"\x03" + data[9:]
        status, body = as_an_earlier_agent(gateway, newer)
        assert status in (400, 413, 415, 422), "it sets aside what is answered so, and goes on"
        assert b"upgrade this program" in body
        wait_inserted(gateway)
        sql = f"SELECT message FROM neve_{NAMESPACE}.events ORDER BY block_id, row DESC"
        found = sorted((row[0] for row in hot.query(sql).rows), key=str)
        assert found == sorted(MESSAGES, key=str)


@pytest.mark.usefixtures("main")
def test_what_waited_before_a_migration_goes_in_after_it(
    tmp_path: Path, clickhouse: EmbeddedServer, hot: Hot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool and a ledger as an earlier gateway left them, and a table that has one column more by now."""
    spool = tmp_path / "gateway" / "spool"
    spool.mkdir(parents=True)
    ids = []
    for number, name in enumerate(BLOCKS[:2], 1):
        data = (GOLDEN / name).read_bytes()
        ids.append(SealedBlock.parse(data).header.block_id)
        (spool / f"{number:016x}-{ids[-1].hex()}.block").write_bytes(data)
    ledger = tmp_path / "gateway" / "ledger"
    ledger.mkdir()
    (ledger / "accepted").write_bytes(
        bytes.fromhex("11111111111111111111111111111111" + "00f1536500000000" + "3f6c4108")
        + bytes.fromhex("22222222222222222222222222222222" + "000fac9affffffff" + "6358a9c1")
    )
    more = Migration(
        99,
        "a later column",
        lambda database: [f"ALTER TABLE {database}.events ADD COLUMN IF NOT EXISTS later String"],
    )
    monkeypatch.setattr(migrations, "NAMESPACE", (*migrations.NAMESPACE, more))
    with Listening(create_app(settings_of(tmp_path / "gateway", clickhouse))) as gateway:
        wait_inserted(gateway)
        # The table moves on while the gateway runs, too: what comes as before goes in as before.
        hot.execute(f"ALTER TABLE neve_{NAMESPACE}.events ADD COLUMN latest UInt8 DEFAULT 7")
        known: Ledger = gateway.app.state.gateway.ledger
        assert known.damaged_records == 0
        assert known.is_done(b"\x11" * 16)
        assert b"\x22" * 16 in known
        assert not known.is_done(b"\x22" * 16)
        for name in BLOCKS:
            status, body = as_an_earlier_agent(gateway, (GOLDEN / name).read_bytes())
            assert (status, b"duplicate" in body) == (200, name != BLOCKS[2])
        wait_inserted(gateway)
    counted = "count() AS n, uniqExact(block_id) AS ids, any(later) AS l, any(latest) AS m"
    assert hot.query(f"SELECT {counted} FROM neve_{NAMESPACE}.events").rows == [(6, 3, "", 7)]


@pytest.mark.parametrize(("answer", "verdict", "reason"), ANSWERS)
def test_this_agent_ships_to_an_earlier_gateway(answer: bytes, verdict: Verdict, reason: str) -> None:
    data = (GOLDEN / "golden_block_v2.bin").read_bytes()
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                while not received.endswith(data):
                    received.extend(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        gateway = Gateway(f"http://{address}")
        said: Any = gateway.send(data)
        thread.join()
        gateway.close()
    assert (said.verdict, said.reason) == (verdict, reason)
    assert bytes(received) == REQUEST % (address.encode(), len(data)) + data, (
        "what an earlier gateway is used to"
    )
