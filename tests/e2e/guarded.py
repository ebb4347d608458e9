"""A server that asks who is there: with TLS, keys, client certificates, and two tenants' events in it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from bench.server import NEVE, Server, free_port
from storage.tls import client_context
from tests.certificates import Authority

T = TypeVar("T")
PATIENCE_SECONDS = 240
CONFIG = """
[auth]
enabled = true
{oidc}
[auth.certificates.agent-a]
namespaces = ["tenant_a"]
[receivers]
otlp_grpc = "{grpc}"
[tls]
certificate = "{certificate}"
key = "{key}"
client_ca = "{ca}"
[cold.catalog]
type = "sql"
uri = "sqlite:///{folder}/catalog.db"
"s3.secret-access-key" = "planted-catalog-secret"
"""


class Guarded(Server):
    """`neve serve` with authentication and TLS, as its users run it."""

    def __init__(self, folder: Path, oidc: str = "") -> None:
        self.authority = Authority(folder / "tls")
        self.authority.signed("neve", addresses=("127.0.0.1",), file="server")
        self.tls = folder / "tls"
        self.grpc = f"127.0.0.1:{free_port()}"
        config = folder / "neve.toml"
        config.write_text(
            CONFIG.format(
                certificate=self.tls / "server.crt",
                key=self.tls / "server.key",
                ca=self.authority.ca,
                folder=folder,
                oidc=oidc,
                grpc=self.grpc,
            )
        )
        super().__init__(folder, options=["--config", str(config)])
        self.client.close()
        self.url = f"https://{self.address}"
        self.context: ssl.SSLContext = client_context(str(self.authority.ca))
        self.client = self.with_key("")
        self.keys: dict[str, str] = {}

    def with_key(self, key: str, **options: Any) -> httpx.Client:
        """A client that shows a key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        context = options.pop("context", self.context)
        return httpx.Client(
            base_url=self.url, headers=headers, verify=context, timeout=240, trust_env=False, **options
        )

    def key(self, *options: str) -> str:
        """Make a key by the command line, beside the server."""
        made = self.neve("keys", "create", *options, "--data", str(self.folder / "data"))
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def neve(self, *arguments: str, key: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run the program; it trusts the server's authority, and shows a key if one is given."""
        environment = {**os.environ, "NEVE_CA": str(self.authority.ca), "NEVE_URL": self.url}
        if key:
            environment["NEVE_KEY"] = key
        done = subprocess.run(
            [*NEVE, *arguments], input=stdin, capture_output=True, timeout=600, check=False, env=environment
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def send(self, key: str, namespace: str, *events: dict[str, Any]) -> httpx.Response:
        """Events as NDJSON."""
        body = "".join(json.dumps(one) + "\n" for one in events)
        with self.with_key(key) as client:
            return client.post(
                "/api/v1/ingest",
                params={"namespace": namespace},
                content=body,
                headers={"content-type": "application/x-ndjson"},
            )


def patiently(look: Callable[[], T | None]) -> T:
    """What comes, asked for until it is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)
    return found
