"""Events from a file into the store, end to end, beside what else puts the same events into ClickHouse.

    python -m bench.ingest [--rows N] [--runs N] [--quick] [--json] [--plot FILE]

Neve: `neve ship --once` reads the file, seals blocks into its fsynced spool and sends them to `neve serve`, whose
gateway fsyncs them again and inserts them into the real table, with every index, shard and rollup. The time ends
when all events can be found. The client's CPU is that of agent, gateway and front door. The baselines insert the
same JSON lines into a table with one Map column, without fsync, into the same kind of server.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench import corpus
from bench.baselines import BASELINES, TABLE
from bench.plot import bars
from bench.processes import cost
from bench.report import Report, parser
from bench.server import NEVE, Server, run_measured
from storage import embedded_files
from storage.embedded import EmbeddedServer
from storage.hot import Hot

CLIENT_PARTS = ("gateway", "front")


def neve(path: Path, rows: int, folder: Path) -> dict[str, Any]:
    """Ship a file to a fresh server."""
    with Server(folder) as server:
        before = server.parts()
        begun = time.monotonic()
        arguments = ["ship", str(path), "--once", "--to", server.url, "--state", str(folder / "agent")]
        _, agent = run_measured([*NEVE, *arguments, "--service", "bench"])
        server.wait_for("*", rows)
        seconds = time.monotonic() - begun
        after = server.parts()
        spent = {name: after[name].cpu - before[name].cpu for name in after}
        client = agent.cpu + sum(spent[name] for name in CLIENT_PARTS)
        return {
            **figures(path, rows, seconds, client, spent["clickhouse"]),
            "agent_cpu_us_per_event": agent.cpu / rows * 1e6,
            "gateway_cpu_us_per_event": sum(spent[name] for name in CLIENT_PARTS) / rows * 1e6,
            "bytes_per_event": server.bytes_on_disk() / rows,
            "peak_client_mib": max(agent.peak, after["gateway"].peak),
            "peak_agent_mib": agent.peak,
        }


def baseline(name: str, path: Path, rows: int, folder: Path) -> dict[str, Any]:
    """Run a baseline against a fresh server."""
    with EmbeddedServer(folder / "clickhouse") as server:
        assert server.pid is not None
        hot = Hot(server.config)
        hot.query(TABLE)
        before = cost(server.pid)
        port = embedded_files.read_record(server.data_dir).http_port
        arguments = [sys.executable, "-m", "bench.baselines", name, server.config.url(), str(port), str(path)]
        seconds, client = run_measured(arguments)
        spent = cost(server.pid).cpu - before.cpu
        found = hot.query("SELECT count() AS n FROM baseline").rows[0][0]
        size = hot.query(
            "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND table = 'baseline'"
        )
        hot.close()
        if found != rows:
            raise RuntimeError(f"cannot trust this run of {name}: {found} events stored, {rows} sent")
        return {
            **figures(path, rows, seconds, client.cpu, spent),
            "bytes_per_event": size.rows[0][0] / rows,
            "peak_client_mib": client.peak,
        }


@contextmanager
def one_core() -> Iterator[None]:
    """Everything that is started meanwhile shares the first core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def figures(path: Path, rows: int, seconds: float, client: float, server: float) -> dict[str, Any]:
    return {
        "events_per_s": rows / seconds,
        "mb_per_s": path.stat().st_size / seconds / 1e6,
        "client_cpu_us_per_event": client / rows * 1e6,
        "server_cpu_us_per_event": server / rows * 1e6,
    }


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""
    return {key: median(run[key] for run in runs) for key in runs[0]}


def run(rows: int, runs: int, folder: Path, names: list[str]) -> Report:
    structured, text = corpus.write(folder / "corpus", rows)
    report = Report("ingest", rows)
    for name, path in (("neve", structured), ("neve-text", text)):
        report.add(name, **middle([neve(path, rows, folder / f"{name}-{i}") for i in range(runs)]))
    with one_core():
        report.add("neve-one-core", **neve(structured, rows, folder / "neve-one-core"))
    for name in names:
        report.add(
            name, **middle([baseline(name, structured, rows, folder / f"{name}-{i}") for i in range(runs)])
        )
    ours = report.result("neve")["client_cpu_us_per_event"]
    for row in report.results:
        row["client_cpu_times_neve"] = row["client_cpu_us_per_event"] / ours
    report.notes.append(f"JSON lines of {structured.stat().st_size / rows:.0f} bytes, text lines of "
                        f"{text.stat().st_size / rows:.0f}; medians of {runs}")  # fmt: skip
    return report


def main() -> int:
    options = parser("cost of ingest, end to end", 2_000_000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--baselines", nargs="*", choices=list(BASELINES), default=list(BASELINES))
    options.add_argument("--plot", type=Path, help="write a bar chart (.svg or .png)")
    args = options.parse_args()
    rows, runs = (100_000, 1) if args.quick else (args.rows, args.runs)
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(rows, runs, Path(folder), args.baselines)
    report.print(args.json)
    if args.plot:
        totals = [
            (r["name"], r["client_cpu_us_per_event"] + r["server_cpu_us_per_event"]) for r in report.results
        ]
        bars(args.plot, "CPU µs an event, client and server", totals, log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
