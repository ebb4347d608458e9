"""Live tail under load: 200 viewers of 20 distinct filters, while lines are written to a file that an agent follows.

    python -m bench.tail [--seconds N] [--rate N] [--viewers N] [--quick] [--json]

Each line holds when it was written; a viewer's latency is from there to when its connection had the event: agent,
gateway, evaluation, front door. Every filter finds one line in 200, by tag, number, word, regex or level and prefix, so
which events each viewer must see is known: what is missing and not told as a gap is lost. The same load runs first
without viewers: the difference is what they cost. Exit code 1 when something is lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import quote

from bench.processes import Cost, cost
from bench.report import Report, parser
from bench.server import NEVE, Server

FILTERS, CLASSES = 20, 200
VIEWERS, RATE, SECONDS = 200, 20_000, 30
STEP_SECONDS = 0.05
SETTLE_SECONDS = 30.0
PARTS = ("api", "gateway", "front", "clickhouse")
EVENT = re.compile(rb'"message":"[^"]*number (\d+) written (\d+)')
GAP = re.compile(rb'event: gap\ndata: \{"skipped": (\d+|null)')


def query_of(number: int) -> str:
    """The filter that finds the lines of a class, each kind in turn."""
    kinds = (
        f"lane:lane{number}",
        f"latency_ms:[{1000 + number} TO {1000 + number}]",
        f'"needle{number} found"',
        f"/code=X{number}Y/",
        f"level:error alarm{number}_*",
    )
    return kinds[number % len(kinds)]


def line_of(number: int, now: int) -> str:
    """A JSON line of some 500 bytes with 12 tags."""
    kind = number % CLASSES
    text = f"request done, needle{kind} found, code=X{kind}Y, alarm{kind}_end, number {number} written {now}"
    tags = "".join(f'"tag{place}":"value{(number * 7919 + place) % 997}",' for place in range(10))
    level = "error" if kind < FILTERS else "info"
    return f'{{"level":"{level}","msg":"{text}",{tags}"lane":"lane{kind}","latency_ms":"{1000 + kind}"}}\n'


@dataclass
class Seen:
    """What one viewer was told."""

    filter: int
    numbers: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds
    skipped: int = 0
    untold: int = 0  # gaps without a count

    def take(self, data: bytes) -> None:
        now = time.time_ns()
        for number, written in EVENT.findall(data):
            self.numbers[int(number)] += 1
            self.latencies.append((now - int(written)) / 1e9)
        for count in GAP.findall(data):
            if count == b"null":
                self.untold += 1
            else:
                self.skipped += int(count)


async def view(address: str, seen: Seen) -> None:
    """One connection, read until it is cancelled."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    path = f"/api/v1/tail?q={quote(query_of(seen.filter))}"
    writer.write(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"cannot tail: {head.decode()}")
    waiting = b""
    while True:
        # Chunks of the transfer end anywhere: they are taken off, and events put together again.
        size = int(await reader.readuntil(b"\r\n"), 16)
        whole, mark, waiting = (waiting + (await reader.readexactly(size + 2))[:-2]).rpartition(b"\n\n")
        seen.take(whole + mark)


async def watch(address: str, viewers: int, parent: Connection) -> list[Seen]:
    """All viewers until the parent says so."""
    seen = [Seen(number % FILTERS) for number in range(viewers)]
    tasks = [asyncio.ensure_future(view(address, one)) for one in seen]
    expected = 0
    deadline = None
    parent.send("started")
    while True:
        await asyncio.sleep(0.1)
        for task in tasks:
            if task.done():
                task.result()
        if not expected and parent.poll():
            expected, deadline = parent.recv(), time.monotonic() + SETTLE_SECONDS
        enough = expected and all(len(one.numbers) + one.skipped >= expected // CLASSES for one in seen)
        if enough or (deadline and time.monotonic() > deadline):
            break
    for task in tasks:
        task.cancel()
    return seen


def watch_process(address: str, viewers: int, parent: Connection) -> None:
    seen = asyncio.run(watch(address, viewers, parent))
    parent.send((seen, time.process_time()))


def write(path: Path, rate: int, seconds: float) -> int:
    """Append lines at a steady rate; how many. Whole classes, so that each filter has as many."""
    step = max(1, round(rate * STEP_SECONDS / CLASSES)) * CLASSES
    number, begun = 0, time.monotonic()
    with path.open("a") as file:
        while (passed := time.monotonic() - begun) < seconds:
            if number > passed * rate:
                time.sleep(number / rate - passed)
                continue
            now = time.time_ns()
            file.write("".join(line_of(number + place, now) for place in range(step)))
            file.flush()
            number += step
    return number


def selects(server: Server) -> int:
    """SELECT statements that ClickHouse has run."""
    return int(
        server.hot.query("SELECT value AS v FROM system.events WHERE event = 'SelectQuery'").rows[0][0]
    )


def percentile(values: list[float], share: float) -> float | None:
    """In milliseconds; None where nothing was seen."""
    return round(values[min(len(values) - 1, int(share * len(values)))] * 1000, 1) if values else None


def measure(server: Server, folder: Path, viewers: int, rate: int, seconds: float, report: Report) -> bool:
    """One run; whether nothing is lost or doubled."""
    log = folder / f"{viewers}.log"
    log.touch()
    words = [
        "ship",
        str(log),
        "--service",
        f"tail{viewers}",
        "--to",
        server.url,
        "--state",
        str(folder / f"{viewers}"),
    ]
    agent = subprocess.Popen([*NEVE, *words], stderr=subprocess.DEVNULL)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=watch_process, args=(server.address, viewers, theirs))
    process.start()
    ours.recv()
    wait_for_viewers(server, viewers)
    before, asked = server.parts(), selects(server)
    lines = write(log, rate, seconds)
    after, asked = server.parts(), selects(server) - asked
    ours.send(lines)
    seen, viewers_cpu = ours.recv()
    process.join()
    server.wait_for(f"service:tail{viewers}", lines)
    shipping = cost(agent.pid)
    agent.terminate()
    agent.wait()
    return add(report, seen, lines, seconds, before, after, shipping, viewers_cpu, asked)


def wait_for_viewers(server: Server, viewers: int) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while f"neve_api_tail_viewers {viewers}\n" not in server.client.get("/metrics").text:
        if time.monotonic() > deadline:
            raise RuntimeError(f"cannot start {viewers} viewers")
        time.sleep(0.05)


def add(
    report: Report, seen: list[Seen], lines: int, seconds: float, before: dict[str, Cost], after: dict[str, Cost],
    shipping: Cost, viewers_cpu: float, asked: int,
) -> bool:  # fmt: skip
    """The figures of one run."""
    latencies = sorted(latency for one in seen for latency in one.latencies)
    each = lines // CLASSES
    lost = sum(max(0, each - len(one.numbers) - one.skipped) for one in seen if not one.untold)
    doubled = sum(sum(one.numbers.values()) - len(one.numbers) for one in seen)
    cores = {f"{name}_cores": round((after[name].cpu - before[name].cpu) / seconds, 3) for name in PARTS}
    report.add(
        f"{len(seen)} viewers",
        events_per_s=round(lines / seconds),
        told_per_s=round(len(latencies) / seconds),
        p50_ms=percentile(latencies, 0.5),
        p99_ms=percentile(latencies, 0.99),
        max_ms=percentile(latencies, 1.0),
        **cores,
        agent_cores=round(shipping.cpu / seconds, 3),
        viewers_cores=round(viewers_cpu / seconds, 3),
        api_peak_mib=round(after["api"].peak),
        lost=lost,
        doubled=doubled,
        skipped=sum(one.skipped for one in seen),
        gaps_without_count=sum(one.untold for one in seen),
        selects_per_s=round(asked / seconds, 2),
    )
    return not lost and not doubled


def main() -> int:
    options: argparse.ArgumentParser = parser("Viewers of live tails", RATE * SECONDS)
    options.add_argument("--seconds", type=float, default=SECONDS, help=f"of load, for each run ({SECONDS})")
    options.add_argument("--rate", type=int, default=RATE, help=f"lines a second ({RATE:,})")
    options.add_argument("--viewers", type=int, default=VIEWERS, help=f"at once ({VIEWERS})")
    args = options.parse_args()
    seconds = 8.0 if args.quick else args.seconds
    report = Report("tail", round(args.rate * seconds))
    with (
        tempfile.TemporaryDirectory(prefix="neve-bench-") as folder,
        Server(Path(folder) / "server") as server,
    ):
        sound = [
            measure(server, Path(folder), viewers, args.rate, seconds, report)
            for viewers in (0, args.viewers)
        ]
    report.print(args.json)
    if not all(sound):
        print("missed: events were lost or doubled without a word", file=sys.stderr)
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
