"""One server that listens for all that is not HTTP, configured as the pages say."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.server import Server, free_port
from tests.certificates import Authority
from tests.pages import blocks

NAME = "neve.example"
WRITTEN = {
    "tcp": "127.0.0.1:5514",
    "tls": "127.0.0.1:6514",
    "fluent": "127.0.0.1:24224",
}  # where the pages have the server
SPOOL_BYTES = 8 << 20  # soon full


@dataclass
class Place:
    """A server, where it listens, and the certificate of the authority behind its own."""

    server: Server
    ports: dict[str, int]
    ca: Path
    folder: Path

    def here(self, text: str) -> str:
        """A page's text with this server's ports and files in it."""
        for name, written in WRITTEN.items():
            port = written.rpartition(":")[2]
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}").replace(
                f'port="{port}"', f'port="{self.ports[name]}"'
            )
            text = text.replace(f"port({port})", f"port({self.ports[name]})")
            text = text.replace(f"--port {port}", f"--port {self.ports[name]}")
            text = text.replace(f"port={port}", f"port={self.ports[name]}")
            text = text.replace(f'"127.0.0.1", {port}', f'"127.0.0.1", {self.ports[name]}')
        return text.replace("/etc/neve/ca.pem", str(self.ca))

    def events(self, query: str, count: int) -> list[dict[str, Any]]:
        """Exactly so many events, once they are there, the oldest first."""
        self.server.wait_for(query, count)
        found: list[dict[str, Any]] = self.server.search(query, order="oldest", limit=1000)["events"]
        return found

    def counter(self, name: str) -> int:
        """Of the gateway."""
        counters: dict[str, int] = self.server.client.get("/gateway/status").json()["counters"]
        return counters[name]


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("wire")
    authority = Authority(folder / "certificates")
    certificate, key = authority.signed(NAME, addresses=("127.0.0.1",))
    place = Place(None, {name: free_port() for name in WRITTEN}, authority.ca, folder)  # type: ignore[arg-type]
    config = folder / "neve.toml"
    fluent = "".join(blocks("ingest/fluentd.md", "toml")).replace("[receivers]\n", "")
    text = f"spool_bytes = {SPOOL_BYTES}\n" + place.here("".join(blocks("ingest/syslog.md", "toml")) + fluent)
    text = text.replace("/etc/neve/syslog.pem", str(certificate)).replace("/etc/neve/syslog.key", str(key))
    config.write_text(text)
    with Server(folder / "server", options=("--config", str(config))) as server:
        place.server = server
        yield place


Daemon = Callable[[Sequence[str]], Any]


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of the test's own, while the test goes on; what it says is shown where a test fails."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="nw", dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        yield Path(folder)
