"""Clients of Loki's against the whole server, through its front door: a health check, live lines, a Python client."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from loki_reader_core import LokiClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from bench.server import Server
from tests.e2e.conftest import run_neve


def ship(server: Server, folder: Path, service: str, lines: list[str]) -> None:
    """Store lines of a service."""
    state = ["--once", "--service", service, "--state", str(folder / service), "--to", server.url]
    done = run_neve("ship", "-", *state, stdin="".join(f"{line}\n" for line in lines).encode())
    assert done.returncode == 0, done.stderr


def watch(server: Server, **parameters: str) -> ClientConnection:
    """A tail as Grafana opens it."""
    return connect(
        f"ws://{server.address}/loki/api/v1/tail?{urlencode(parameters)}", proxy=None, open_timeout=None
    )


def told(socket: ClientConnection, wanted: int) -> list[str]:
    """The next lines that a tail tells."""
    lines: list[str] = []
    while len(lines) < wanted:
        streams = json.loads(socket.recv(timeout=60))["streams"]
        lines += [line for stream in streams for _, line in stream["values"]]
    return lines


def test_grafana_finds_the_source_healthy(server: Server) -> None:
    asked = {"query": "vector(1)+vector(1)", "direction": "backward", "time": "4000000000"}
    answer = server.client.get("/loki/api/v1/query", params=asked)
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert (data["resultType"], data["result"]) == ("vector", [{"metric": {}, "value": [4_000_000_000, "2"]}])


def test_a_tail_tells_what_was_there_and_what_comes_once(server: Server, tmp_path: Path) -> None:
    ship(server, tmp_path, "lokitail", [f"old line {n} of the day" for n in range(3)])
    server.wait_for("service:lokitail", 3)
    with watch(server, query='{service_name="lokitail"} |= "line" != "quiet"', limit="2") as socket:
        assert told(socket, 2) == ["old line 1 of the day", "old line 2 of the day"]
        ship(server, tmp_path, "lokitail", ["quiet line", "new line", "something else", "last line"])
        assert told(socket, 2) == ["new line", "last line"]


def test_a_tail_says_what_is_wrong_before_it_begins(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        watch(server, query='{service_name="x"} | json')
    assert refused.value.response.status_code == 400
    assert refused.value.response.body.startswith(
        b"parse error at line 1, col 1: a tail with '| json' is not supported"
    )
    answer = server.client.get("/loki/api/v1/tail", params={"query": "{}"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")


def test_a_client_of_lokis_reads_lines_and_numbers(server: Server, tmp_path: Path) -> None:
    ship(
        server,
        tmp_path,
        "lokiread",
        ["level=error user=u1 refused", "level=info user=u2 accepted", "level=error user=u3 refused"],
    )
    server.wait_for("service:lokiread", 3)
    client = LokiClient(base_url=server.url)
    span = {"start": int(time.time() - 3600), "end": int(time.time() + 60)}
    found = client.query_range(logql='{service_name="lokiread"} |= "refused"', **span)
    entries: list[Any] = [entry for stream in found.streams for entry in stream.entries]
    assert sorted(entry.message for entry in entries) == [
        "level=error user=u1 refused",
        "level=error user=u3 refused",
    ]
    assert "service_name" in client.get_labels(**span)
    asked = {"query": '{service_name="lokiread"}', "step": "60", **span}
    [*shapes] = server.client.get("/loki/api/v1/patterns", params=asked).json()["data"]
    assert {shape["pattern"] for shape in shapes} == {
        "level=<_> user=<_> accepted",
        "level=<_> user=<_> refused",
    }
    assert sum(count for shape in shapes for _, count in shape["samples"]) == 3
    assert client.get_label_values("user", **span) >= ["u1"]
    assert {"error", "info"} <= set(client.get_label_values("level", **span))
    assert {
        one["service_name"] for one in client.get_series(match=['{service_name="lokiread"}'], **span)
    } == {"lokiread"}
