"""The supervisor of `neve serve`: ClickHouse, gateway, search API, ager and front door, each a process of its own."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import socket
import ssl
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from neve_serve import (
    CLICKHOUSE_INGEST_URL,
    CLICKHOUSE_SEARCH_URL,
    CLICKHOUSE_URL,
    INSIDE,
    LOG,
    PARENT,
    ROLES,
    SOCKETS,
    ServeConfig,
)
from storage.config import ShardConfig
from storage.embedded import EmbeddedServer, saved_config
from storage.embedded_files import INSERTER, SEARCHER, sync_folders
from storage.errors import ConfigError, NeveError, StorageUnavailable
from storage.hot import Hot
from storage.logs import message_of
from storage.shards import check_number
from storage.supervise import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Child, Supervisor

READY_SECONDS = 60.0
TEND_SECONDS = 0.2
FREE_SECONDS = 10.0  # that an address may still be held by the processes of a server that was killed
REACHES = {
    "gateway": (CLICKHOUSE_URL, CLICKHOUSE_INGEST_URL),
    "api": (CLICKHOUSE_URL, CLICKHOUSE_SEARCH_URL),
    "ager": (CLICKHOUSE_URL,),
    "alerts": (CLICKHOUSE_URL, CLICKHOUSE_SEARCH_URL),
    "front": (),
}
"""By role, as whom it works in ClickHouse: no process is told a password that it has no use for."""


class Server:
    """The supervisor: it starts the processes in order, keeps them running, and stops them in order."""

    def __init__(self, config: ServeConfig, file: Path | None = None) -> None:
        """`file`: what the configuration was read from; the roles read it too."""
        self.config = config
        self.file = file
        lake = config.cold_config().lake
        self.servers = config.shards()
        self.embedded = None if self.servers else EmbeddedServer(config.data / "clickhouse", lake=lake)
        self.supervisor = Supervisor(say)
        self.stopping = False
        self.reloading = False  # certificates are to be read again
        self.url = ""  # how to reach the embedded ClickHouse
        self.pause, self.due = 0.0, 0.0  # before the embedded server is tried again

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._reload)
        self._check_address()
        self.url = self._storage_url()
        with tempfile.TemporaryDirectory(prefix="neve-") as sockets:  # a socket's path must be short
            try:
                self._start_roles(self.url, sockets)
                if self._wait_ready():
                    scheme = "https" if self.config.tls else "http"
                    say(f"ready at {scheme}://{self.config.listen}, data in {self.config.data}")
                while not self.stopping:
                    self._tend()
                    time.sleep(TEND_SECONDS)
            finally:
                self.supervisor.stop()
                if self.embedded is not None:
                    self.embedded.stop()
        return 0

    def _stop(self, _number: int, _frame: types.FrameType | None) -> None:
        # A plain flag: to set an Event takes a lock that this very thread may hold when the signal comes.
        self.stopping = True

    def _reload(self, _number: int, _frame: types.FrameType | None) -> None:
        self.reloading = True

    def _check_address(self) -> None:
        """Refuse an address that somebody has: who answers there would be taken for this server. Raises ConfigError."""
        waited = 0.0
        while reason := not_free(*self.config.address()):
            if waited == 0.0:
                say(f"{self.config.listen}: {reason}; waiting {FREE_SECONDS:.0f} s for it")
            if waited >= FREE_SECONDS or self.stopping:
                hint = "stop who listens there, or choose another --listen"
                raise ConfigError(f"cannot listen on {self.config.listen}: {reason}", hint)
            time.sleep(TEND_SECONDS)
            waited += TEND_SECONDS

    def _storage_url(self) -> str:
        """Bring storage up, its schema included; how to reach the embedded server, if that is it."""
        if self.embedded is None:
            migrate_all(self.servers)
            return ""
        config = self.embedded.start()
        with Hot(config) as hot:
            hot.migrate()
        sync_folders(self.embedded.data_dir)
        return config.url()

    def _urls(self, owner: str) -> dict[str, str]:
        """How each process reaches the embedded ClickHouse, by the names of variables."""
        if self.embedded is None:
            return {}
        users = {CLICKHOUSE_SEARCH_URL: SEARCHER, CLICKHOUSE_INGEST_URL: INSERTER}
        others = {name: saved_config(self.embedded.data_dir, user).url() for name, user in users.items()}
        return {CLICKHOUSE_URL: owner, **others}

    def _start_roles(self, url: str, sockets: str) -> None:
        config = self.config
        shared = {**os.environ, SOCKETS: sockets, PARENT: str(os.getpid())}
        shared[INSIDE] = str(config.auth.inside) or secrets.token_hex(32)
        urls = self._urls(url)
        for role in ROLES:
            environment = {**shared, **{name: urls[name] for name in REACHES[role] if name in urls}}
            command = [
                sys.executable,
                "-P",
                "-m",
                "neve",
                "serve",
                "--role",
                role,
                "--data",
                str(config.data),
            ]
            command += ["--listen", config.listen]
            if self.file is not None:
                command += ["--config", str(self.file.absolute())]
            log = config.data / "logs" / f"{role}.log"
            self.supervisor.start(Child(role, command, {**environment, LOG: str(log)}, log))

    def _wait_ready(self) -> bool:
        """Wait until the front door answers for all. Raises StorageUnavailable when it does not."""
        host, port = self.config.address()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        scheme = "https" if self.config.tls else "http"
        base = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        waited = 0.0
        while not self.stopping:
            time.sleep(TEND_SECONDS / 4)
            if all(answers(base + path) for path in ("/readyz", "/gateway/ready")):
                return True
            waited += TEND_SECONDS / 4
            for child in self.supervisor.children:
                code = child.process.poll() if child.process is not None else None
                if code is not None and code > 0:  # it refused; nobody killed it
                    raise StorageUnavailable(f"cannot start {child.name}: {last_line(child.log)}")
            self._tend()
            if waited > READY_SECONDS:
                raise StorageUnavailable(f"cannot start: no answer at {base}; see {self.config.data}/logs")
        return False

    def _tend(self) -> None:
        """ClickHouse first: the others wait for it by themselves."""
        if self.embedded is not None and not self.embedded.alive() and time.monotonic() >= self.due:
            say("clickhouse ended; starting it again")
            self._restart_storage(self.embedded)
        self.supervisor.tend()
        if self.reloading:
            self.reloading = False
            say("certificates are read again")
            self.supervisor.signal(signal.SIGHUP)

    def _restart_storage(self, embedded: EmbeddedServer) -> None:
        try:
            url = embedded.start().url()
        except NeveError as error:
            say(error.message)
            self.pause = min(max(2 * self.pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self.due = time.monotonic() + self.pause
            return
        self.pause = 0.0
        if url != self.url:  # somebody took its port meanwhile
            self.url = url
            self.supervisor.restart(self._urls(url))


def migrate_all(servers: Sequence[ShardConfig]) -> None:
    """The schema on each server that answers. Raises StorageUnavailable where none does, ConfigError."""
    missing: list[StorageUnavailable] = []
    for server in servers:
        try:
            with Hot(server.owner, number=server.number) as hot:
                check_number(hot, server)
                hot.migrate()
        except StorageUnavailable as error:
            missing.append(error)
            if len(servers) > 1:
                say(f"shard {server.name} is away: {error.message}")
    if len(missing) == len(servers):
        raise missing[0]


def not_free(host: str, port: int) -> str:
    """That somebody has the address, or that we may not; else nothing: what is wrong besides the front door says."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return os.strerror(error.errno).lower()
    return ""


def say(line: str) -> None:
    print(f"neve: {line}", file=sys.stderr, flush=True)


def answers(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({}), HTTPSHandler(context=_ours())).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def _ours() -> ssl.SSLContext:
    """For this server itself, at an address that its certificate may not be for. Nothing is told to whoever answers."""
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_CLIENT
    )  # without the system's authorities, which take long to read
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return message_of(lines[-1]) if lines else f"see {log}"
