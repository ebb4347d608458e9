"""`neve status`, `/metrics` and `neve evict`, as whoever runs a server uses them."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.server import Server

from .guarded import patiently

Run = Callable[..., subprocess.CompletedProcess[str]]

SAMPLE = re.compile(
    r"(?P<name>[a-z_]+)(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? (?P<value>[-+0-9.e]+|\+Inf)"
)


def ship_one(server: Server, neve: Run, tmp_path: Path, service: str) -> None:
    arguments = ["--once", "--service", service, "--state", str(tmp_path), "--to", server.url]
    assert neve("ship", "-", *arguments, stdin=b"one line\n").returncode == 0
    server.wait_for(f"service:{service}", 1)


def test_status_says_how_it_is(server: Server, neve: Run, tmp_path: Path) -> None:
    ship_one(server, neve, tmp_path, "status")

    def well() -> subprocess.CompletedProcess[str] | None:  # also what other tests sent is stored
        done = neve("status", "--to", server.url)
        return done if done.returncode == 0 else None

    done = patiently(well)
    assert done.stdout.startswith(f"neve at {server.url}: ok\n")
    for word in (
        "spool",
        "lag",
        "ledger",
        "dead letters 0",
        "disk",
        "clickhouse   26.",
        "namespace    default:",
    ):
        assert word in done.stdout
    assert re.search(r"epoch        \d+ of default: present", done.stdout)
    assert re.search(r"inserter     gateway \w+ on \S+: stamps epoch \d+ of default", done.stdout)


def test_status_as_json(server: Server, neve: Run, tmp_path: Path) -> None:
    ship_one(server, neve, tmp_path, "statusjson")

    def well() -> dict[str, Any] | None:
        said: dict[str, Any] = json.loads(neve("status", "--json", "--to", server.url).stdout)
        return said if said["problems"] == [] and said["gateway"]["spool"]["depth"] == 0 else None

    said = patiently(well)
    assert said["storage"]["namespaces"][0]["events"] >= 1
    assert said["storage"]["inserters"][0]["inserter"] == said["gateway"]["inserter"]


def test_status_of_a_server_that_is_away(neve: Run) -> None:
    done = neve("status", "--to", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "cannot reach neve at http://127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1


def of_all(server: Server) -> httpx.Response | None:
    """The metrics, once every process has said its own: one that does not in some seconds is left out."""
    answer = server.client.get("/metrics")
    silent = [name for name in ("gateway", "api") if f'neve_up{{process="{name}"}} 0' in answer.text]
    return None if silent else answer


def test_metrics_of_every_process_are_one_text(server: Server, neve: Run, tmp_path: Path) -> None:
    ship_one(server, neve, tmp_path, "metrics")
    answer = patiently(lambda: of_all(server))
    assert answer.headers["content-type"].startswith("text/plain")
    families, values = set(), {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            family = line.split(" ")[2]
            assert family not in families, "a family twice is no valid text"
            families.add(family)
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            values[line.rpartition(" ")[0]] = float(sample["value"])
    assert values['neve_up{process="gateway"}'] == values['neve_up{process="api"}'] == 1
    assert values["neve_gateway_lines_received_total"] >= 1
    assert values["neve_gateway_lag_seconds"] >= 0
    assert values['neve_gateway_waiting_seconds{namespace="default"}'] >= 0
    assert values["neve_gateway_insert_seconds_count"] >= 1
    assert values['neve_api_query_seconds_count{kind="table"}'] >= 1
    assert values['neve_api_limits_hit_total{limit="time"}'] >= 0
    assert values["neve_front_connections"] >= 1
    assert values['neve_front_requests_total{process="gateway"}'] >= 1
    assert values['neve_api_requests_total{path="/api/v1/search",status="200"}'] >= 1
    assert values["neve_api_resident_bytes"] > 1 << 20


def only_without_api(metrics: str) -> bool:
    assert 'neve_up{process="api"} 0' in metrics
    return 'neve_up{process="gateway"} 1' in metrics


def test_metrics_go_on_without_a_process(mortal: Server) -> None:
    api = mortal.pids()["api"]
    os.kill(api, signal.SIGSTOP)
    try:
        patiently(lambda: only_without_api(mortal.client.get("/metrics").text) or None)
    finally:
        os.kill(api, signal.SIGCONT)


def test_running_inserter_is_not_evicted(server: Server, neve: Run, tmp_path: Path) -> None:
    ship_one(server, neve, tmp_path, "evict")
    name = json.loads(neve("status", "--json", "--to", server.url).stdout)["gateway"]["inserter"]
    done = neve("evict", name, "--to", server.url)
    assert done.returncode == 2
    assert re.search(rf"cannot evict inserter: gateway {name} .* \(lease for \d+ s\)", done.stderr)
    done = neve("evict", "nobody", "--to", server.url)
    assert (done.returncode, done.stderr) == (
        2,
        "neve: cannot find inserter: nobody; neve status lists them\n",
    )


@pytest.mark.parametrize("seconds", [120])
def test_epoch_is_closed_for_the_asking(server: Server, neve: Run, tmp_path: Path, seconds: int) -> None:
    ship_one(server, neve, tmp_path, "closing")
    asked = {"namespace": "default", "seconds": seconds}
    answer = server.client.post("/gateway/epochs/close", json=asked).json()
    assert answer["closed"], answer["reason"]
    assert answer["present"] > answer["epoch"]
    ship_one(server, neve, tmp_path, "closing2")
    sql = "SELECT DISTINCT epoch AS e FROM neve_default.events WHERE service = 'closing2'"
    assert server.hot.scalars(sql) == [answer["present"]]


def test_neve_finds_what_its_own_processes_say(server: Server, neve: Run, tmp_path: Path) -> None:
    logs = server.folder / "data" / "logs"
    lines = [json.loads(line) for line in (logs / "ager.log").read_text().splitlines()]
    assert {one["service"] for one in lines} == {"neve-ager"}
    arguments = ["--once", "--state", str(tmp_path), "--to", server.url]
    assert neve("ship", str(logs / "*.log"), *arguments).returncode == 0
    server.wait_for('service:neve-ager "ager starts" version:*', 1)
    server.wait_for('service:neve-gateway "gateway starts"', 1)
    [event] = server.search('service:neve-gateway "gateway starts"')["events"]
    assert (event["level"], event["tags"]["logger"]) == ("info", "neve.serve")


def test_a_key_of_a_server_that_asks_for_none_says_so(server: Server, said: Run) -> None:
    made = said("keys", "create", "--scope", "ingest", "--url", server.url)
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert "keys protect nothing until" in made.stderr
    (id_,) = [one["id"] for one in server.client.get("/api/v1/keys").json()["keys"]]
    assert said("keys", "revoke", id_, "--url", server.url).returncode == 0
