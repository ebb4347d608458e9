"""What an event costs in each tier, and what it costs to move it.

    python -m bench.tiers [--rows N] [--quick] [--json]

Events are shipped to `neve serve` as users ship them, merged, and aged by the server's own ager, on one core, which it
shares with ClickHouse and with whatever else the server does.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import corpus
from bench.ingest import one_core
from bench.processes import forget_peak
from bench.report import Report, parser
from bench.server import NEVE, Server, run_measured

WARM_UP_LINES = 2000
FOLLOW_SECONDS = 60


def run(rows: int, folder: Path) -> Report:
    """Fill a server, age all of it, and look at what it took."""
    structured, text = corpus.write(folder / "corpus", rows)
    report = Report("tiers", rows)
    with one_core(), Server(folder / "server") as server:
        warm_up(server, text, folder)
        ship(server, structured, folder, "default")
        server.wait_for("*", rows)
        report.add("hot, as inserted", bytes_per_event=hot_bytes(server) / rows)
        server.hot.query("OPTIMIZE TABLE neve_default.events FINAL")  # as an hour's epoch is when it ages
        report.add("hot, merged", bytes_per_event=hot_bytes(server) / rows)
        report.add("cold", **age(server, rows))
    cold = report.result("cold")
    for name in ("hot, as inserted", "hot, merged"):
        report.result(name)["cold_of_it"] = cold["bytes_per_event"] / report.result(name)["bytes_per_event"]
    report.notes.append("everything on one core; events_per_s is the copy's, all_events_per_s with commit, comparison "
                        "and drop")  # fmt: skip
    return report


def ship(server: Server, path: Path, folder: Path, namespace: str) -> None:
    options = [
        "--once",
        "--to",
        server.url,
        "--state",
        str(folder / f"agent-{namespace}"),
        "--namespace",
        namespace,
    ]
    run_measured([*NEVE, "ship", str(path), *options, "--service", "bench"])


def warm_up(server: Server, text: Path, folder: Path) -> None:
    """Let the server's ager import and connect, which it does once."""
    head = folder / "head.log"
    with open(text) as lines:
        head.write_text("".join(line for line, _ in zip(lines, range(WARM_UP_LINES), strict=False)))
    ship(server, head, folder, "warm_up")
    deadline = time.monotonic() + FOLLOW_SECONDS
    while hot_bytes(server, "neve_warm_up") == 0 or server.client.get("/cold/ready").status_code != 200:
        if time.monotonic() > deadline:
            raise RuntimeError("cannot warm up: no event arrived")
        time.sleep(0.1)
    passed(server, "warm_up")


def passed(server: Server, namespace: str) -> list[dict[str, Any]]:
    """One pass of the server's ager; its steps."""
    asked = {"namespace": namespace, "now": True, "grace": 0}
    with server.client.stream("POST", "/cold/age", json=asked, timeout=None) as answer:
        steps = [json.loads(line) for line in answer.iter_lines()]
    for step in steps:
        if "error" in step:
            raise RuntimeError(step["error"]["message"])
    return steps


def age(server: Server, rows: int) -> dict[str, Any]:
    """Age everything; what it took."""
    server.hot.open_epoch("default")
    server.hot.epochs.close("default", server.hot.epochs.last("default")[0] - 1, FOLLOW_SECONDS)
    forget_peak(server.pids()["ager"])
    before, began = server.parts(), time.monotonic()
    steps = passed(server, "default")
    seconds, after = time.monotonic() - began, server.parts()
    closing = next(step for step in steps if step["step"] == "close")
    copied = next(step for step in steps if step["step"] == "copy")
    if copied["rows"] != rows or steps[-1]["rows"] != rows or not closing["closed"]:
        raise RuntimeError(f"cannot trust this run: {steps}")
    cpu = {name: (after[name].cpu - before[name].cpu) / rows * 1e6 for name in ("ager", "clickhouse")}
    return {
        "bytes_per_event": file_bytes(server.folder / "data" / "cold" / "warehouse" / "neve" / "default")
        / rows,
        "events_per_s": rows / copied["seconds"],
        "all_events_per_s": rows / (seconds - closing["seconds"]),
        "ager_cpu_us_per_event": cpu["ager"],
        "server_cpu_us_per_event": cpu["clickhouse"],
        "cpu_s_per_million": sum(cpu.values()),
        "peak_ager_mib": after["ager"].peak,
    }


def hot_bytes(server: Server, database: str = "neve_default") -> int:
    """Bytes of the active parts of a namespace's events."""
    sql = "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND table = 'events' AND database = {d:String}"
    return int(server.hot.scalars(sql, {"d": database})[0])


def file_bytes(folder: Path) -> int:
    """Everything in a table's folder: Parquet, manifests and metadata."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    args = parser("cost of an event in each tier, and of its move", 2_000_000).parse_args()
    rows = 200_000 if args.quick else args.rows
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(rows, Path(folder))
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
