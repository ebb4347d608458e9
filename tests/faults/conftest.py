"""Real processes to kill: an agent, a gateway and a ClickHouse of one test's own, and a count by identity."""

import multiprocessing
import os
import runpy
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from bench.server import free_port, pauses
from storage.embedded import EmbeddedServer
from storage.errors import NeveError
from storage.hot import Hot
from tests.faults.matrix import Matrix

CHILD = str(Path(__file__).with_name("child.py"))
# Processes are forked from one that has everything imported: real ones, to be killed as such, and quick to start.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.preloaded"])
DEADLINE_SECONDS = 300.0  # on a machine with much else to do
NUMBERS = """
    SELECT toUInt64OrZero(extract(message, 'number ([0-9]+)$')) AS number
    FROM neve_default.events WHERE number >= {first:UInt64} ORDER BY number
"""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Matrix())


class Site:
    """A whole installation in one folder. Whatever is killed can be started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clickhouse = EmbeddedServer(folder / "clickhouse")
        self.config = self.clickhouse.start()
        self.port = free_port()
        self.gateway: ForkServerProcess | None = None
        self.others: list[ForkServerProcess] = []  # more gateways
        self.shards: list[EmbeddedServer] = []  # more ClickHouse servers
        self.beside: list[str] = []  # addresses of gateways that ask one another
        self.agent: ForkServerProcess | None = None
        self.state = folder / "agent"
        self.mirrors: dict[str, Path] = {}  # of the folders of "agent" and "gateway", where power may fail
        self.forget = ""
        self.clock = 0  # seed of clocks that jump
        self._children: list[ForkServerProcess] = []
        self._logs = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_gateway(self, kill_at: str = "") -> ForkServerProcess:
        """A gateway that listens, unless it is killed on its way there. One that should be dead by now is killed."""
        if self.gateway is not None:
            kill(self.gateway)
        self.gateway = self._gateway(self.folder / "gateway", self.port, kill_at)
        return self.gateway

    def start_other(self, name: str, port: int) -> ForkServerProcess:
        """One more gateway, in a folder of its own."""
        self.others.append(self._gateway(self.folder / name, port, ""))
        return self.others[-1]

    def _gateway(self, folder: Path, port: int, kill_at: str) -> ForkServerProcess:
        mine, its = PROCESSES.Pipe(duplex=False)
        urls = [self.config.url(), *(shard.config.url() for shard in self.shards)]
        process = self.child(["gateway", folder, port, *urls, *self.beside], kill_at, its)
        its.close()
        try:
            assert mine.recv() == "ready"
        except EOFError:
            assert kill_at, "the gateway did not start"
        mine.close()
        return process

    def start_agent(
        self, *sources: object, to: str = "", once: bool = False, kill_at: str = ""
    ) -> ForkServerProcess:
        options = ["--state", self.state, "--to", to or self.url, *(["--once"] if once else [])]
        self.agent = self.child(["agent", *sources, *options], kill_at)
        return self.agent

    def child(self, arguments: Sequence[object], kill_at: str, listening: object = None) -> ForkServerProcess:
        part = str(arguments[0])
        root = self.state if part == "agent" else self.folder / "gateway"
        mirror = (str(root), str(self.mirrors[part])) if part in self.mirrors else None
        given = {"ARGUMENTS": list(map(str, arguments)), "KILL_AT": kill_at, "LISTENING": listening}
        given |= {"MIRROR": mirror, "FORGET": self.forget, "CLOCK": self.clock}
        process = PROCESSES.Process(target=runpy.run_path, args=(CHILD, given, "__main__"))
        process.start()
        self._children.append(process)
        return process

    def kill_gateway(self) -> None:
        assert self.gateway is not None
        kill(self.gateway)

    def kill_agent(self) -> None:
        assert self.agent is not None
        kill(self.agent)

    def kill_clickhouse(self) -> None:
        assert self.clickhouse.pid is not None
        os.kill(self.clickhouse.pid, signal.SIGKILL)
        assert self.clickhouse.wait(60) is not None

    def restart_clickhouse(self) -> None:
        self.config = self.clickhouse.start()

    def add_shard(self) -> EmbeddedServer:
        """One more ClickHouse; gateways that are started from now on know it."""
        shard = EmbeddedServer(self.folder / f"clickhouse-{len(self.shards) + 2}")
        shard.start()
        self.shards.append(shard)
        return shard

    def numbers(self, first: int = 0) -> list[int]:
        """The numbers from `first` of the lines that are stored, each as often as it is."""
        found: list[int] = []
        for config in (self.config, *(shard.config for shard in self.shards)):
            with Hot(config) as hot:
                found += [int(row[0]) for row in hot.query(NUMBERS, {"first": first}).rows]
        return sorted(found)

    def wait_for(self, count: int, first: int = 0) -> list[int]:
        """Wait until at least `count` lines are stored, and return their numbers."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        found: list[int] = []
        for pause in pauses():
            with suppress(NeveError):
                found = self.numbers(first)
            if len(found) >= count:
                break
            assert time.monotonic() < deadline, f"{len(found)} of {count} lines after {DEADLINE_SECONDS} s"
            time.sleep(pause)
        return found

    def new_log(self) -> tuple[Path, int]:
        """A log file, an agent's state and a range of numbers that no test before has used."""
        self._logs += 1
        self.state = self.folder / f"agent-{self._logs}"
        return self.folder / f"app-{self._logs}.log", self._logs * 1_000_000

    def check(self, first: int, count: int) -> None:
        """Every one of `count` numbers from `first` is stored once, and nobody has anything left to send."""
        expected = list(range(first, first + count))
        found = self.wait_for(count, first)
        assert found == expected, f"{len(found)} lines, {len(set(found))} of {count} numbers"

    def close(self) -> None:
        for process in self._children:  # whoever is left keeps pytest from ending
            kill(process)
        for server in (self.clickhouse, *self.shards):
            server.stop()


def kill(process: ForkServerProcess) -> None:
    """SIGKILL, and wait for the end."""
    process.kill()
    process.join()


def ended(process: ForkServerProcess, seconds: float = DEADLINE_SECONDS) -> int | None:
    """Wait for the end; the exit code, -9 after SIGKILL, None where it did not end."""
    process.join(seconds)
    return process.exitcode


def numbered(numbers: Iterable[int]) -> str:
    return "".join(f"2024-01-31T10:00:00Z some event happened, number {number}\n" for number in numbers)


@pytest.fixture(scope="session")
def lines() -> object:
    """Make the text of numbered lines."""
    return numbered


@pytest.fixture(scope="session")
def exit_code() -> object:
    """Wait for a process to end; its exit code."""
    return ended


@pytest.fixture(scope="session")
def _common_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = Site(tmp_path_factory.mktemp("site"))
    try:
        yield place
    finally:
        place.close()


@pytest.fixture
def shared_site(_common_site: Site) -> Iterator[Site]:
    """One installation for many tests, with a gateway that is up; each takes a log and a state of its own."""
    if _common_site.gateway is None or not _common_site.gateway.is_alive():
        _common_site.start_gateway()
    yield _common_site
    if _common_site.agent is not None:
        kill(_common_site.agent)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    place = Site(tmp_path)
    try:
        yield place
    finally:
        place.close()
