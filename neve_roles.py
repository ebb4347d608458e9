"""The processes of `neve serve`: what each of them runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ingest.receivers.elastic_clients import wants_elasticsearch
from neve_serve import (
    CLICKHOUSE_INGEST_URL,
    CLICKHOUSE_SEARCH_URL,
    CLICKHOUSE_URL,
    INSIDE,
    LOG,
    PARENT,
    PINS_FILE,
    SOCKETS,
    ServeConfig,
)
from query import front
from query.door import Door
from storage import tracing
from storage.config import ClickHouseConfig, ShardConfig
from storage.errors import ConfigError, NeveError
from storage.logs import fields_of, secrets_of, set_up
from storage.metrics import MEDIA_TYPE
from storage.processes import give_memory_back
from storage.sections import Secret
from storage.supervise import follow_parent
from storage.tls import ServerTls

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.applications import Starlette

    from neve_backup import Place
    from storage.hot import Hot
    from storage.spreading import Spread

log = logging.getLogger("neve.serve")
TO_GATEWAY = (
    "/api/v1/blocks",
    "/api/v1/ingest",
    "/gateway/",
    "/loki/api/v1/push",
    "/api/prom/push",
    "/v1/logs",
    "/services/collector",
    "/upload",
)
TO_AGER = ("/cold/",)
METRICS_SECONDS = 5.0
FAILED, MISUSED = 1, 2
STARTUP_FAILED = 3  # the exit code of a process that refused to start, as uvicorn has it


def run_role(role: str, config: ServeConfig) -> int:
    """Run one process of the server. Under a supervisor it ends with it. What goes wrong is in its log."""
    file = os.environ.get(LOG)
    inside = os.environ.get(INSIDE, "")
    urls = (
        os.environ.get(name, "") for name in (CLICKHOUSE_URL, CLICKHOUSE_SEARCH_URL, CLICKHOUSE_INGEST_URL)
    )
    secrets = [inside, *secrets_of(config), *secrets_of(config.cold_config().catalog_secrets())]
    secrets += [one for url in urls for one in secrets_of(Secret(url))]
    set_up(role, config.log(), Path(file) if file else None, secrets)
    log.info("%s starts", role, extra=fields_of(version=version("neve"), pid=os.getpid()))
    try:
        tracing.set_up(f"neve-{role}", config.traces)
        return _run_role(role, config)
    except NeveError as error:
        if not file:
            raise  # said on standard error, as of any command
        log.error("%s", error, extra=fields_of(code=error.code))
        return MISUSED if isinstance(error, ConfigError) else FAILED
    finally:
        tracing.end()


def _run_role(role: str, config: ServeConfig) -> int:
    give_memory_back()
    if PARENT in os.environ:
        follow_parent(int(os.environ[PARENT]))
    sockets = Path(os.environ.get(SOCKETS, config.data / "run"))
    sockets.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # who has certificates reads them again
    if config.auth.enabled and not os.environ.get(INSIDE) and not config.auth.inside:
        raise ConfigError(
            f"cannot run {role} alone with auth.enabled", "set `auth.inside`, the same for all roles"
        )
    if role == "front":
        return run_front(config, sockets)
    servers = servers_of(config)
    if not servers:
        raise ConfigError(
            f"cannot run {role} alone without storage", "set `clickhouse.url` in the configuration"
        )
    import uvicorn

    class Leaving(uvicorn.Server):
        """Ends the answers that never end by themselves, and then waits for the others."""

        def handle_exit(self, number: int, frame: FrameType | None) -> None:
            super().handle_exit(number, frame)
            getattr(app.state, "leave", lambda: None)()  # the ager has no answers that never end

    with open_app(role, config, servers, sockets) as app:
        starting = Starting(app)
        settings = uvicorn.Config(
            starting,
            uds=str(sockets / role),
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            log_config=None,  # it says what it says through ours
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        server = Leaving(settings)
        try:
            server.run()
        except SystemExit:
            if starting.refused is None:
                raise
            raise starting.refused from None
    return 0 if server.started else STARTUP_FAILED


class Starting:
    """An app whose start may be refused: for a reason of ours that is in `refused`, and no traceback in the log."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.refused: NeveError | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def plainly(message: MutableMapping[str, Any]) -> None:
            error = sys.exception()
            if message["type"] == "lifespan.startup.failed" and isinstance(error, NeveError):
                self.refused = error
                message = {"type": message["type"]}
            await send(message)

        await self._app(scope, receive, plainly if scope["type"] == "lifespan" else send)


@contextmanager
def open_app(
    role: str, config: ServeConfig, servers: tuple[ShardConfig, ...], sockets: Path
) -> Iterator[Starlette]:
    """The ASGI app of a role; `sockets` has those of the others, `servers` are the shards."""
    inside = os.environ.get(INSIDE, str(config.auth.inside))
    gateway = str(sockets / "gateway")
    if role == "gateway":
        import ingest.app

        yield ingest.app.create_app(
            ingest.app.GatewaySettings(
                config.data / "gateway",
                servers[0].owner,
                create_namespaces=config.create_namespaces,
                spool_quota_bytes=config.spool_bytes,
                embedded=_embedded(config),
                cold=config.cold_config(),
                receivers=config.receivers,
                redaction=config.policy(),
                limits=config.limits,
                host=config.address()[0],
                auth=config.auth,
                inside=inside,
                socket=gateway,
                tls=config.tls,
                shards=servers,
                gateways=config.cluster.gateways,
            )
        )
        return
    if role == "ager":
        import neve_cold

        place = _backed_up(config, gateway)
        yield neve_cold.create_app(servers, config.cold_config(), config.auth, inside, gateway, place)
        return
    if role == "alerts":
        import neve_alerts

        with _storage(servers) as (hot, owner):
            yield neve_alerts.create_app(hot, owner, config, inside, gateway)
        return
    with _open_api(config, servers, inside, gateway) as app:
        yield app


def _backed_up(config: ServeConfig, gateway: str) -> Place:
    """What a backup of this server is of."""
    from neve_backup import Place
    from neve_config import printed

    return Place(
        config.data,
        gateway,
        disk=(config.cluster or config.clickhouse).backup_disk,
        embedded=not config.shards(),
        gateways=config.cluster.gateways,
        configuration="\n".join(printed(config)) + "\n",
    )


@contextmanager
def _open_api(
    config: ServeConfig, servers: tuple[ShardConfig, ...], inside: str, gateway: str
) -> Iterator[FastAPI]:
    import query.app
    from storage.access.access import Access
    from storage.access.audit import Audit
    from storage.access.book import Book
    from storage.embedded_files import sync_folders

    folder = _embedded(config)
    with _storage(servers) as (hot, owner):
        book = Book(owner)
        access = Access(config.auth, book, inside)
        audit = Audit(gateway, access.inside_headers()) if config.auth.enabled else None
        try:
            app = query.app.create_app(
                hot,
                limits=config.limits.search,
                pins_file=config.data / PINS_FILE,
                cold=config.cold_config(),
                gateways=(gateway,),
                others=config.cluster.gateways,
                access=access,
                owner=owner,
                made=lambda: sync_folders(folder) if folder is not None else None,
                audit=audit,
                links=config.links,
                alerts=config.alerts,
                base=config.base(),
            )
            book.start()
            if audit is not None:
                audit.start()
            yield app
        finally:
            if audit is not None:
                audit.stop()
            book.stop()


@contextmanager
def _storage(servers: tuple[ShardConfig, ...]) -> Iterator[tuple[Hot | Spread, Hot | Spread]]:
    """What is read as who may read only, and as who owns it: one server, or the shards of a cluster."""
    from storage.hot import Hot
    from storage.spreading import Spread, open_shards

    if len(servers) > 1:
        with open_shards(servers) as owners:
            reading = owners.beside(reading=True)
            try:
                yield Spread(reading), Spread(owners)
            finally:
                reading.close()
        return
    with ExitStack() as opened:
        owner = opened.enter_context(Hot(servers[0].owner))
        search = servers[0].search
        yield (opened.enter_context(Hot(search)) if search is not None else owner), owner


def _embedded(config: ServeConfig) -> Path | None:
    """The folder of the ClickHouse that runs beside, if one does."""
    return None if config.clickhouse.url or config.cluster else config.data / "clickhouse"


def servers_of(config: ServeConfig) -> tuple[ShardConfig, ...]:
    """The shards: the embedded server, where the supervisor has told of it, or those that are configured, if any."""
    urls = [os.environ.get(name) for name in (CLICKHOUSE_URL, CLICKHOUSE_SEARCH_URL, CLICKHOUSE_INGEST_URL)]
    owner, search, ingest = (ClickHouseConfig.from_url(url) if url else None for url in urls)
    return (ShardConfig("", 1, owner, search, ingest),) if owner is not None else config.shards()


def run_front(config: ServeConfig, sockets: Path) -> int:
    """Listen on the one address and pass requests on by their path."""
    host, port = config.address()
    gateway, api, ager, alerts = (str(sockets / role) for role in ("gateway", "api", "ager", "alerts"))

    def route(path: str, headers: front.Headers) -> str:
        if path.startswith(TO_AGER):
            return ager
        return gateway if path.startswith(TO_GATEWAY) or wants_elasticsearch(path, headers) else api

    async def metrics(headers: front.Headers) -> bytes:
        processes = {"gateway": gateway, "api": api, "ager": ager, "alerts": alerts}
        return await all_metrics(processes, headers, door)

    async def openapi(headers: front.Headers) -> bytes:
        return await all_paths((api, gateway, ager), headers)

    pages = {"/metrics": metrics, "/openapi.json": openapi}
    tls = ServerTls(config.tls) if config.tls else None
    door = Door(config.http, tls, os.environ.get(INSIDE, str(config.auth.inside)))

    def reload() -> None:
        try:
            if tls is not None:
                tls.reload()
        except ConfigError as error:
            log.error("%s; the old certificate holds", error)

    async def listen() -> None:
        task = asyncio.ensure_future(front.serve(host, port, route, pages, door))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        loop.add_signal_handler(signal.SIGHUP, reload)
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


async def all_metrics(parts: Mapping[str, str], headers: front.Headers, door: Door) -> bytes:
    """The metrics of every process, by its socket, and the front door's own; the names of each start with its own.

    As an answer: what a process refuses the client is refused.
    """
    lines, texts = ["# HELP neve_up 1 while the process answers", "# TYPE neve_up gauge"], []
    lines.append('neve_up{process="front"} 1')
    for name, socket in parts.items():
        text = b""
        try:
            answer = await asyncio.wait_for(front.fetch(socket, "/metrics", headers), METRICS_SECONDS)
            status = answer.split(b" ", 2)[1:2]
            if status in ([b"401"], [b"403"]):
                return answer
            text = answer.partition(b"\r\n\r\n")[2] if status == [b"200"] else b""
        except (OSError, TimeoutError):
            pass
        texts.append(text)
        lines.append(f'neve_up{{process="{name}"}} {int(bool(text))}')
    texts.append(door.metrics().encode())
    return front.page_answer(MEDIA_TYPE, "\n".join(lines).encode() + b"\n" + b"".join(texts))


async def all_paths(sockets: Sequence[str], headers: front.Headers) -> bytes:
    """The description of every process's paths as one, as an answer; of those that answer."""
    from storage.access.openapi import merged  # brings FastAPI, which neither the front door nor alerts need

    found = []
    for socket in sockets:
        try:
            answer = await asyncio.wait_for(front.fetch(socket, "/openapi.json", headers), METRICS_SECONDS)
        except (OSError, TimeoutError):
            continue
        status = answer.split(b" ", 2)[1:2]
        if status in ([b"401"], [b"403"]):
            return answer
        if status == [b"200"]:
            found.append(json.loads(answer.partition(b"\r\n\r\n")[2]))
    if not found:
        return front.unavailable()
    return front.page_answer("application/json", json.dumps(merged(found)).encode())


def uvicorn_loop() -> asyncio.Runner:
    """A runner on uvloop, as the other roles have it."""
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
