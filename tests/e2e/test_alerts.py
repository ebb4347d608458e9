"""Alerts of a running server: told once, whatever is killed in between."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench.server import Server
from tests.e2e.conftest import Run

PATIENCE_SECONDS = 240


class Receiver(ThreadingHTTPServer):
    """Keeps the keys and kinds that it is told, and wakes who waits for one."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[tuple[str, str, int]] = []  # key, kind, what was answered
        self.status = 200
        self.came = threading.Condition()
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def wait_for(self, number: int) -> list[tuple[str, str, int]]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.told) >= number, PATIENCE_SECONDS), self.told
            return list(self.told)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = self.server.status
        self.send_response(status)
        self.end_headers()
        with self.server.came:
            self.server.told.append((self.headers["idempotency-key"], body["kind"], status))
            self.server.came.notify_all()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)
    return found


def kill(server: Server) -> None:
    """The process that evaluates, and wait for another one."""
    before = server.pids()["alerts"]
    os.kill(before, signal.SIGKILL)
    until(lambda: server.pids().get("alerts", before) != before)


def test_an_alert_is_told_once_whatever_is_killed(mortal: Server, receiver: Receiver, neve: Run) -> None:
    body = {
        "name": "it burns",
        "query": "service:burning",
        "threshold": 0,
        "window": "1h",
        "every": "10s",
        "delay": "0s",
    }
    made = mortal.client.post("/api/v1/alerts", json={**body, "webhooks": [{"url": receiver.url}]})
    assert made.status_code == 201, made.text
    path = f"/api/v1/alerts/{made.json()['id']}"

    def state() -> dict[str, Any]:
        found: dict[str, Any] = mortal.client.get(path).json()["state"]
        return found

    receiver.status = 500  # looked and stored, and nobody takes it
    lines = b'{"msg": "fire", "service": "burning"}\n' * 3
    assert mortal.client.post("/api/v1/ingest", content=lines).status_code == 200
    [(key, kind, _)] = receiver.wait_for(1)[:1]
    assert kind == "firing"
    assert until(lambda: state()["waiting"]) == 1
    kill(mortal)
    receiver.status = 200
    until(lambda: not state()["waiting"])
    assert {one[:2] for one in receiver.told} == {(key, "firing")}
    assert [answered for *_, answered in receiver.told if answered == 200] == [200], "taken once"
    assert state()["groups"][0]["value"] == 3

    taken, looked = len(receiver.told), state()["evaluated_at"]
    kill(mortal)
    until(lambda: state()["evaluated_at"] > looked)
    assert len(receiver.told) == taken, "another process knows that it was told"
    assert mortal.client.get("/api/v1/alerts/state").json()["evaluator"]["state"] == "running"

    listed = neve("alerts", "list", "--url", mortal.url)
    assert listed.returncode == 1, "something fires"
    assert "firing" in listed.stdout
    assert "it burns" in listed.stdout
    tried = neve("alerts", "test", made.json()["id"], "--url", mortal.url)
    assert (tried.returncode, "taken" in tried.stdout) == (0, True), tried.stderr
    assert receiver.wait_for(taken + 1)[-1][1] == "test"

    assert mortal.client.delete(path).status_code == 200
    assert receiver.wait_for(taken + 2)[-1][1] == "resolved"
    metrics = mortal.client.get("/metrics").text
    assert 'neve_up{process="alerts"} 1' in metrics
    assert "neve_alerts_delivered_total" in metrics
