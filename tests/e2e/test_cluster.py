"""A cluster as its users run it: two shards, two servers, S3, three agents, of which parts are killed under load.

Every line is stored once; a count that says it is complete never goes back and never has more than was written; one
that lacks a shard says which.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from bench.server import NEVE, Server
from storage.embedded import EmbeddedServer

pytestmark = pytest.mark.faults

Run = Callable[..., subprocess.CompletedProcess[str]]
KEY, SECRET = "AKIDHUSHHUSHHUSHHUSH", "hush-hush-secret"
AGENTS = 3
BATCH = 40  # lines that each agent's file gets at once
PAUSE_SECONDS = 1.0  # between two counts: each reads all that is cold
WAIT_SECONDS = 240


@contextmanager
def bucket() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="lake")
    try:
        yield endpoint
    finally:
        store.stop()


class Writer:
    """Writes lines to the agents' files, each once and none like another."""

    def __init__(self, folder: Path) -> None:
        self.files = [folder / f"log{number}.log" for number in range(AGENTS)]
        for file in self.files:
            file.touch()
        self.lines: set[str] = set()
        self._more = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            for agent, file in enumerate(self.files):
                lines = [f"agent {agent} line {number + i}" for i in range(BATCH)]
                self.lines.update(lines)
                with open(file, "a") as out:
                    out.write("".join(f"2026-01-31T10:00:00Z {line}\n" for line in lines))
            number += BATCH


class Counting:
    """Counts again and again at one server: what it answers, and what was written by then."""

    def __init__(self, server: Server, writer: Writer) -> None:
        self.answers: list[tuple[int, tuple[str, ...]]] = []
        self.wrong: list[Any] = []
        self._url, self._writer = server.url, writer
        self._heard = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Counting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        highest = 0
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._stop.wait(PAUSE_SECONDS):
                try:
                    answer = client.get("/api/v1/search", params={"q": "* | stats count() as n"})
                except httpx.TransportError:
                    continue
                if answer.status_code != 200:  # a part that is starting again; it says nothing
                    if answer.status_code != 503:
                        self.wrong.append(answer.text)
                    continue
                found, stats = answer.json()["rows"][0][0], answer.json()["stats"]
                lacking = tuple(stats["limits_hit"])
                if found > len(self._writer.lines) or (stats["complete"] and found < highest):
                    self.wrong.append((found, highest, len(self._writer.lines), stats))
                if bool(lacking) == stats["complete"] or not all(one.startswith("shard:") for one in lacking):
                    self.wrong.append(stats)
                highest = max(highest, found) if stats["complete"] else highest
                with self._heard:
                    self.answers.append((found, lacking))
                    self._heard.notify_all()

    def wait_for(self, *lacking: str, above: int = 0) -> int:
        """Until an answer from now on lacks just these shards, and has more than so many; how many."""
        with self._heard:
            known = len(self.answers)
            found: list[int] = []

            def heard() -> bool:
                found[:] = [n for n, hit in self.answers[known:] if hit == lacking and n > above]
                return bool(found)

            assert self._heard.wait_for(heard, WAIT_SECONDS), self.answers[-3:]
            return found[-1]


class Cluster:
    """Two shards, two servers over them, and agents that ship to one or both."""

    def __init__(self, folder: Path, endpoint: str, opened: ExitStack) -> None:
        self.folder = folder
        self.shards = [self._shard(opened, name) for name in "ab"]
        config = folder / "neve.toml"
        shards = "".join(
            f'{name} = "{one.config.url()}"\n' for name, one in zip("ab", self.shards, strict=True)
        )
        config.write_text(
            f"[limits.search]\nseconds = 300\n[cluster.shards]\n{shards}"
            '[cold]\nwarehouse = "s3://lake/cold"\ngrace_seconds = 0\n[cold.catalog]\n'
            f'type = "sql"\nuri = "sqlite:///{folder}/catalog.db"\n"s3.endpoint" = "{endpoint}"\n'
            f'"s3.access-key-id" = "{KEY}"\n"s3.secret-access-key" = "{SECRET}"\n"s3.region" = "us-east-1"\n'
        )
        self.servers = [
            opened.enter_context(
                Server(
                    folder / name,
                    options=["--config", str(config)],
                    clickhouse=self.shards[0].config,
                )
            )
            for name in ("one", "two")
        ]

    def _shard(self, opened: ExitStack, name: str) -> EmbeddedServer:
        place = self.folder / name
        place.mkdir()
        if name != "a":
            for password in (self.folder / "a").glob("password*"):
                shutil.copy(password, place)
        return opened.enter_context(EmbeddedServer(place))

    def kill_shard(self, number: int) -> None:
        pid = self.shards[number].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert self.shards[number].wait(60) is not None

    def kill(self, server: int, role: str) -> None:
        """The supervisor starts it again."""
        os.kill(self.servers[server].pids()[role], signal.SIGKILL)

    @contextmanager
    def agent(self, number: int, file: Path) -> Iterator[None]:
        mine = self.servers[number % 2].url
        to = [mine, *(one.url for one in self.servers if one.url != mine)]
        arguments = [word for url in to for word in ("--to", url)]
        state = self.folder / f"agent{number}"
        with open(self.folder / f"agent{number}.log", "wb") as log:
            process = subprocess.Popen(
                [*NEVE, "ship", str(file), *arguments, "--service", f"agent{number}", "--state", str(state)],
                stderr=log,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait()

    def age(self, neve: Run) -> str:
        """Close what is open and let it age, on each shard that is there."""
        done = neve("age", "--now", "--grace", "0", "--to", self.servers[1].url)
        return done.stdout + done.stderr

    def messages(self, server: int) -> list[str]:
        """Every event's message, as often as it is stored."""
        answer = self.servers[server].client.get(
            "/api/v1/search",
            params={"q": "*"},
            headers={"Accept": "application/x-ndjson"},
        )
        *events, last = (json.loads(line) for line in answer.text.splitlines())
        assert last["stats"]["complete"] is True
        return [event["message"].partition("Z ")[2] for event in events]


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_every_line_once_and_no_wrong_count(tmp_path: Path, neve: Run, rounds: int) -> None:
    with bucket() as endpoint, ExitStack() as opened:
        cluster = Cluster(tmp_path, endpoint, opened)
        with Writer(tmp_path) as writer:
            for number, file in enumerate(writer.files):
                opened.enter_context(cluster.agent(number, file))
            with (
                Counting(cluster.servers[0], writer) as first,
                Counting(cluster.servers[1], writer) as second,
            ):
                seen = first.wait_for(above=0)
                for _ in range(rounds):
                    assert "events became cold" in cluster.age(neve)
                    cluster.kill_shard(1)
                    first.wait_for("shard:b")
                    assert "shard b is away" in cluster.age(neve)
                    cluster.shards[1].start()
                    cluster.kill(0, "gateway")
                    cluster.kill(1, "api")
                    seen = first.wait_for(above=seen)
                    cluster.kill_shard(0)
                    second.wait_for("shard:a")
                    cluster.kill(1, "ager")
                    cluster.shards[0].start()
                    seen = second.wait_for(above=seen)
                writer.__exit__()
                total = len(writer.lines)
                first.wait_for(above=total - 1)
                second.wait_for(above=total - 1)
            assert not first.wrong
            assert not second.wrong
        for server in (0, 1):
            assert sorted(cluster.messages(server)) == sorted(writer.lines)
        tiers = cluster.servers[0].search("*", limit=1)["stats"]["tiers"]
        assert "cold" in tiers
