"""The processes of `neve serve`: what each of them runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from neve_serve import CLICKHOUSE_URL, PARENT, PINS_FILE, SOCKETS, ServeConfig
from query import front
from storage.config import ClickHouseConfig
from storage.errors import ConfigError
from storage.processes import give_memory_back
from storage.supervise import follow_parent

if TYPE_CHECKING:
    from fastapi import FastAPI

TO_GATEWAY = ("/api/v1/blocks", "/api/v1/ingest", "/gateway/")
TO_AGER = ("/cold/",)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS_SECONDS = 5.0
STARTUP_FAILED = 3  # the exit code of a process that refused to start, as uvicorn has it


def run_role(role: str, config: ServeConfig) -> int:
    """Run one process of the server. Under a supervisor it ends with it."""
    give_memory_back()
    if PARENT in os.environ:
        follow_parent(int(os.environ[PARENT]))
    sockets = Path(os.environ.get(SOCKETS, config.data / "run"))
    sockets.mkdir(parents=True, exist_ok=True)
    if role == "front":
        return run_front(config, sockets)
    url = os.environ.get(CLICKHOUSE_URL, config.clickhouse.url)
    if not url:
        raise ConfigError(
            f"cannot run {role} alone without storage", "set `clickhouse.url` in the configuration"
        )
    clickhouse = ClickHouseConfig.from_url(url)
    import uvicorn

    class Leaving(uvicorn.Server):
        """Ends the answers that never end by themselves, and then waits for the others."""

        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            super().handle_exit(number, frame)
            app.state.leave()

    with open_app(role, config, clickhouse, (str(sockets / "gateway"),)) as app:
        settings = uvicorn.Config(
            app,
            uds=str(sockets / role),
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
        )
        server = Leaving(settings)
        server.run()
    return 0 if server.started else STARTUP_FAILED


@contextmanager
def open_app(
    role: str, config: ServeConfig, clickhouse: ClickHouseConfig, gateways: Sequence[str]
) -> Iterator[FastAPI]:
    """The ASGI app of a role; `gateways` are the addresses of those that tell what arrives."""
    if role == "gateway":
        import ingest.app

        settings = ingest.app.GatewaySettings(
            config.data / "gateway",
            clickhouse,
            create_namespaces=config.create_namespaces,
            spool_quota_bytes=config.spool_bytes,
            embedded=None if config.clickhouse.url else config.data / "clickhouse",
            cold=config.cold_config(),
            receivers=config.receivers,
        )
        yield ingest.app.create_app(settings)
        return
    if role == "ager":
        import neve_cold

        yield neve_cold.create_app(clickhouse, config.cold_config())
        return
    import query.app
    from storage.hot import Hot

    hot = Hot(clickhouse)
    try:
        yield query.app.create_app(
            hot, pins_file=config.data / PINS_FILE, cold=config.cold_config(), gateways=gateways
        )
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
