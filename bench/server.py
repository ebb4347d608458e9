"""A server of one benchmark's own, on a folder of its own."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from bench.processes import Cost, children, command, cost
from storage.config import ClickHouseConfig
from storage.embedded import saved_config
from storage.hot import Hot

READY_SECONDS = 300  # on a machine with much else to do
ARRIVE_SECONDS = 240
ARRIVE_RATE = 50_000  # events a second, of many
NEVE = [sys.executable, "-m", "neve"]
PORTS = range(20_000, 32_000)
"""Below those from which the kernel takes one for each connection: else somebody may have it by the time it is used."""


class Server:
    """`neve serve` as its users run it, with what it costs by part. For a with statement."""

    def __init__(
        self,
        folder: Path,
        address: str = "",
        options: Sequence[str] = (),
        program: Sequence[str] = NEVE,
        clickhouse: ClickHouseConfig | None = None,
    ) -> None:
        """`address`: HOST:PORT to listen on, by default a free port of this machine; `options`: of `neve serve`.

        `clickhouse`: which it stores to, where that is not its own.
        """
        self.clickhouse = clickhouse
        self.program = program
        self.folder = folder
        self.options = options
        self.address = address or f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def __enter__(self) -> Server:
        log = self.folder / "serve.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [
                    *self.program,
                    "serve",
                    "--data",
                    str(self.folder / "data"),
                    "--listen",
                    self.address,
                    *self.options,
                ],
                stderr=out,
            )
        deadline = time.monotonic() + READY_SECONDS
        for pause in pauses():
            if is_ready(self.client):
                break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"cannot start server: {log.read_text().strip()}")
            time.sleep(pause)
        self.hot = Hot(self.clickhouse or saved_config(self.folder / "data" / "clickhouse"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hot.close()
        self.client.close()
        self.process.terminate()
        self.process.wait()

    def pids(self) -> dict[str, int]:
        """The processes: `clickhouse`, `gateway`, `api`, `front` and the `supervisor`."""
        found = {"supervisor": self.process.pid}
        for pid in children(self.process.pid):
            words = command(pid)
            found[words[words.index("--role") + 1] if "--role" in words else "clickhouse"] = pid
        return found

    def parts(self) -> dict[str, Cost]:
        """What each process has cost so far."""
        return {name: cost(pid) for name, pid in self.pids().items()}

    def search(self, query: str, **parameters: Any) -> dict[str, Any]:
        """One answer of the search API."""
        answer = self.client.get("/api/v1/search", params={"q": query, **parameters})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def count(self, query: str = "*", **parameters: Any) -> int:
        """How many events can be found."""
        return int(self.search(f"{query} | stats count() as n", **parameters)["rows"][0][0])

    def wait_for(self, query: str, events: int, exact: bool = True, **parameters: Any) -> None:
        """Wait until at least so many events can be found. Raises RuntimeError for more, or for too few too long."""
        patience = ARRIVE_SECONDS + events / ARRIVE_RATE
        deadline = time.monotonic() + patience
        for pause in pauses():
            if (found := self._counted(query, parameters)) >= events:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"cannot find {events} events for {query}: {found} after {patience:.0f} s")
            time.sleep(pause)
        if exact and found > events:
            raise RuntimeError(f"cannot trust the store: {found} events for {query}, {events} expected")

    def _counted(self, query: str, parameters: dict[str, Any]) -> int:
        try:
            return self.count(query, **parameters)
        except httpx.HTTPStatusError as error:
            # A part that is starting again; or a namespace that the first event is to make.
            if error.response.status_code not in (404, 503):
                raise
        except httpx.TransportError:
            pass
        return 0

    def bytes_on_disk(self) -> int:
        """Bytes of the events' active parts."""
        sql = "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND table = 'events'"
        return int(self.hot.query(sql).rows[0][0])


def run_measured(arguments: list[str]) -> tuple[float, Cost]:
    """Run a command to its end; wall seconds and cost. Raises CalledProcessError."""
    begun = time.monotonic()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return time.monotonic() - begun, Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def pauses() -> Iterator[float]:
    """Seconds between two looks, ever more of them: each look takes from what is waited for."""
    pause = 0.02
    while True:
        yield pause
        pause = min(1.5 * pause, 0.3)


def is_ready(client: httpx.Client) -> bool:
    """Whether both sides of a server answer, the one that takes events and the one that finds them."""
    try:
        return all(client.get(path).status_code == 200 for path in ("/readyz", "/gateway/ready"))
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """A port of the loopback address that nobody has, and that this gives to nobody else while this process runs."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as free, socket.socket(socket.AF_UNIX) as ours:
            try:
                ours.bind(f"\0neve port {port}")  # a name that goes with the process
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            ours.detach()
            return port
    raise RuntimeError("cannot find a free port")
