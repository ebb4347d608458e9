"""A server over shards of its own, and the CPU that each part of it takes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.merges import wait_until_merged
from bench.processes import cpu_seconds, cpu_seconds_of_threads
from bench.server import Server
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.schema import namespace_database

MERGING = "MergeMutate"
"""How ClickHouse calls the threads that merge; they do nothing else, and live as long as it does."""
OTHERS = ("ager", "alerts", "supervisor")  # nobody ships to or asks these here
EVENTS = ("Query", "MergedRows")
"""Of `system.events`: statements of all kinds, and the rows that merges wrote."""
INSERTS = "inserts"
"""Of the gateway: INSERTs of events."""
POLL_SECONDS = 0.1  # of the gateway, which asks nobody
SETTLE_SECONDS = 120.0


class Site:
    """A server over so many shards, which it has to itself."""

    def __init__(self, folder: Path, shards: int, opened: ExitStack, more: str = "") -> None:
        """`more`: of its configuration."""
        self.shards = [self._shard(folder, number, opened) for number in range(shards)]
        self.hots = [opened.enter_context(Hot(one.config)) for one in self.shards]
        config = folder / "neve.toml"
        urls = [one.config.url() for one in self.shards]
        named = "".join(f'shard{number} = "{url}"\n' for number, url in enumerate(urls))
        where = f'clickhouse = "{urls[0]}"\n' if shards == 1 else f"[cluster.shards]\n{named}"
        config.write_text(where + more)
        options = ["--config", str(config)]
        clickhouse = self.shards[0].config
        self.server = opened.enter_context(Server(folder / "server", options=options, clickhouse=clickhouse))

    def _shard(self, folder: Path, number: int, opened: ExitStack) -> EmbeddedServer:
        place = folder / f"clickhouse-{number}"
        place.mkdir(parents=True)
        for password in (folder / "clickhouse-0").glob("password*") if number else ():
            shutil.copy(password, place)
        return opened.enter_context(EmbeddedServer(place, lake=folder / "lake"))

    def cpu(self) -> dict[str, float]:
        """Seconds that each part has taken so far; `merges` are those of all ClickHouse servers, `clickhouse` is
        the rest of them."""
        spent = {name: cpu_seconds(pid) for name, pid in self.server.pids().items()}
        others = sum(spent.pop(name, 0.0) for name in OTHERS)
        pids = [one.pid for one in self.shards if one.pid is not None]
        merges = sum(cpu_seconds_of_threads(pid, MERGING) for pid in pids)
        return {
            **spent,
            "others": others,
            "merges": merges,
            "clickhouse": sum(map(cpu_seconds, pids)) - merges,
        }

    def events(self) -> dict[str, float]:
        """What all ClickHouse servers and the gateway have counted so far."""
        sql = "SELECT event, value FROM system.events WHERE event IN {names:Array(String)}"
        found = dict.fromkeys(EVENTS, 0.0)
        for one in self.hots:
            for name, count in one.query(sql, {"names": list(EVENTS)}).rows:
                found[name] += count
        return {**found, INSERTS: float(self.gateway()["counters"].get(INSERTS, 0))}

    def wait_until_stored(self) -> None:
        """Wait until all that the gateway has accepted is in ClickHouse. Raises RuntimeError where it is refused."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (status := self.gateway())["spool"]["depth"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"cannot store all: {status['spool']}, {status['troubles']}")
            time.sleep(POLL_SECONDS)
        if status["dead_letters"]:
            raise RuntimeError(f"cannot store all: {status['dead_letters']} blocks refused")

    def wait_until_merged(self) -> None:
        """Wait until no server merges any more."""
        wait_until_merged(self.hots)

    def merge_all(self) -> None:
        """Make one part of all events of each server, so that sites are alike to who searches."""
        for one in self.hots:
            one.execute(f"OPTIMIZE TABLE {namespace_database('default')}.events FINAL")
        self.wait_until_merged()

    def gateway(self) -> dict[str, Any]:
        """The gateway's status."""
        answer = self.server.client.get("/gateway/status")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Of what was counted twice."""
    return {name: count - before.get(name, 0.0) for name, count in after.items()}


@contextmanager
def site(folder: Path, shards: int, more: str = "") -> Iterator[Site]:
    with ExitStack() as opened:
        yield Site(folder, shards, opened, more)
