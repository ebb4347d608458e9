"""Live tail over two machines: a viewer at one sees what comes to the other, and is told while that can't be.

The second machine has a gateway and a front door alone, over TLS with client certificates, so that each can be away.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.server import NEVE, Server, free_port
from query.client import told
from query.errors import Unavailable
from query.feed import Feed, Hello, Way
from storage.access.carried import Carried
from storage.embedded import saved_config
from storage.tls import client_context
from tests.certificates import Authority

from .tails import SECONDS, Tail

pytestmark = pytest.mark.faults

INSIDE = "the word of both machines"


class Machine:
    """Gateway and front door of another machine, over the same ClickHouse."""

    def __init__(self, folder: Path, address: str, config: str, context: Any) -> None:
        self.folder, self.address = folder, address
        self.name = address
        folder.mkdir()
        (folder / "neve.toml").write_text(config)
        self.client = httpx.Client(
            base_url=f"https://{address}", verify=context, trust_env=False, timeout=240, headers={}
        )
        # The gateway can be reached on its own machine while its front door is away.
        transport = httpx.HTTPTransport(uds=str(folder / "data" / "run" / "gateway"))
        self.inner = httpx.Client(base_url="http://gateway", transport=transport, timeout=60)
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *roles: str) -> None:
        for role in roles:
            words = ["serve", "--role", role, "--data", str(self.folder / "data"), "--listen", self.address]
            with open(self.folder / f"{role}.log", "ab") as log:
                self.parts[role] = subprocess.Popen(
                    [*NEVE, *words, "--config", str(self.folder / "neve.toml")], stderr=log
                )
        deadline = time.monotonic() + 2 * SECONDS
        while not self._is_ready():
            ended = [role for role, one in self.parts.items() if one.poll() is not None]
            logs = [(self.folder / f"{role}.log").read_text() for role in ended]
            assert not ended, logs
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/gateway/ready").status_code == 200
        except httpx.TransportError:
            return False

    def tail(self, query: str, last_id: str, events: int) -> list[str]:
        """So many messages after an event, once its search process answers."""
        asked = {"url": "/api/v1/tail", "params": {"q": query}, "headers": {"last-event-id": last_id}}
        wait(lambda: self.client.get("/readyz").status_code == 200)
        with self.client.stream("GET", **asked) as answer:
            assert answer.status_code == 200
            logs = (json.loads(one.data) for one in told(answer.iter_lines()) if one.kind == "log")
            return [event["message"] for event in islice(logs, events)]

    def kill(self, role: str) -> None:
        part = self.parts.pop(role)
        part.kill()
        part.wait()

    def close(self) -> None:
        self.client.close()
        self.inner.close()
        for part in self.parts.values():
            part.kill()
            part.wait()


class Pair:
    def __init__(self, one: Server, two: Machine, context: Any) -> None:
        self.one, self.two, self.context = one, two, context

    def post(self, client: httpx.Client, service: str, *lines: str) -> None:
        body = "".join(f"{line}\n" for line in lines)
        answer = client.post("/api/v1/ingest", params={"service": service}, content=body)
        assert answer.status_code == 200, answer.text

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody watches already, and both gateways are heard, however long that takes."""
        tail = Tail(self.one.url, "service:nothing", "").__enter__()
        try:
            wait(lambda: self.heard() == {"local": 1, self.two.name: 1})  # not its own address, too
            yield
        finally:
            tail.close()

    def heard(self) -> dict[str, int]:
        """By gateway, whether the first machine hears it."""
        text = self.one.client.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("neve_api_tail_source_up{")]
        return {line.split('"')[1]: int(line.split()[-1]) for line in lines}


@pytest.fixture
def pair(_pair: Pair) -> Pair:
    """Both machines, whole again whatever the test before has left."""
    missing = {"gateway", "front"} - set(_pair.two.parts)
    if missing:
        _pair.two.start(*sorted(missing))
    return _pair


@pytest.fixture(scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    tls = Authority(folder / "tls")
    certificate, key = tls.signed("two", addresses=("127.0.0.1",))
    mine = tls.signed("one")
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    config = (
        f'[cluster]\ngateways = ["http://{addresses[0]}", "https://{addresses[1]}"]\n'
        f'[auth]\ninside = "{INSIDE}"\n[receivers]\notlp_grpc = ""\n'
    )
    (folder / "neve.toml").write_text(config)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NEVE_CA", str(tls.ca))
        environment.setenv("NEVE_CERT", str(mine[0]))
        environment.setenv("NEVE_CERT_KEY", str(mine[1]))
        options = ["--config", str(folder / "neve.toml")]
        with Server(folder / "one", address=addresses[0], options=options) as one:
            url = saved_config(folder / "one" / "data" / "clickhouse").url()
            config += (
                f'[clickhouse]\nurl = "{url}"\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
                f'client_ca = "{tls.ca}"\nclient_certificates = "required"\n'
            )
            context = client_context(str(tls.ca), str(mine[0]), str(mine[1]))
            two = Machine(folder / "two", addresses[1], config, context)
            try:
                two.start("gateway", "front")
                yield Pair(one, two, context)
            finally:
                two.close()


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_viewer_sees_what_comes_to_any_machine_once(pair: Pair) -> None:
    with pair.watched(), Tail(pair.one.url, "service:both") as tail:
        pair.post(pair.two.client, "both", "there 1", "there 2")
        assert tail.wait_for(2) == ["there 1", "there 2"]
        pair.post(pair.one.client, "both", "here 1")
        assert tail.wait_for(3)[2:] == ["here 1"]
        middle = tail.told[[one.kind for one in tail.told].index("log")].id
        pair.post(pair.two.client, "both", "there 3")
        assert tail.wait_for(4)[3:] == ["there 3"]
        assert tail.gaps() == []
        pair.one.wait_for("service:both", 4)
        pair.post(pair.two.client, "both", "there 4")
        with Tail(pair.one.url, "service:both", middle) as again:  # within a block of the other machine
            pair.post(pair.one.client, "both", "here 2")
            assert again.wait(lambda: "here 2" in again.messages())
            assert sorted(again.messages()) == ["here 1", "here 2", "there 2", "there 3", "there 4"]
            assert again.gaps() == []
        pair.two.start("api")  # an id of one machine is good at another
        try:
            found = pair.two.tail("service:both", middle, events=5)
            assert sorted(found) == ["here 1", "here 2", "there 2", "there 3", "there 4"]
        finally:
            pair.two.kill("api")


def test_one_that_cannot_be_reached_is_told_and_what_came_there_is_filled(pair: Pair) -> None:
    with pair.watched(), Tail(pair.one.url, "service:cut") as tail:
        pair.post(pair.two.client, "cut", "there 1")
        tail.wait_for(1)
        pair.two.kill("front")
        assert tail.wait(lambda: bool(tail.gaps()))
        assert tail.gaps() == [{"skipped": None, "reason": f"gateway {pair.two.name} cannot be reached"}]
        assert pair.heard() == {"local": 1, pair.two.name: 0}
        pair.post(pair.two.inner, "cut", "there, stored meanwhile")
        pair.one.wait_for("service:cut", 2)
        pair.post(pair.one.client, "cut", "here")
        assert tail.wait_for(2)[1:] == ["here"]
        with Tail(pair.one.url, "service:cut") as late:
            assert late.wait(lambda: bool(late.gaps()))
            pair.two.start("front")
            assert late.wait(lambda: len(late.gaps()) == 2)
        assert tail.wait(lambda: len(tail.gaps()) == 2)
        assert tail.gaps()[1]["skipped"] == 0
        assert tail.messages()[2:] == ["there, stored meanwhile"]
        pair.post(pair.two.client, "cut", "there 2")
        assert tail.wait_for(4)[3:] == ["there 2"]


def test_one_that_is_killed_is_told_and_followed_again(pair: Pair) -> None:
    with pair.watched(), Tail(pair.one.url, "service:killed") as tail:
        pair.post(pair.two.client, "killed", "there 1")
        tail.wait_for(1)
        last_id = tail.last_id
        clickhouse = pair.one.pids()["clickhouse"]
        os.kill(clickhouse, signal.SIGSTOP)  # so that what comes lies in the spool when it is killed
        try:
            pair.post(pair.two.client, "killed", "there 2")
            tail.wait_for(2)
            pair.two.kill("gateway")
            assert tail.wait(lambda: bool(tail.gaps()))
            pair.post(pair.one.client, "killed", "here")
            assert tail.wait_for(3)[2:] == ["here"]
        finally:
            os.kill(clickhouse, signal.SIGCONT)
        pair.two.start("gateway")
        assert tail.wait(lambda: len(tail.gaps()) == 2)
        reasons = [f"gateway {pair.two.name} {what}" for what in ("cannot be reached", "started again")]
        assert [(one["skipped"], one["reason"]) for one in tail.gaps()] == [(None, one) for one in reasons]
        pair.post(pair.two.client, "killed", "there 3")
        assert tail.wait_for(4)[3:] == ["there 3"]
        pair.one.wait_for("service:killed", 4)
        # Of the gateway that started again only the time is known; of the other it is exact all the same.
        with Tail(pair.one.url, "service:killed", last_id) as again:
            assert again.wait(lambda: len(again.messages()) == 3)
            assert sorted(again.messages()) == ["here", "there 2", "there 3"]
            assert [gap["skipped"] for gap in again.gaps()] == [None]


def run(work: Coroutine[Any, Any, object]) -> object:
    """In a thread of its own: in this one the tests of the page leave a loop running."""
    with ThreadPoolExecutor() as pool:
        return pool.submit(asyncio.run, work).result()


def test_arrivals_are_for_who_knows_the_word_alone(pair: Pair) -> None:
    for client in (pair.one.client, pair.two.client):
        for path in ("/gateway/arrivals", "/gateway/arrivals/stream"):
            assert client.get(path).status_code == 404
        for path in ("", "/stream", f"/1/{'00' * 16}"):
            for headers in ({}, {"neve-peer": "00" * 32}, {"x-neve-inside": INSIDE}, {"neve-peer": INSIDE}):
                answer = client.get(f"/gateway/peers/arrivals{path}", headers=headers)
                assert answer.status_code == 403, (path, headers, answer.text)

    async def first(secret: str) -> object:
        feed = Feed(Way.among(pair.one.url, secret.encode(), Carried()))
        try:
            async with aclosing(feed.said()) as said:
                return await anext(said)
        finally:
            await feed.close()

    assert isinstance(run(first(INSIDE)), Hello)
    with pytest.raises(Unavailable, match="it answered 403; set the same auth.inside for all"):
        run(first("another word"))
