"""A process for the fault tests to kill. Whoever runs this file gives the globals

ARGUMENTS   `gateway DATA PORT URL…`, a clickhouse URL a shard, and http URLs of gateways beside, or
            `agent …`, what follows `neve ship`, or
            `ager FOLDER CLICKHOUSE_URL NAMESPACE GRACE`, one pass, or `deleter FOLDER CLICKHOUSE_URL NAMESPACE
            QUERY`, or `thawer FOLDER CLICKHOUSE_URL NAMESPACE LOW`, nanoseconds since 1970
KILL_AT     `module:attribute:before|after:n`: the process kills itself with SIGKILL at the n-th call of that
            function: no handler runs, nothing is flushed, as if the power of this one process had gone
LISTENING   a connection that is told when the gateway listens
MIRROR      root and folder of a `power.Mirror`, or nothing; FORGET: what syncs nothing
CLOCK       seed of a clock that jumps, 0 for the real one
"""

import argparse
import asyncio
import importlib
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn

from ingest import pipeline, placing
from ingest.app import GatewaySettings, create_app
from ingest.cli import add_commands
from storage.config import ClickHouseConfig, ShardConfig


def arm(spec: str) -> None:
    """Replace the function that `spec` names by one that dies at its n-th call."""
    module_name, path, when, number = spec.split(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real, left = getattr(owner, name), [int(number)]

    def dying(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


def jump(seed: int) -> None:
    """Let the wall clock jump by up to a day, in either direction, again and again."""
    chance, real, real_ns = random.Random(seed), time.time, time.time_ns
    offset = [0.0]

    def step() -> float:
        if chance.random() < 0.2:
            offset[0] = chance.uniform(-86400, 86400)
        return offset[0]

    time.time = lambda: real() + step()
    time.time_ns = lambda: real_ns() + int(step() * 1e9)


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        globals()["LISTENING"].send("ready")


def gateway(data: str, port: str, *urls: str) -> None:
    gateways = tuple(url for url in urls if url.startswith("http"))
    owners = [ClickHouseConfig.from_url(url) for url in urls if url not in gateways]
    several = len(owners) > 1
    placing.TURN_SECONDS = 0.0  # the next block goes to the next shard
    shards = [
        ShardConfig(f"s{number}" if several else "", number, one) for number, one in enumerate(owners, 1)
    ]
    settings = GatewaySettings(Path(data), owners[0], shards=tuple(shards), gateways=gateways)
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=int(port), log_level="warning")
    asyncio.run(Server(config).serve())


def agent(*arguments: str) -> None:
    pipeline.FIRST_CONTACT_SECONDS = pipeline.PATIENCE_SECONDS  # gateways are killed and started meanwhile
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(["ship", *arguments])
    sys.exit(args.run(args))


def ager(folder: str, url: str, namespace: str, grace: str) -> None:
    from storage.ageing import Ager, Wish
    from storage.cold import ColdTier
    from storage.cold_config import ColdConfig
    from storage.hot import Hot

    clickhouse = ClickHouseConfig.from_url(url)
    with Hot(clickhouse) as hot:
        Ager(hot, clickhouse, ColdTier(ColdConfig(Path(folder)))).age(
            namespace, Wish(now=True, grace=float(grace))
        )


def deleter(folder: str, url: str, namespace: str, query: str) -> None:
    from neve_delete import delete_there
    from storage.cold import ColdTier
    from storage.cold_config import ColdConfig
    from storage.hot import Hot

    clickhouse = ClickHouseConfig.from_url(url)
    with Hot(clickhouse) as hot:
        asked = {"q": query, "namespace": namespace}
        said = list(delete_there(hot, clickhouse, ColdTier(ColdConfig(Path(folder))), asked))
    sys.exit(any("error" in one for one in said))


def thawer(folder: str, url: str, namespace: str, low: str) -> None:
    from storage.ageing import Ager
    from storage.cold import ColdTier
    from storage.cold_config import ColdConfig
    from storage.hot import Hot

    clickhouse = ClickHouseConfig.from_url(url)
    with Hot(clickhouse) as hot:
        Ager(hot, clickhouse, ColdTier(ColdConfig(Path(folder)))).thaw(namespace, int(low), 2**62)


def main(arguments: list[str], kill_at: str, mirror: tuple[str, str] | None, forget: str, clock: int) -> None:
    if clock:
        jump(clock)
    if mirror:
        power = runpy.run_path(str(Path(__file__).with_name("power.py")))
        power["Mirror"](*map(Path, mirror)).install()
        if forget:
            power["forget"](forget)
    if kill_at:
        arm(kill_at)
    {"gateway": gateway, "agent": agent, "ager": ager, "deleter": deleter, "thawer": thawer}[arguments[0]](
        *arguments[1:]
    )


if __name__ == "__main__":
    main(*(globals()[name] for name in ("ARGUMENTS", "KILL_AT", "MIRROR", "FORGET", "CLOCK")))
