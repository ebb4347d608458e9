"""Work whose steps are said as they are done: over HTTP a JSON object a line, on a terminal a line each.

Also what commands of the cold tier share: the server that they ask, or the folder of one that they work beside.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ingest.remote import Remote, ServerError
from storage.access.carried import carried
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig, ShardConfig
from storage.errors import AgerBusy, ColdUnavailable, ConfigError, NeveError

if TYPE_CHECKING:
    from storage.ageing import Step
    from storage.hot import Hot
    from storage.shards import Shards
    from storage.spreading import Spread

BUSY_SECONDS = 60.0  # how long a pass that somebody asked for waits for one that runs
BUSY_POLL_SECONDS = 0.5
START_SECONDS = 30.0

Say = Callable[["Step"], None]


def add_places(parser: argparse.ArgumentParser) -> None:
    """The options of a command that may work beside a server."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder of the server; works beside it")
    parser.add_argument("--config", type=Path, metavar="FILE", help="its configuration, with --data")


def local(data: Path | None, file: Path | None) -> tuple[ClickHouseConfig, ColdConfig]:
    """ClickHouse and the cold tier of a server's data folder and configuration. Raises ConfigError."""
    servers, cold = local_shards(data, file)
    if len(servers) > 1:
        raise ConfigError("cannot do this with the shards of a cluster", "it is for a server alone")
    return servers[0].owner, cold


def local_shards(data: Path | None, file: Path | None) -> tuple[tuple[ShardConfig, ...], ColdConfig]:
    """The same, with all shards where there are several. Raises ConfigError."""
    from neve_serve import ServeConfig, config_file, read_config
    from storage.embedded import saved_config

    file = config_file(file)
    config = read_config(file) if file is not None else ServeConfig()
    folder = (data or config.data).absolute()
    servers = config.shards() or (ShardConfig("", 1, saved_config(folder / "clickhouse")),)
    return servers, config.cold_config(folder)


@contextmanager
def beside(data: Path | None, file: Path | None) -> Iterator[tuple[Shards, Hot | Spread, ColdConfig]]:
    """The shards of a server, what asks them as one, and its cold tier, for who works beside it."""
    from storage.spreading import Spread, open_shards

    servers, cold = local_shards(data, file)
    with open_shards(servers) as shards:
        shards.each(lambda one: one.hot.migrate())
        yield shards, Spread(shards) if shards.several else shards.home.hot, cold


def asked_there(to: str | None, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a server says to work that it is asked for, step by step. Raises ColdUnavailable, ServerError."""
    with Remote(to) as server:
        url = server.url
        _wait_ready(server)
    shown = carried()
    try:
        with (
            httpx.Client(
                trust_env=False,
                timeout=httpx.Timeout(10.0, read=None),
                headers=shown.headers(),
                verify=shown.context() if url.startswith("https:") else True,
            ) as client,
            client.stream("POST", f"{url}{path}", json=asked) as answer,
        ):
            for line in answer.iter_lines():
                yield json.loads(line)
    except (httpx.HTTPError, ValueError) as error:
        raise ColdUnavailable(
            f"cannot hear from {url} any more: {type(error).__name__}",
            "the server goes on with what it began; ask again",
        ) from None


def _wait_ready(server: Remote) -> None:
    """Wait while the ager starts. Raises what says why where nobody answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.get("/cold/ready")
            return
        except ServerError as error:
            if error.status != 503 or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_POLL_SECONDS)


def tell(said: dict[str, Any]) -> bool:
    """Print a step, or what stood in the way; whether it was that."""
    error = said.get("error")
    if error is None:
        print(f"{said['namespace']}: {said['step']}: {said['text']}", flush=True)
        return False
    hint = f"; {error['hint']}" if error.get("hint") else ""
    print(f"neve: {error['message']}{hint}", file=sys.stderr)
    return True


def patiently(work: Callable[[], Any], seconds: float = BUSY_SECONDS) -> Any:
    """Wait for another that works on the namespace. Raises AgerBusy where it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except AgerBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(BUSY_POLL_SECONDS)


def streamed(work: Callable[[Say], None]) -> Iterator[dict[str, Any]]:
    """Run work in a thread and give its steps as they come."""
    steps: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda step: steps.put(step.to_json()))
        except NeveError as error:
            steps.put(error.to_json())
        except Exception as error:
            steps.put(
                ColdUnavailable(f"cannot go on: {type(error).__name__}", "see the ager's log").to_json()
            )
            raise
        finally:
            steps.put(None)

    threading.Thread(target=run, daemon=True).start()
    while (said := steps.get()) is not None:
        yield said
