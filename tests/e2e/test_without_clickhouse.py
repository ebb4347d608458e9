"""ClickHouse dies or hangs: events are taken all the same, search says so, and afterwards everything is there once."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.server import Server
from storage import processes
from storage.embedded_files import read_record

from .guarded import patiently

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.faults
PATIENCE_SECONDS = 60


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing meanwhile; it goes on whatever happens, or nobody could end it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def clickhouse_dead(server: Server) -> Iterator[None]:
    """The supervisor sleeps too: it would start ClickHouse again within the second."""
    pids = server.pids()
    with stopped(pids["supervisor"]):
        os.kill(pids["clickhouse"], signal.SIGKILL)
        processes.wait_end(pids["clickhouse"], 60)
        yield


def post(server: Server, service: str, line: str) -> None:
    answer = server.client.post("/api/v1/ingest", params={"service": service}, content=line.encode())
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


def once(server: Server, service: str, lines: int) -> None:
    """Wait for so many lines; each is stored once."""
    server.wait_for(f"service:{service}", lines)
    sql = "SELECT count() AS n, uniqExact(message) AS u FROM neve_default.events WHERE service = {s:String}"
    assert server.hot.query(sql, {"s": service}).rows == [(lines, lines)]


def found_wrong(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str] | None:
    """Once the inserter has tried."""
    return done if "nothing is stored: cannot " in done.stdout else None


def test_events_are_taken_while_clickhouse_is_dead(mortal: Server, neve: Run) -> None:
    post(mortal, "dead", "line before")
    mortal.wait_for("service:dead", 1)
    with clickhouse_dead(mortal):
        for number in range(20):
            post(mortal, "dead", f"line {number}")
        for path in ("/api/v1/search?q=service:dead", "/api/v1/patterns", "/readyz", "/gateway/storage"):
            answer = mortal.client.get(path)
            assert answer.status_code == 503, path
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "storage_unavailable"
        assert mortal.client.get("/healthz").status_code == 200
        done = patiently(lambda: found_wrong(neve("status", "--to", mortal.url)))
        assert done.returncode == 1
        assert "stands still" in done.stdout
        said = json.loads(neve("status", "--json", "--to", mortal.url).stdout)
        assert said["gateway"]["spool"]["depth"] >= 1
    once(mortal, "dead", 21)
    patiently(lambda: neve("status", "--to", mortal.url).returncode == 0 or None)


def test_clickhouse_that_lost_its_port_is_found_again(tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server:
        post(server, "moved", "line before")
        server.wait_for("service:moved", 1)
        record = read_record(server.folder / "data" / "clickhouse")
        with socket.socket() as thief:
            with clickhouse_dead(server):
                thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                thief.bind(("127.0.0.1", record.tcp_port))
                thief.listen()
                post(server, "moved", "line")
            server.wait_for("service:moved", 2)
    assert read_record(server.folder / "data" / "clickhouse").tcp_port != record.tcp_port


def test_clickhouse_that_hangs(mortal: Server) -> None:
    """Stopped, not dead: its port is open, and nobody answers."""
    post(mortal, "hangs", "line before")
    mortal.wait_for("service:hangs", 1)
    with stopped(mortal.pids()["clickhouse"]):
        first = {"service": "hangs", "namespace": "not_met"}  # over a connection that has been well until now
        answer = mortal.client.post("/api/v1/ingest", params=first, content=b"x\n", timeout=PATIENCE_SECONDS)
        assert answer.status_code == 503
        for number in range(5):
            post(mortal, "hangs", f"line {number}")
        # However long ClickHouse would be waited for: the client's own patience is less than that.
        new = {"service": "hangs", "namespace": "never_met"}
        for answer in (
            mortal.client.get("/readyz", timeout=PATIENCE_SECONDS),
            mortal.client.get("/gateway/storage", timeout=PATIENCE_SECONDS),
            mortal.client.post("/api/v1/ingest", params=new, content=b"x\n", timeout=PATIENCE_SECONDS),
        ):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "storage_unavailable"
    once(mortal, "hangs", 6)
