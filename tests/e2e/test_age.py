"""`neve age` against a real server, and the ager that the server runs."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.server import NEVE, Server

Run = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACE = "arriving"


@pytest.fixture(scope="module")
def ageing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose events age when a test says so; each has a namespace of its own."""
    with Server(tmp_path_factory.mktemp("ageing")) as running:
        yield running


def ship(server: Server, neve: Run, tmp_path: Path, lines: int, service: str) -> None:
    text = "".join(f"2026-01-31T10:00:00Z number {i}\n" for i in range(lines)).encode()
    arguments = ["--once", "--service", service, "--state", str(tmp_path / service), "--to", server.url]
    assert neve("ship", "-", *arguments, stdin=text).returncode == 0


def test_age_says_every_step(ageing: Server, tmp_path: Path, neve: Run) -> None:
    ship(ageing, neve, tmp_path, 300, "one")
    ageing.wait_for("service:one", 300)
    done = neve("age", "--now", "--grace", "0", "--namespace", "default", "--to", ageing.url)
    assert done.returncode == 0, done.stderr
    steps = [line.split(": ")[1] for line in done.stdout.splitlines()]
    assert steps == ["close", "copy", "commit", "verify", "drop", "done"]
    assert "300 events became cold" in done.stdout
    assert ageing.hot.scalars("SELECT count() AS n FROM neve_default.events") == [0]

    ship(ageing, neve, tmp_path, 200, "two")
    ageing.wait_for("service:two", 200)
    done = neve("age", "--now", "--grace", "0", "--data", str(ageing.folder / "data"))
    assert done.returncode == 0, done.stderr
    assert "200 events became cold" in done.stdout

    said = ageing.client.get("/cold/status").json()
    assert [one["events"] for one in said["namespaces"] if one["namespace"] == "default"] == [500]
    assert said["troubles"] == {}
    assert "neve_ager_passes_total" in ageing.client.get("/metrics").text

    done = neve("restore", "range", "--from", "2026-01-31", "--to", "2026-02-01", "--url", ageing.url)
    assert done.returncode == 0, done.stderr
    assert "500 events are hot again" in done.stdout
    assert "they age again" in done.stdout
    done = neve("restore", "range", "--from", "2026-01-31", "--to", "2026-02-01", "--url", ageing.url)
    assert (done.returncode, "nothing in that range is cold" in done.stdout) == (0, True), done.stdout
    assert ageing.search("*", limit=1)["stats"]["tiers"] == ["hot"]
    assert ageing.count() == 500
    done = neve("restore", "range", "--from", "soon", "--to", "now", "--url", ageing.url)
    assert (done.returncode, "cannot use 'from'" in done.stderr) == (1, True)

    restored = neve("restore", "catalog", "--data", str(ageing.folder / "data"))
    assert restored.returncode == 1
    assert "the catalog has it" in restored.stderr


def test_errors_are_a_line(server: Server, said: Run, tmp_path: Path) -> None:
    for arguments, code, words in [
        (["--namespace", "nobody", "--to", server.url], 1, "cannot find namespace: nobody"),
        (["--before", "soon", "--to", server.url], 2, "cannot use --before"),
        (["--grace", "-1", "--to", server.url], 2, "cannot use --grace"),
        (["--to", "http://127.0.0.1:1"], 1, "cannot reach neve"),
        (["--data", str(tmp_path)], 2, "cannot find a clickhouse server"),
    ]:
        done = said("age", *arguments)
        assert words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
        assert done.returncode == code


def test_configuration_of_the_cold_tier_is_checked(tmp_path: Path, said: Run) -> None:
    for text, words in [
        ("[cold]\nages = 1\n", "'cold.ages'"),
        ("[cold]\npartition = 'week'\n", "week"),
        ("[cold]\nkeep_days = 'x'\n", "'cold.keep_days'"),
        ("[cold.services]\na = 'x'\n", "'cold.services.a'"),
        ("[cold.namespaces.n.services]\na = -1\n", "'cold.namespaces.n.services.a'"),
        ("[cold.namespaces.'No']\nkeep_days = 1\n", "name a namespace"),
        ("cold = 1\n", "give a table"),
    ]:
        file = tmp_path / "neve.toml"
        file.write_text(text)
        done = said("serve", "--config", str(file), "--data", str(tmp_path / "data"))
        assert done.returncode == 2
        assert words in done.stderr


def test_a_catalog_that_cannot_be_reached_keeps_the_server_up(tmp_path: Path, neve: Run) -> None:
    file = tmp_path / "neve.toml"
    file.write_text(
        "[cold.catalog]\ntype = 'sql'\nuri = 'sqlite:////proc/nowhere/catalog.db?password=hush'\npassword = 'hush'\n"
    )
    with Server(tmp_path / "server", options=["--config", str(file)]) as server:
        ship(server, neve, tmp_path, 10, "one")
        server.wait_for("service:one", 10)
        done = neve("age", "--now", "--grace", "0", "--to", server.url)
        assert done.returncode == 1
        assert "cannot read cold table of default" in done.stderr
        assert "hush" not in done.stderr + json.dumps(done.stdout)
        assert server.count("service:one") == 10


def test_age_while_events_arrive_loses_none(ageing: Server, tmp_path: Path, neve: Run) -> None:
    """An agent follows a file that is written all the time, while all that is there becomes cold, again and again."""
    log = tmp_path / "app.log"
    log.touch()
    written, stop = 0, threading.Event()

    def write() -> None:
        nonlocal written
        with log.open("a") as file:
            while not stop.wait(0.02):
                file.writelines(f"2026-01-31T10:00:00Z number={written + i}\n" for i in range(10))
                file.flush()
                written += 10

    state = str(tmp_path / "state")
    agent = subprocess.Popen(
        [
            *NEVE,
            "ship",
            str(log),
            "--state",
            state,
            "--service",
            "app",
            "--namespace",
            NAMESPACE,
            "--to",
            ageing.url,
        ],
        stderr=subprocess.DEVNULL,
    )
    writer = threading.Thread(target=write)
    writer.start()
    counts = [0]
    try:
        ageing.wait_for("*", 50, exact=False, namespace=NAMESPACE)
        for _ in range(3):
            done = neve("age", "--now", "--grace", "0", "--namespace", NAMESPACE, "--to", ageing.url)
            assert done.returncode == 0, done.stderr
            counts.append(ageing.count(namespace=NAMESPACE))
    finally:
        stop.set()
        writer.join()
    try:
        ageing.wait_for("*", written, namespace=NAMESPACE)
        assert counts == sorted(counts)
        found = ageing.client.get(
            "/api/v1/search",
            params={"q": "*", "namespace": NAMESPACE},
            headers={"accept": "application/x-ndjson"},
        )
        *events, said = map(json.loads, found.text.splitlines())
        assert said["stats"]["complete"]
        assert sorted(int(one["tags"]["number"]) for one in events) == list(range(written))
        assert "cold" in {one["tier"] for one in events}
    finally:
        agent.terminate()
        agent.wait()
