"""`neve serve`: ClickHouse, gateway, search API, ager and front door, each a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
import tomllib
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

import ingest.app
import query.app
from lexer.errors import PinsInvalid
from lexer.pins import read_pins
from query import front
from storage.cold_config import ColdConfig, cold_config
from storage.config import ClickHouseConfig
from storage.embedded import EmbeddedServer
from storage.errors import ConfigError, NeveError, StorageUnavailable
from storage.hot import Hot
from storage.supervise import Child, Supervisor, follow_parent

ROLES = ("gateway", "api", "ager", "front")
TO_GATEWAY = ("/api/v1/blocks", "/api/v1/ingest", "/gateway/")
TO_AGER = ("/cold/",)
CLICKHOUSE_URL = (
    "NEVE_CLICKHOUSE_URL"  # how a role learns of the server; the environment keeps it out of `ps`
)
SOCKETS = "NEVE_SOCKETS"
PINS_FILE = "patterns.toml"  # in the data folder: what operators say about patterns
PARENT = "NEVE_PARENT"
READY_SECONDS = 60.0
TEND_SECONDS = 0.2
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS_SECONDS = 5.0


@dataclass(frozen=True)
class ServeConfig:
    """What `--config` may say, under the names of the fields. The command line wins over the file."""

    data: Path = Path("data")
    listen: str = "127.0.0.1:8780"
    clickhouse: str = ""  # clickhouse://user:password@host:port; empty for the embedded server
    spool_bytes: int = 4 << 30  # the gateway's spool holds at most this; then senders get 429
    cold: Mapping[str, Any] = field(default_factory=dict, repr=False)  # see storage/cold_config.py

    def cold_config(self, data: Path | None = None) -> ColdConfig:
        """What is said about the cold tier; by default it is in the data folder. Raises ConfigError."""
        return cold_config((data or self.data) / "cold", self.cold)

    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises ConfigError."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f"cannot listen on {self.listen!r}", "give HOST:PORT, as 127.0.0.1:8780")
        return host.strip("[]"), int(port)


def read_config(path: Path) -> ServeConfig:
    """Read a TOML file. Raises ConfigError for a key or a value that is not known."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read configuration {path}: {error}", "give a TOML file") from None
    known = {one.name: type(one.default) for one in fields(ServeConfig)}
    if not isinstance(found.get("cold", {}), dict):
        raise ConfigError("cannot use configuration key 'cold'", "give a table")
    for key, value in found.items():
        if key == "cold":
            continue
        if key not in known:
            raise ConfigError(f"cannot use configuration key {key!r}", f"known keys: {', '.join(known)}")
        if known[key] is int and (not isinstance(value, int) or isinstance(value, bool)):
            raise ConfigError(f"cannot use configuration key {key!r}: {value!r}", "give a whole number")
        if known[key] is not int and not isinstance(value, str):
            raise ConfigError(f"cannot use configuration key {key!r}: {value!r}", "give a text in quotes")
    if "data" in found:
        found["data"] = Path(found["data"])
    return ServeConfig(**found)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `serve`."""
    parser = commands.add_parser("serve", help="run the server: receivers, search API and storage")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file; unknown keys are an error")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where everything is kept (default: ./data)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="default: 127.0.0.1:8780")
    parser.add_argument("--role", choices=ROLES, help="run one of the server's processes alone")
    parser.set_defaults(run=run)


def settle(args: argparse.Namespace) -> ServeConfig:
    """The configuration that file and command line give together."""
    config = read_config(args.config) if args.config else ServeConfig()
    given = {name: getattr(args, name) for name in ("data", "listen") if getattr(args, name)}
    config = replace(config, **given)
    return replace(config, data=config.data.absolute())


def run(args: argparse.Namespace) -> int:
    """Run the server, or one role of it. Ends with 0 on SIGINT and SIGTERM."""
    config = settle(args)
    config.address()
    config.cold_config()
    if args.role:
        return run_role(args.role, config)
    check_pins(config.data / PINS_FILE)
    return Server(config, args.config).run()


def check_pins(path: Path) -> None:
    """Refuse to start with pins that cannot be used. Raises ConfigError."""
    if path.exists():
        try:
            read_pins(path)
        except PinsInvalid as error:
            raise ConfigError(error.message, error.hint) from None


# --- the supervisor ---------------------------------------------------------------------------------------


class Server:
    """The supervisor: it starts the processes in order, keeps them running, and stops them in order."""

    def __init__(self, config: ServeConfig, file: Path | None = None) -> None:
        """`file`: what the configuration was read from; the roles read it too."""
        self.config = config
        self.file = file
        lake = config.cold_config().lake
        self.embedded = None if config.clickhouse else EmbeddedServer(config.data / "clickhouse", lake=lake)
        self.supervisor = Supervisor(say)
        self.stopping = threading.Event()

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        url = self._storage_url()
        with tempfile.TemporaryDirectory(prefix="neve-") as sockets:  # a socket's path must be short
            try:
                self._start_roles(url, sockets)
                if self._wait_ready():
                    say(f"ready at http://{self.config.listen}, data in {self.config.data}")
                while not self.stopping.wait(TEND_SECONDS):
                    self._tend()
            finally:
                self.supervisor.stop()
                if self.embedded is not None:
                    self.embedded.stop()
        return 0

    def _stop(self, _number: int, _frame: types.FrameType | None) -> None:
        self.stopping.set()

    def _storage_url(self) -> str:
        """Bring storage up, its schema included; how to reach it."""
        if self.embedded is None:
            config = ClickHouseConfig.from_url(self.config.clickhouse)
        else:
            config = self.embedded.start()
        hot = Hot(config)
        try:
            hot.migrate()
        finally:
            hot.close()
        return config.url()

    def _start_roles(self, url: str, sockets: str) -> None:
        environment = {**os.environ, CLICKHOUSE_URL: url, SOCKETS: sockets, PARENT: str(os.getpid())}
        config = self.config
        for role in ROLES:
            command = [sys.executable, "-m", "neve", "serve", "--role", role, "--data", str(config.data)]
            command += ["--listen", config.listen]
            if self.file is not None:
                command += ["--config", str(self.file.absolute())]
            log = config.data / "logs" / f"{role}.log"
            self.supervisor.start(Child(role, command, environment, log))

    def _wait_ready(self) -> bool:
        """Wait until the front door answers for all. Raises StorageUnavailable when it does not."""
        host, port = self.config.address()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        waited = 0.0
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while not self.stopping.wait(TEND_SECONDS / 4):
                if all(answers(client, base + path) for path in ("/readyz", "/gateway/status")):
                    return True
                waited += TEND_SECONDS / 4
                for child in self.supervisor.children:
                    code = child.process.poll() if child.process is not None else None
                    if code is not None and code > 0:  # it refused; nobody killed it
                        raise StorageUnavailable(f"cannot start {child.name}: {last_line(child.log)}")
                self._tend()
                if waited > READY_SECONDS:
                    raise StorageUnavailable(
                        f"cannot start: no answer at {base}; see {self.config.data}/logs"
                    )
        return False

    def _tend(self) -> None:
        """ClickHouse first: the others wait for it by themselves, and find it at the same address."""
        if self.embedded is not None and not self.embedded.alive():
            say("clickhouse ended; starting it again")
            try:
                self.embedded.start()
            except NeveError as error:
                say(error.message)
        self.supervisor.tend()


def say(line: str) -> None:
    print(f"neve: {line}", file=sys.stderr, flush=True)


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {log}"


# --- the roles --------------------------------------------------------------------------------------------


def run_role(role: str, config: ServeConfig) -> int:
    """Run one process of the server. Under a supervisor it ends with it."""
    if PARENT in os.environ:
        follow_parent(int(os.environ[PARENT]))
    sockets = Path(os.environ.get(SOCKETS, config.data / "run"))
    sockets.mkdir(parents=True, exist_ok=True)
    if role == "front":
        return run_front(config, sockets)
    url = os.environ.get(CLICKHOUSE_URL, config.clickhouse)
    if not url:
        raise ConfigError(f"cannot run {role} alone without storage", "set `clickhouse` in the configuration")
    clickhouse = ClickHouseConfig.from_url(url)
    with open_app(role, config, clickhouse) as app:
        uvicorn.run(
            app,
            uds=str(sockets / role),
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
        )
    return 0


@contextmanager
def open_app(role: str, config: ServeConfig, clickhouse: ClickHouseConfig) -> Iterator[FastAPI]:
    """The ASGI app of a role."""
    if role == "gateway":
        settings = ingest.app.GatewaySettings(
            config.data / "gateway", clickhouse, spool_quota_bytes=config.spool_bytes
        )
        yield ingest.app.create_app(settings)
        return
    if role == "ager":
        import neve_cold  # pyiceberg and pyarrow are for this process alone

        yield neve_cold.create_app(clickhouse, config.cold_config())
        return
    hot = Hot(clickhouse)
    try:
        yield query.app.create_app(hot, pins_file=config.data / PINS_FILE)
    finally:
        hot.close()


def run_front(config: ServeConfig, sockets: Path) -> int:
    """Listen on the one address and pass requests on by their path."""
    host, port = config.address()
    gateway, api, ager = (str(sockets / role) for role in ("gateway", "api", "ager"))

    def route(path: str) -> str:
        if path.startswith(TO_AGER):
            return ager
        return gateway if path.startswith(TO_GATEWAY) else api

    async def metrics() -> tuple[str, bytes]:
        return METRICS_TYPE, await all_metrics({"gateway": gateway, "api": api, "ager": ager})

    async def listen() -> None:
        task = asyncio.ensure_future(front.serve(host, port, route, {"/metrics": metrics}))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task

    try:
        uvicorn_loop().run(listen())
    except asyncio.CancelledError:
        return 0
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {config.listen}: {error.strerror}", "choose another --listen"
        ) from None
    return 0


async def all_metrics(parts: Mapping[str, str]) -> bytes:
    """The metrics of every process, by its socket; the names of each start with its own."""
    lines, texts = ["# HELP neve_up 1 while the process answers", "# TYPE neve_up gauge"], []
    for name, socket in parts.items():
        try:
            texts.append(await asyncio.wait_for(front.fetch(socket, "/metrics"), METRICS_SECONDS))
        except (OSError, TimeoutError):
            texts.append(b"")
        lines.append(f'neve_up{{process="{name}"}} {int(bool(texts[-1]))}')
    return "\n".join(lines).encode() + b"\n" + b"".join(texts)


def uvicorn_loop() -> asyncio.Runner:
    """A runner on uvloop, as the other roles have it."""
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
