"""The server as a whole: it comes up, answers, survives what kills it, and says what is wrong."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.server import NEVE, Server

from .guarded import patiently

Run = Callable[..., subprocess.CompletedProcess[str]]
HOSTILE = ["' OR 1=1 --", "'; DROP TABLE neve_default.events; --", "\\' OR ''='", "service:x') OR ('1'='1"]


def ship(server: Server, path: Path, state: Path, service: str) -> subprocess.Popen[bytes]:
    arguments = ["ship", str(path), "--once", "--service", service, "--to", server.url, "--state", str(state)]
    return subprocess.Popen([*NEVE, *arguments])


def test_a_shipped_line_is_found_with_its_fields(server: Server, neve: Run, tmp_path: Path) -> None:
    line = b"2026-11-20T10:00:00.123456789Z ERROR payment refused user=alice amount=12.50 ip=10.0.0.7\n"
    arguments = ["--once", "--service", "pay", "--host", "h1", "--tag", "env=test", "--state", str(tmp_path)]
    assert neve("ship", "-", *arguments, "--to", server.url, stdin=line).returncode == 0
    server.wait_for("service:pay", 1)
    [event] = server.search("service:pay user:alice")["events"]
    assert event["timestamp"] == "2026-11-20T10:00:00.123456789Z"
    assert (event["level"], event["service"], event["host"]) == ("error", "pay", "h1")
    assert event["message"] == line.decode().rstrip()
    assert {"user": "alice", "amount": "12.50", "ip": "10.0.0.7", "env": "test"}.items() <= event[
        "tags"
    ].items()
    assert event["tier"] == "hot"
    found = neve("search", "service:pay amount:>12", "--raw", "--url", server.url)
    assert found.stdout == line.decode()


def test_the_fingerprint_is_the_same_everywhere(server: Server, neve: Run, tmp_path: Path) -> None:
    line = b"session 4711 opened for root by uid=0 from 10.1.2.3\n"
    assert neve(
        "ship", "-", "--once", "--service", "print", "--state", str(tmp_path), "--to", server.url, stdin=line
    )
    server.wait_for("service:print", 1)
    [event] = server.search("service:print")["events"]
    said = [neve("lex", "-", stdin=line).stdout.split("\t")[0] for _ in range(2)]
    assert said == [event["fingerprint"]] * 2


@pytest.mark.faults
def test_kill_of_the_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL of `neve serve` while an agent ships; the next server finds every line once."""
    lines = 300_000
    log = tmp_path / "numbered.log"
    log.write_text(
        "".join(f"2026-11-20 10:00:00 INFO numbered line n={i} of the test\n" for i in range(lines))
    )
    server = Server(tmp_path / "server")
    with server:
        agent = ship(server, log, tmp_path / "agent", "numbered")
        server.wait_for("service:numbered", 1, exact=False)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with Server(tmp_path / "server", address=server.address) as again:
        assert agent.wait(600) == 0
        again.wait_for("service:numbered", lines, exact=False)
        answer = again.search(
            "service:numbered | stats count() as n, min(n) as first, max(n) as last, uniq(n) as u"
        )
        sql = (
            "SELECT count() AS n, uniqExact(message) AS u FROM neve_default.events WHERE service = 'numbered'"
        )
        assert again.hot.query(sql).rows == [(lines, lines)]
        assert answer["rows"][0][0] == lines


@pytest.mark.faults
@pytest.mark.parametrize("part", ["gateway", "api", "front", "clickhouse"])
def test_every_part_comes_back_when_it_is_killed(
    mortal: Server, part: str, tmp_path: Path, neve: Run
) -> None:
    service = f"after-{part}"
    os.kill(mortal.pids()[part], signal.SIGKILL)
    log = tmp_path / "one.log"
    log.write_text("after the kill\n")
    arguments = ["--once", "--service", service, "--to", mortal.url, "--state", str(tmp_path / "agent")]
    patiently(lambda: neve("ship", str(log), *arguments).returncode == 0 or None)  # it waits for some seconds
    mortal.wait_for(f"service:{service}", 1)


@pytest.mark.parametrize("query", HOSTILE)
def test_sql_in_a_query_is_text_or_an_error(server: Server, query: str) -> None:
    before = server.hot.query(
        "SELECT name AS n FROM system.tables WHERE database = 'neve_default' ORDER BY n"
    ).rows
    answer = server.client.get("/api/v1/search", params={"q": query})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json()["events"] == []
    else:
        assert answer.json()["error"]["position"]["line"] == 1
    assert "SELECT" not in answer.text
    after = server.hot.query(
        "SELECT name AS n FROM system.tables WHERE database = 'neve_default' ORDER BY n"
    ).rows
    assert before == after


def test_a_wrong_query_is_explained(server: Server, neve: Run) -> None:
    found = neve("search", "level:error AND (", "--url", server.url)
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert found.stderr.startswith("neve: ")
    assert "^" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["serve", "--listen", "nowhere"], 2),
        (["serve", "--config", "/does/not/exist"], 2),
        (["serve", "--data", "/dev/null"], 2),
        (["serve", "--data", "/proc/nowhere"], 2),
        (["lex", "/does/not/exist"], 1),
        (["search", "x", "--url", "http://127.0.0.1:1"], 1),
        (["ship"], 2),
    ],
)
def test_wrong_use_is_one_line(said: Run, arguments: list[str], code: int) -> None:
    done = said(*arguments)
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_second_server_on_the_same_data_is_refused(server: Server, neve: Run) -> None:
    done = neve("serve", "--data", str(server.folder / "data"), "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "in use" in done.stderr


def test_a_second_server_at_the_same_address_is_refused(server: Server, neve: Run, tmp_path: Path) -> None:
    """It would take the other one's answers for its own."""
    address = server.url.removeprefix("http://")
    done = neve("serve", "--data", str(tmp_path), "--listen", address)
    assert done.returncode == 2
    assert "ready at" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"neve: cannot listen on {address}: address already in use; stop who listens there, or choose another --listen"
    )
