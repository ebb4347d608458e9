"""Planted secrets are on no disk: not the agent's, not the gateway's, not ClickHouse's; nor in any answer."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server import Server
from storage.native.block import SealedBlock
from storage.native.frames import decompress

from .conftest import Run

NEEDLES = (
    "mallory.q@planted.example",
    "203.0.113.211",
    "plantedPassw0rd",
    "AKIAPLANTED1234567XY",
    "4012888888881881",
)
LINES = (
    "login mallory.q@planted.example from 203.0.113.211:22 password=plantedPassw0rd\n"
    '{"message":"paid","card":"4012888888881881","auth":{"password":"plantedPassw0rd"}}\n'
    "export KEY=AKIAPLANTED1234567XY\n"
)
# The limits are tried here too, on the same server.
LIMITS = (
    "[limits]\nslow_body_seconds = 5.0\n[limits.namespaces.slow]\nlines_per_second = 1\n"
    "[limits.search]\nresult_rows = 2\n"
)
CONFIG = 'spool_bytes = 123456789\n[redaction]\nclasses = ["all"]\nkeys = ["pin"]\n'


@pytest.fixture(scope="module")
def masking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("masking")
    (folder / "neve.toml").write_text(CONFIG + LIMITS)
    with Server(folder, options=["--config", str(folder / "neve.toml")]) as running:
        yield running


def assert_clean(folder: Path) -> None:
    """No file holds a needle, as it is or in a block of ours. (What ClickHouse packed is asked for by a search.)"""
    read = 0
    paths = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    for path in paths:
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # ClickHouse merges parts, and the gateway's blocks leave its spool
            continue
        if data[:7] == b"NEVEBLK":
            data += bytes(decompress(SealedBlock.parse(data).frames))
        read += len(data)
        assert not [one for one in NEEDLES if one.encode() in data], path
    assert read


def found(server: Server, query: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = server.client.get("/api/v1/search", params={"q": query}).json()["events"]
    return events


def test_what_is_sent_is_masked_before_it_is_kept(masking: Server) -> None:
    answer = masking.client.post(
        "/api/v1/ingest?service=sent", content=LINES, headers={"content-type": "text/plain"}
    )
    assert answer.json()["accepted"] == 3
    masking.wait_for("service:sent", 3)
    events = json.dumps(found(masking, "service:sent"))
    assert not [one for one in NEEDLES if one in events]
    assert "password=<redacted:key>" in events
    for one in NEEDLES:
        assert found(masking, f'"{one}"') == []
    assert_clean(masking.folder / "data")
    metrics = masking.client.get("/metrics").text
    assert "neve_gateway_redacted_email_total 1" in metrics
    assert "neve_gateway_redacted_key_total" in metrics


def test_an_agent_masks_before_it_writes(masking: Server, neve: Run, tmp_path: Path) -> None:
    log, state = tmp_path / "app.log", tmp_path / "state"
    log.write_text(LINES)
    shown = neve("ship", str(log), "--to", "http://127.0.0.1:1", "--once", "--service", "agent", "--state", str(state),
                 "--redact", "all", "--redact-key", "pin")  # fmt: skip
    assert shown.returncode == 1  # nobody is there: all of it waits on the disk
    assert list(state.rglob("*.block")) or any(path.is_file() for path in state.rglob("*"))
    assert_clean(state)
    shown = neve("ship", str(log), "--to", masking.url, "--once", "--service", "agent", "--state", str(state),
                 "--redact", "all", "--redact-key", "pin")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    masking.wait_for("service:agent", 3)
    assert_clean(state)
    assert_clean(masking.folder / "data")


def test_a_block_that_was_masked_less_is_refused_and_kept_by_its_agent(
    masking: Server, neve: Run, tmp_path: Path
) -> None:
    log, state = tmp_path / "app.log", tmp_path / "state"
    log.write_text(LINES)
    shown = neve("ship", str(log), "--to", masking.url, "--once", "--service", "weak", "--state", str(state),
                 "--redact", "email")  # fmt: skip
    assert shown.returncode == 1
    assert "masked less than this gateway asks for: ipv4" in shown.stderr
    assert_clean(masking.folder / "data")
    assert found(masking, "service:weak") == []


def test_preview_shows_the_lines(neve: Run) -> None:
    shown = neve("redact", "--preview", "--changed", stdin=b"nothing\n" + LINES.encode())
    assert shown.returncode == 0
    assert shown.stdout.count("\n") == 3
    assert not [one for one in NEEDLES if one in shown.stdout]
    assert "masked 1 aws-key" in shown.stderr


def test_wrong_classes_are_said(neve: Run) -> None:
    shown = neve("ship", "-", "--redact", "phone")
    assert shown.returncode == 2
    assert "cannot redact class 'phone'" in shown.stderr


def test_a_namespace_that_sends_too_much_is_told_when_to_come_back(masking: Server) -> None:
    path = "/api/v1/ingest?namespace=slow&service=rated"
    assert masking.client.post(path, content="line\n" * 1000).status_code == 200
    refused = masking.client.post(path, content="more\n")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "rate_limited"
    assert masking.client.post("/api/v1/ingest?service=rated", content="line\n").status_code == 200
    assert "neve_gateway_requests_over_rate_total 1" in masking.client.get("/metrics").text


def test_a_body_that_trickles_is_ended(masking: Server) -> None:
    host, _, port = masking.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=240) as sender:
        sender.sendall(b"POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab")
        assert b" 408 " in sender.recv(4096)
    assert "neve_gateway_requests_too_slow_total 1" in masking.client.get("/metrics").text


def test_the_configuration_reaches_every_process(masking: Server) -> None:
    assert masking.client.get("/gateway/status").json()["spool"]["quota_bytes"] == 123456789
    masking.client.post("/api/v1/ingest?service=bounded", content="one\ntwo\nthree\n")
    masking.wait_for("service:bounded", 3)
    answer = masking.search("service:bounded | stats count() by message")
    assert answer["stats"]["limits_hit"] == ["result_rows"]
    assert len(answer["rows"]) == 2
