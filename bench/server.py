"""A server of one benchmark's own, on a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from bench.processes import Cost, children, command, cost
from storage.embedded import saved_config
from storage.hot import Hot

READY_SECONDS = 60
NEVE = [sys.executable, "-m", "neve"]


class Server:
    """`neve serve` as its users run it, with what it costs by part. For a with statement."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def __enter__(self) -> Server:
        log = self.folder / "serve.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [*NEVE, "serve", "--data", str(self.folder / "data"), "--listen", self.address], stderr=out
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"cannot start server: {log.read_text().strip()}")
            time.sleep(0.05)
        self.hot = Hot(saved_config(self.folder / "data" / "clickhouse"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hot.close()
        self.client.close()
        self.process.terminate()
        self.process.wait()

    def _ready(self) -> bool:
        try:
            return all(self.client.get(path).status_code == 200 for path in ("/readyz", "/gateway/status"))
        except httpx.HTTPError:
            return False

    def parts(self) -> dict[str, Cost]:
        """Costs so far of `clickhouse`, `gateway`, `api`, `front` and the `supervisor`."""
        found = {"supervisor": cost(self.process.pid)}
        for pid in children(self.process.pid):
            words = command(pid)
            name = words[words.index("--role") + 1] if "--role" in words else "clickhouse"
            found[name] = cost(pid)
        return found

    def search(self, query: str, **parameters: Any) -> dict[str, Any]:
        """One answer of the search API."""
        answer = self.client.get("/api/v1/search", params={"q": query, **parameters})
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def count(self) -> int:
        """How many events can be found."""
        return int(self.search("* | stats count() as n")["rows"][0][0])

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
