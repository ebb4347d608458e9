"""ClickHouse is away under full input: what is read slows down, senders are turned away, memory stays, nothing is lost.

    python -m bench.backpressure [--seconds N] [--how hang|dead] [--quick] [--json]

An agent follows a file that is longer than it can get rid of, and senders post large bodies, plain and gzipped, as
fast as they are answered. Then ClickHouse stops for `--seconds`: `hang` (SIGSTOP, its port is open) or `dead` (killed,
and nobody starts it). Small quotas for both spools let them fill. Reported are the peaks of memory over that time
(the sum of the peaks of all processes of `neve serve` but ClickHouse, pages that they share counted in each), the
senders' answers, and how much the agent read in each fifth of the time. Afterwards every line that was in the file or
was accepted must be stored once. Exit code 1 when a mark is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from bench.processes import cost, forget_peak
from bench.report import Report, parser
from bench.server import NEVE, Server
from storage import processes

AGENT_MIB, SERVE_MIB = 150, 400
"""The marks."""
FILE_LINES = 1_500_000
BODY_LINES = (2_000, 10_000, 45_000)
SENDERS = 4
WARM_SECONDS = 1.0
DRAIN_SECONDS = 300.0
QUOTA_MIB = 128
"""Of the gateway's spool; the agent's is half of it."""
FIFTHS = 5
_WORDS = (
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau"""
)
WORDS = _WORDS.split()
FOUND = """
    SELECT count() AS lines, uniqExact(number) AS numbers
    FROM (SELECT toUInt64OrNull(extract(message, 'number ([0-9]+)$')) AS number FROM neve_default.events
          WHERE service = {service:String})
"""


def lines(first: int, count: int, chance: random.Random) -> str:
    """JSON lines of some 500 bytes with 12 tags that do not compress to nothing."""
    made = []
    for number in range(first, first + count):
        noise = chance.getrandbits(256)
        tags = ", ".join(
            f'"{word}": "{noise >> (20 * place) & 0xFFFFF:x}"' for place, word in enumerate(WORDS[:12])
        )
        text = f"request done by {WORDS[noise % 19]} for {WORDS[noise % 17]}, number {number}"
        made.append(
            f'{{"time": "2026-11-20T10:00:00.{number % 1000:03d}Z", "level": "info", "msg": "{text}", {tags}}}\n'
        )
    return "".join(made)


class Sender(threading.Thread):
    """Posts numbered lines as fast as they are taken; a body that is turned away is sent again after the pause."""

    def __init__(self, address: str, place: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.zipped = bool(place % 2)
        self.chance = random.Random(seed + place)
        self.next = place * 10**9
        self.accepted = 0
        self.answers: Counter[int] = Counter()
        self.rude = 0  # turned away without a word on when to come back
        self.done = threading.Event()

    def run(self) -> None:
        body, count = b"", 0
        while not self.done.is_set() or body:
            if not body:
                count = self.chance.choice(BODY_LINES)
                text = lines(self.next, count, self.chance).encode()
                body = gzip.compress(text, 1) if self.zipped else text
            status, pause = self.post(body)
            if status == 200:
                self.accepted += count
                self.next += count
                body = b""
            else:
                self.done.wait(pause)  # set, it goes on sending until its last body is taken
                time.sleep(0.05)

    def post(self, body: bytes) -> tuple[int, float]:
        connection = http.client.HTTPConnection(self.address, timeout=120)
        headers = {"content-type": "application/x-ndjson"} | (
            {"content-encoding": "gzip"} if self.zipped else {}
        )
        try:
            connection.request("POST", "/api/v1/ingest?service=sent", body, headers)
            answer = connection.getresponse()
            answer.read()
            after = answer.getheader("retry-after")
            self.rude += answer.status in (429, 503) and after is None
            status = answer.status
        except (OSError, http.client.HTTPException):
            # Turned away before the body was read, and the answer lost with the connection: a sender tries again.
            status, after = 0, "1"
        finally:
            connection.close()
        self.answers[status] += 1
        return status, float(after or 1)


@contextlib.contextmanager
def clickhouse_away(server: Server, how: str) -> Iterator[None]:
    """ClickHouse hangs, or is dead and stays so."""
    pids = server.pids()
    stopped = pids["clickhouse"] if how == "hang" else pids["supervisor"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        if how == "dead":
            os.kill(pids["clickhouse"], signal.SIGKILL)
            processes.wait_end(pids["clickhouse"], 10)
        yield
    finally:
        os.kill(stopped, signal.SIGCONT)


def read_so_far(pid: int) -> int:
    """Bytes that a process has read from anything."""
    said = Path(f"/proc/{pid}/io").read_text()
    return int(said.split("rchar:")[1].split()[0])


def stored(server: Server, service: str, expected: int) -> tuple[int, int]:
    """Wait until so many lines are there; lines and different numbers."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        [(found, numbers)] = server.hot.query(FOUND, {"service": service}).rows
        if numbers >= expected or time.monotonic() > deadline:
            return int(found), int(numbers)
        time.sleep(0.5)


def run(folder: Path, rows: int, seconds: float, how: str) -> Report:
    report = Report("backpressure", rows)
    chance = random.Random(1)
    log = folder / "big.log"
    with log.open("w") as file:
        for first in range(0, rows, 10_000):
            file.write(lines(first, min(10_000, rows - first), chance))
    settings = folder / "neve.toml"
    settings.write_text(f"spool_bytes = {QUOTA_MIB << 20}\n")
    with Server(folder / "server", options=["--config", str(settings)]) as server:
        words = ["ship", str(log), "--service", "file", "--to", server.url, "--state", str(folder / "agent")]
        agent = subprocess.Popen(
            [*NEVE, *words, "--spool-mib", str(QUOTA_MIB // 2)], stderr=subprocess.DEVNULL
        )
        senders = [Sender(server.address, place, 7) for place in range(SENDERS)]
        for sender in senders:
            sender.start()
        time.sleep(WARM_SECONDS)
        watched = {
            **{name: pid for name, pid in server.pids().items() if name != "clickhouse"},
            "agent": agent.pid,
        }
        for pid in watched.values():
            forget_peak(pid)
        before = sum((sender.answers for sender in senders), Counter())
        marks = [read_so_far(agent.pid)]
        with clickhouse_away(server, how):
            for _ in range(FIFTHS):
                time.sleep(seconds / FIFTHS)
                marks.append(read_so_far(agent.pid))
            peaks = {name: cost(pid).peak for name, pid in watched.items()}
            answers = sum((sender.answers for sender in senders), Counter()) - before
        for sender in senders:
            sender.done.set()
        for sender in senders:
            sender.join()
        accepted = sum(sender.accepted for sender in senders)
        found = {"file": stored(server, "file", rows), "sent": stored(server, "sent", accepted)}
        agent.terminate()
        agent.wait()
    serve = sum(peak for name, peak in peaks.items() if name != "agent")
    report.add("agent", peak_mib=peaks["agent"], mark_mib=AGENT_MIB)
    report.add("neve serve", peak_mib=serve, mark_mib=SERVE_MIB)
    for name in ("gateway", "api", "front", "supervisor"):
        report.add(f"  {name}", peak_mib=peaks[name])
    for name, expected in (("file", rows), ("sent", accepted)):
        there, numbers = found[name]
        report.add(f"lines {name}", lines=expected, lost=expected - numbers, doubled=there - numbers)
    said = ", ".join(
        f"{count} x {status or 'connection closed'}" for status, count in sorted(answers.items())
    )
    report.notes.append(
        f"answers to senders meanwhile: {said}; without Retry-After: {sum(s.rude for s in senders)}"
    )
    read = [f"{(b - a) / (1 << 20):,.0f}" for a, b in pairwise(marks)]
    report.notes.append(f"MiB that the agent read in each fifth of {seconds:g} s of {how}: {', '.join(read)}")
    report.results[-1]["rude"] = sum(sender.rude for sender in senders)
    return report


def missed(report: Report) -> list[str]:
    """The marks that were not kept."""
    wrong = [row["name"] for row in report.results if row.get("mark_mib", 1e9) < row.get("peak_mib", 0)]
    return wrong + [
        row["name"] for row in report.results if row.get("lost") or row.get("doubled") or row.get("rude")
    ]


def main() -> int:
    options: argparse.ArgumentParser = parser("ClickHouse is away under full input", FILE_LINES)
    options.add_argument("--seconds", type=float, default=60.0, help="how long it is away (60)")
    options.add_argument("--how", choices=("hang", "dead"), default="hang")
    args = options.parse_args()
    rows, seconds = (400_000, 10.0) if args.quick else (args.rows, args.seconds)
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(Path(folder), rows, seconds, args.how)
    report.print(args.json)
    for name in missed(report):
        print(f"missed: {name.strip()}", file=sys.stderr)
    return 1 if missed(report) else 0


if __name__ == "__main__":
    sys.exit(main())
