"""Live tail on the server as its users run it: seen at once, each event once, whatever goes away; gaps are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bench.server import NEVE, Server

from .tails import SECONDS, Tail

Run = Callable[..., subprocess.CompletedProcess[str]]


def post(server: Server, service: str, lines: list[str]) -> None:
    """Send lines; they are durable on return. Tries again while a part of the server starts."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            answer = server.client.post(
                "/api/v1/ingest", params={"service": service}, content="".join(f"{line}\n" for line in lines)
            )
            if answer.status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def numbered(first: int, count: int) -> list[str]:
    return [f"line {number} of the test" for number in range(first, first + count)]


def metric(server: Server, name: str) -> int:
    """Of the search process, once the front door has it: it is left out where it does not answer soon."""
    deadline = time.monotonic() + SECONDS
    while True:
        text = server.client.get("/metrics").text
        for line in text.splitlines():
            if line.startswith(name + " "):
                return int(float(line.split()[1]))
        assert time.monotonic() < deadline, name
        time.sleep(0.05)


def wait_for_metric(server: Server, name: str, number: int) -> None:
    """Viewers of the tests before leave when the server notices."""
    deadline = time.monotonic() + SECONDS
    while metric(server, name) != number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def storage_asleep(server: Server) -> Iterator[None]:
    """ClickHouse stores nothing and answers nothing meanwhile."""
    clickhouse = server.pids()["clickhouse"]
    os.kill(clickhouse, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(clickhouse, signal.SIGCONT)


def test_a_shipped_line_is_seen_before_it_is_stored(server: Server, neve: Run, tmp_path: Path) -> None:
    arguments = ["--once", "--service", "seen", "--host", "h", "--state", str(tmp_path), "--to", server.url]
    line = b"2026-11-20T10:00:00Z ERROR payment refused user=alice\n"
    with Tail(server.url, "service:seen user:alice") as tail:
        post(server, "other", ["nothing for this viewer"])
        with storage_asleep(server):
            assert neve("ship", "-", *arguments, stdin=line * 3).returncode == 0
            assert tail.wait_for(3) == [line.decode().rstrip()] * 3
    server.wait_for("service:seen", 3)
    assert tail.events() == server.search("service:seen", order="oldest")["events"]


def test_viewers_of_one_filter_cost_one_evaluation_and_no_query(server: Server) -> None:
    tails = [Tail(server.url, query) for query in ["service:shared", "  service:shared "] * 5]
    try:
        for tail in tails:
            tail.__enter__()
        wait_for_metric(server, "neve_api_tail_viewers", 10)
        assert metric(server, "neve_api_tail_filters") == 1
        post(server, "shared", ["first"])
        for tail in tails:
            tail.wait_for(1)
        before, blocks = (
            metric(server, "neve_api_tail_evaluations_total"),
            metric(server, "neve_api_tail_blocks_total"),
        )
        post(server, "shared", numbered(0, 50))
        for tail in tails:
            assert tail.wait_for(51)[1:] == numbered(0, 50)
        assert metric(server, "neve_api_tail_evaluations_total") - before == 1
        assert metric(server, "neve_api_tail_blocks_total") - blocks == 1
        with storage_asleep(server):  # which nobody who watches asks
            for number in range(50, 60):
                post(server, "shared", numbered(number, 1))
            for tail in tails:
                assert tail.wait_for(61)[1:] == numbered(0, 60)
    finally:
        for tail in tails:
            tail.close()


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "spooled"])
def test_a_viewer_that_comes_back_gets_each_event_once(server: Server, stored: bool) -> None:
    service = f"back-{stored}".lower()
    clickhouse = server.pids()["clickhouse"]
    try:
        with Tail(server.url, f"service:{service}") as tail:
            if not stored:  # what is to lie in the spool must not be stored a moment before
                os.kill(clickhouse, signal.SIGSTOP)
            post(server, service, numbered(0, 10))
            tail.wait_for(10)
        middle = [one.id for one in tail.told if one.kind == "log"][4]  # within the block
        seen = [event["message"] for event in tail.events()][:5]
        post(server, service, numbered(10, 10))
        post(server, service, numbered(20, 10))
        if stored:
            server.wait_for(f"service:{service}", 30)
        with Tail(server.url, f"service:{service}", middle) as again:
            post(server, service, numbered(30, 10))
            assert seen + again.wait_for(35) == numbered(0, 40)
            assert again.gaps() == []
    finally:
        os.kill(clickhouse, signal.SIGCONT)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "spooled"])
def test_of_what_was_missed_so_much_is_told_and_the_rest_counted(server: Server, stored: bool) -> None:
    service = f"much-{stored}".lower()
    clickhouse = server.pids()["clickhouse"]
    try:
        with Tail(server.url, f"service:{service}") as tail:
            if not stored:
                os.kill(clickhouse, signal.SIGSTOP)
            post(server, service, ["the first"])
            tail.wait_for(1)
        for start in range(0, 10_600, 2_650):
            post(server, service, numbered(start, 2_650))
        if stored:
            server.wait_for(f"service:{service}", 10_601)
        with Tail(server.url, f"service:{service}", tail.last_id) as again:
            assert again.wait(lambda: again.counts["gap"] > 0)
            post(server, service, ["the end"])
            assert again.wait_for(10_001) == [*numbered(0, 10_000), "the end"]
            assert [gap["skipped"] for gap in again.gaps()] == [600]
    finally:
        os.kill(clickhouse, signal.SIGCONT)


def test_a_slow_viewer_is_told_how_much_it_missed(server: Server) -> None:
    lines = [f"{line} {'x' * 400}" for line in numbered(0, 5_000)]
    with Tail(server.url, "service:flood") as slow, Tail(server.url, "service:flood line") as quick:
        slow.going.clear()
        rounds = 16
        for number in range(1, rounds + 1):
            post(server, "flood", lines)
            lines = [f"{line}." for line in lines]  # another body: the same one would be a repetition
            assert quick.wait(lambda told=5_000 * number: quick.counts["log"] == told)
        slow.going.set()
        assert slow.wait(lambda: slow.counts["gap"] > 0)
        post(server, "flood", ["the end"])
        assert slow.wait(lambda: slow.told[-1].kind == "log" and "the end" in slow.told[-1].data)
        [gap] = slow.gaps()
        assert gap["skipped"] > 0
        assert len(slow.events()) + gap["skipped"] == 5_000 * rounds + 1
        assert quick.gaps() == []


@pytest.mark.faults
def test_kill_of_the_api_loses_and_doubles_nothing(mortal: Server) -> None:
    with Tail(mortal.url, "service:api") as tail:
        post(mortal, "api", numbered(0, 10))
        tail.wait_for(10)
        os.kill(mortal.pids()["api"], signal.SIGKILL)
        post(mortal, "api", numbered(10, 10))
        assert tail.wait(lambda: tail.over)
    again = Tail(mortal.url, "service:api", tail.last_id).__enter__()
    try:
        post(mortal, "api", numbered(20, 10))
        assert tail.messages() + again.wait_for(20) == numbered(0, 30)
        assert again.gaps() == []
    finally:
        again.close()


@pytest.mark.faults
def test_kill_of_the_gateway_is_told_and_doubles_nothing(mortal: Server) -> None:
    with Tail(mortal.url, "service:gate") as tail:
        post(mortal, "gate", numbered(0, 10))
        tail.wait_for(10)
        last_id = tail.last_id
        os.kill(mortal.pids()["gateway"], signal.SIGKILL)
        post(mortal, "gate", numbered(10, 10))
        assert tail.wait_for(20) == numbered(0, 20)
        assert [gap["skipped"] for gap in tail.gaps()] == [None]
        assert not tail.over
        mortal.wait_for("service:gate", 20)
        # Of the old run only the time of its last event is known.
        with Tail(mortal.url, "service:gate", last_id) as again:
            post(mortal, "gate", ["the end"])
            assert again.wait(lambda: "the end" in again.messages())
            assert again.messages() == [*numbered(10, 10), "the end"]
            assert [gap["skipped"] for gap in again.gaps()] == [None]


@pytest.mark.faults
def test_what_lies_in_the_spool_over_a_kill_is_told_once(mortal: Server) -> None:
    """Nothing is stored meanwhile: the new gateway finds all of it in its spool."""
    post(mortal, "spool", ["before anybody watches"])
    mortal.wait_for("service:spool", 1)
    os.kill(mortal.pids()["clickhouse"], signal.SIGSTOP)
    try:
        post(mortal, "spool", ["before the second watches"])
        with Tail(mortal.url, "service:spool") as tail:
            post(mortal, "spool", numbered(0, 10))
            tail.wait_for(10)
            os.kill(mortal.pids()["gateway"], signal.SIGKILL)
            post(mortal, "spool", numbered(10, 10))
            assert tail.wait_for(20) == numbered(0, 20)
            assert [gap["skipped"] for gap in tail.gaps()] == [None]
    finally:
        os.kill(mortal.pids()["clickhouse"], signal.SIGCONT)


@pytest.mark.faults
def test_without_a_gateway_a_tail_is_refused_and_a_running_one_stays(tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server, Tail(server.url, "service:stays") as tail:
        gateway = server.pids()["gateway"]
        os.kill(server.process.pid, signal.SIGSTOP)  # so that nobody starts it again
        try:
            os.kill(gateway, signal.SIGKILL)
            deadline = time.monotonic() + SECONDS  # until the search process knows
            while True:
                with server.client.stream("GET", "/api/v1/tail", params={"q": "x"}) as answer:
                    if answer.status_code == 503:
                        assert answer.headers["retry-after"]
                        break
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        post(server, "stays", ["back"])
        assert tail.wait_for(1) == ["back"]
        server.process.terminate()
        server.process.wait()
        assert "does not end" not in (server.folder / "serve.log").read_text(), (
            "a stream holds up nobody's end"
        )
        assert tail.wait(lambda: tail.over)


def test_wrong_questions_are_explained(server: Server) -> None:
    def ask(**params: str) -> tuple[int, dict[str, object]]:
        answer = server.client.get("/api/v1/tail", params=params)
        return answer.status_code, answer.json()["error"]

    status, error = ask(q="level:error | stats count()")
    assert (status, error["position"]) == (400, {"line": 1, "column": 15})
    assert "pipes" in str(error["message"])
    status, error = ask(q="service:x AND /(/")
    assert (status, error["position"]) == (400, {"line": 1, "column": 15})
    assert ask(q="level:nope")[0] == 400
    assert ask(q="x", cursor="nonsense")[0] == 400
    assert ask(q="x", namespace="nowhere")[0] == 404
    assert ask(q="x", limit="3")[0] == 400


def test_arrivals_are_not_for_clients(server: Server) -> None:
    for path in ("/gateway/arrivals", "/gateway/arrivals/stream", "/gateway/%61rrivals/stream"):
        assert server.client.get(path).status_code == 404


def start(server: Server, *arguments: str) -> subprocess.Popen[str]:
    """Start a command that Ctrl-C ends, also where the tests run in the background of a shell, which ignores it."""
    words = [*NEVE, *arguments, "--url", server.url]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def end(process: subprocess.Popen[str]) -> str:
    """Interrupt it as Ctrl-C does; what it said on stderr."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0
    return said


@pytest.mark.faults
def test_the_command_goes_on_after_a_lost_connection(mortal: Server) -> None:
    wait_for_metric(mortal, "neve_api_tail_viewers", 0)  # the next one is the command
    process = start(mortal, "tail", "service:cli", "--raw")
    assert process.stdout is not None
    wait_for_metric(mortal, "neve_api_tail_viewers", 1)
    post(mortal, "cli", numbered(0, 3))
    assert [process.stdout.readline() for _ in range(3)] == [f"{line}\n" for line in numbered(0, 3)]
    os.kill(mortal.pids()["api"], signal.SIGKILL)
    post(mortal, "cli", numbered(3, 3))
    assert [process.stdout.readline() for _ in range(3)] == [f"{line}\n" for line in numbered(3, 3)]
    said = end(process)
    assert "trying to come back" in said
    assert "Traceback" not in said


def test_search_with_follow_shows_what_was_and_what_comes(server: Server) -> None:
    post(server, "follow", numbered(0, 5))
    server.wait_for("service:follow", 5)
    post(server, "follow", numbered(5, 2))  # stored by the time of the search, or not
    process = start(server, "search", "service:follow", "--follow", "--limit", "3", "--json")
    try:
        assert process.stdout is not None
        found: list[str] = []
        while "line 6 of the test" not in found:  # then it has searched, and watches
            found.append(json.loads(process.stdout.readline())["message"])
        post(server, "follow", numbered(7, 2))
        while "line 8 of the test" not in found:
            found.append(json.loads(process.stdout.readline())["message"])
        assert len(set(found)) == len(found)
        assert found[-4:] == numbered(5, 4)
    finally:
        assert end(process) == ""


def test_a_query_that_cannot_be_watched_ends_the_command(server: Server, neve: Run) -> None:
    for words in (["tail"], ["search", "--follow"]):
        done = neve(*words, "level:error | top 3 host", "--url", server.url)
        assert done.returncode == 2
        assert "pipes" in done.stderr
