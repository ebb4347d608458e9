"""One shard beside two: the same events, the same searches, in the same run.

    python -m bench.cluster [--rows N] [--quick] [--json]

`neve ship --once` reads a file and sends it to one gateway, which gives its blocks to the shards. CPU is that of agent,
gateway, front door and all ClickHouse servers, until every event can be found. Then each search is asked a few times;
`cpu_ms` is what all servers and the API take for one. What is on one machine shares its cores: the figures that count
are those of CPU, and their ratios.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import corpus
from bench.processes import cost
from bench.report import Report, parser
from bench.server import NEVE, Server, run_measured
from storage.embedded import EmbeddedServer

TIMES = 5  # that each search is asked; the first answer is left out
SEARCHES = {
    "page": "level:error",
    "words": "timeout",
    "count": "* | stats count() as n by service",
    "percentile": "level:error | stats p95(bytes) as p, count() as n by service",
}


class Site:
    """A server over so many shards of its own."""

    def __init__(self, folder: Path, shards: int, opened: ExitStack) -> None:
        self.shards = [self._shard(folder, number, opened) for number in range(shards)]
        config = folder / "neve.toml"
        urls = [one.config.url() for one in self.shards]
        named = "".join(f'shard{number} = "{url}"\n' for number, url in enumerate(urls))
        config.write_text(f'clickhouse = "{urls[0]}"\n' if shards == 1 else f"[cluster.shards]\n{named}")
        options = ["--config", str(config)]
        clickhouse = self.shards[0].config
        self.server = opened.enter_context(Server(folder / "server", options=options, clickhouse=clickhouse))

    def _shard(self, folder: Path, number: int, opened: ExitStack) -> EmbeddedServer:
        place = folder / f"clickhouse-{number}"
        place.mkdir(parents=True)
        for password in (folder / "clickhouse-0").glob("password*") if number else ():
            shutil.copy(password, place)
        return opened.enter_context(EmbeddedServer(place, lake=folder / "lake"))

    def cpu(self, *parts: str) -> float:
        """Seconds that the shards and these parts of the server have taken so far."""
        costs = self.server.parts()
        pids = [one.pid for one in self.shards if one.pid is not None]
        return sum(costs[name].cpu for name in parts) + sum(cost(pid).cpu for pid in pids)


@contextmanager
def site(folder: Path, shards: int) -> Iterator[Site]:
    with ExitStack() as opened:
        yield Site(folder, shards, opened)


def measured(path: Path, rows: int, folder: Path, shards: int) -> dict[str, Any]:
    """Ship a file to a site of its own, and search it."""
    with site(folder, shards) as there:
        begun, before = time.monotonic(), there.cpu("gateway", "front")
        arguments = ["ship", str(path), "--once", "--to", there.server.url, "--state", str(folder / "agent")]
        _, agent = run_measured([*NEVE, *arguments, "--service", "bench"])
        there.server.wait_for("*", rows)
        seconds = time.monotonic() - begun
        spent = there.cpu("gateway", "front") - before + agent.cpu
        return {
            "events_per_s": rows / seconds,
            "cpu_us_per_event": spent / rows * 1e6,
            "queries": {name: searched(there, query) for name, query in SEARCHES.items()},
        }


def searched(there: Site, query: str) -> dict[str, float]:
    """Median milliseconds of a search, and the CPU that it takes."""
    there.server.search(query)
    before, took = there.cpu("api", "front"), []
    for _ in range(TIMES):
        begun = time.monotonic()
        answer = there.server.search(query)
        took.append((time.monotonic() - begun) * 1000)
        if not answer["stats"]["complete"]:
            raise RuntimeError(f"cannot trust the answer to {query}: {answer['stats']}")
    cpu = (there.cpu("api", "front") - before) / TIMES * 1000
    return {"median_ms": median(took), "cpu_ms": cpu}


def run(rows: int, folder: Path) -> Report:
    path, _ = corpus.write(folder / "corpus", rows)
    report = Report("cluster", rows)
    for name, shards in (("one-shard", 1), ("two-shards", 2)):
        report.add(name, **measured(path, rows, folder / name, shards))
    one, two = (report.result(name)["cpu_us_per_event"] for name in ("one-shard", "two-shards"))
    report.notes.append(f"two shards take {two / one:.2f} times the CPU of one for an event")
    return report


def main() -> int:
    args = parser("one shard beside two", 1_000_000).parse_args()
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(100_000 if args.quick else args.rows, Path(folder))
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
