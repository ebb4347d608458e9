"""What an event costs in each tier, what it costs to move it, and how long the same searches take in each.

    python -m bench.tiers [--rows N] [--quick] [--json]

Events are shipped to `neve serve` as users ship them, merged, and aged by the server's own ager, on one core, which it
shares with ClickHouse and with whatever else the server does. Then the same searches are asked of the API over three
namespaces with the same events: all hot, all cold, and the later half hot.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench import corpus
from bench.ingest import one_core
from bench.processes import forget_peak
from bench.report import Report, parser
from bench.server import NEVE, Server, run_measured

WARM_UP_LINES = 2000
FOLLOW_SECONDS = 60
REPEATS = 9
HOUR = 3600 * 10**9
START = corpus.START

# name: query, and the hours of the corpus's six that it is asked of; the tiers meet after the third.
SEARCHES = {
    "hour": ("service:svc-connection-api", 2, 3),
    "hour, counted": ("service:svc-connection-api | stats count() by bin(1m), level", 2, 3),
    "rare words": ('"quartz handshake aborted"', 0, 7),
    "tag": ("user_id:u0000997 region:eu-central-1", 0, 7),
    "newest": ("*", 0, 7),
    "counted": ("* | stats count() by service, level", 0, 7),
    "patterns": ("level:error | patterns", 0, 7),
}


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
        fill(server, structured, rows, folder)
        for name, namespace in (("hot, merged", "hot"), ("cold", "default"), ("across", "across")):
            if name == "across":
                report.add(name)
            report.result(name)["queries"] = timed(server, namespace)
    cold = report.result("cold")
    for name in ("hot, as inserted", "hot, merged"):
        report.result(name)["cold_of_it"] = cold["bytes_per_event"] / report.result(name)["bytes_per_event"]
    hour = [report.result(name)["queries"]["hour"]["median_ms"] for name in ("cold", "hot, merged")]
    report.notes.append(f"an hour of a service takes {hour[0] / hour[1]:.2f} times as long cold as hot")
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


def fill(server: Server, path: Path, rows: int, folder: Path) -> None:
    """The same events once more all hot, and once more with the earlier half cold."""
    halves = [folder / "earlier.jsonl", folder / "later.jsonl"]
    with open(path) as lines:
        for half, count in zip(halves, (rows // 2, rows), strict=True):
            with open(half, "w") as out:
                out.writelines(islice(lines, count))
    ship(server, path, folder / "whole", "hot")
    wait_for(server, "hot", rows)
    for number, half in enumerate(halves):
        ship(server, half, folder / half.stem, "across")
        wait_for(server, "across", (rows // 2, rows)[number])
        if number == 0:
            passed(server, "across")
    for namespace in ("hot", "across"):
        server.hot.query(f"OPTIMIZE TABLE neve_{namespace}.events FINAL")


def wait_for(server: Server, namespace: str, rows: int) -> None:
    deadline = time.monotonic() + FOLLOW_SECONDS
    while count(server, namespace) < rows:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"cannot fill {namespace}: {count(server, namespace)} of {rows} events arrived"
            )
        time.sleep(0.1)


def count(server: Server, namespace: str) -> int:
    try:
        return int(server.search("* | stats count() as n", namespace=namespace)["rows"][0][0])
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:  # its first block is on the way
            return 0
        raise


def timed(server: Server, namespace: str) -> dict[str, dict[str, float]]:
    """Each search some times, each time over another range, so that no cache of answers helps."""
    found = {}
    for name, (query, low, high) in SEARCHES.items():
        costs = []
        for step in range(REPEATS + 1):
            shift = step * 1_000_003
            span = {"from": str(START + low * HOUR + shift), "to": str(START + high * HOUR + shift)}
            began = time.perf_counter()
            stats = server.search(query, namespace=namespace, limit=100, **span)["stats"]
            costs.append(((time.perf_counter() - began) * 1000, stats["bytes_read"]))
            if not stats["complete"]:
                raise RuntimeError(f"cannot trust this run: {stats}")
        costs.pop(0)  # reads the files from the disk
        found[name] = {"median_ms": median(ms for ms, _ in costs), "bytes_read": median(b for _, b in costs)}
    return found


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
