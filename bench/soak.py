"""Everything is killed at random while a log is written and rotated; at the end every line is there once.

    python -m bench.soak [--seconds N] [--rate LINES] [--seed N] [--folder DIR] [--json]

A writer appends numbered lines and rotates its log every few seconds, by renaming or by copying and truncating.
Meanwhile SIGKILL meets the agent (`neve ship`), the gateway, ClickHouse, or `neve serve` and all that belongs to it.
Whoever was killed is started again, by its supervisor or by this program. The check is by identity: the numbers
that are stored are the numbers that were written, each once. The seed decides everything but the clock.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from bench.report import Report, parser
from bench.server import NEVE, Server
from storage.embedded import saved_config
from storage.errors import NeveError
from storage.hot import Hot

ROTATE_SECONDS = (1.0, 5.0)
KILL_SECONDS = (0.5, 6.0)
TICK_SECONDS = 0.02
DRAIN_SECONDS = 180.0
VICTIMS = ("agent", "agent", "gateway", "clickhouse", "server")
FOUND = """
    SELECT count() AS lines, uniqExact(number) AS numbers, max(number) AS last
    FROM (SELECT toUInt64OrNull(extract(message, 'number ([0-9]+)$')) AS number FROM neve_default.events)
"""


class Writer(Thread):
    """A program that writes numbered lines at a rate, and whatever rotates its log."""

    def __init__(self, path: Path, rate: int, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.rate = rate
        self.chance = chance
        self.written = 0
        self.rotations: Counter[str] = Counter()
        self.done = Event()

    def run(self) -> None:
        begun = time.monotonic()
        rotate_at = begun + self.chance.uniform(*ROTATE_SECONDS)
        while not self.done.wait(TICK_SECONDS):
            now = time.monotonic()
            self.write(int((now - begun) * self.rate) - self.written)
            if now >= rotate_at:
                self.rotate()
                rotate_at = now + self.chance.uniform(*ROTATE_SECONDS)

    def write(self, count: int) -> None:
        """Some lines, in writes that end anywhere, also within a line."""
        numbers = range(self.written, self.written + count)
        text = "".join(f"2024-01-31T10:00:00Z some event happened, number {n}\n" for n in numbers)
        self.written += count
        with self.path.open("a") as file:
            while text:
                size = self.chance.randrange(1, 8000)
                file.write(text[:size])
                file.flush()
                text = text[size:]

    def rotate(self) -> None:
        old = self.path.with_name(f"{self.path.name}.{sum(self.rotations.values()) + 1}")
        if self.chance.random() < 0.5:
            self.path.rename(old)
            self.path.touch()
            self.rotations["renamed"] += 1
        else:
            old.write_bytes(self.path.read_bytes())
            os.truncate(self.path, 0)
            self.rotations["copied and truncated"] += 1


@dataclass
class Soak:
    """One run in one folder."""

    folder: Path
    rate: int
    seed: int
    kills: Counter[str] = field(default_factory=Counter)

    def run(self, seconds: float) -> Report:
        """Raises RuntimeError where a line is lost, doubled or late beyond DRAIN_SECONDS."""
        chance = random.Random(self.seed)
        log = self.folder / "app.log"
        log.touch()
        writer = Writer(log, self.rate, random.Random(self.seed + 1))
        self.server = Server(self.folder / "server").__enter__()
        self.start_agent()
        writer.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(chance.uniform(*KILL_SECONDS), max(0.0, end - time.monotonic())))
            self.kill(chance.choice(VICTIMS))
        writer.done.set()
        writer.join()
        drained = self.wait_for(writer.written)
        self.agent.terminate()
        self.agent.wait()
        lines, numbers, last = self.found()
        self.server.__exit__(None, None, None)
        expected = (writer.written, writer.written, writer.written - 1)
        if (lines, numbers, last) != expected:
            raise RuntimeError(
                f"cannot trust the store: {lines} lines with {numbers} numbers up to {last}, written {writer.written}; "
                f"run it again with --seed {self.seed}"
            )
        report = Report("soak", writer.written)
        report.add("neve", lines=lines, lost=0, doubled=0, kills=sum(self.kills.values()), drained_s=drained)
        report.notes.append(
            f"seed {self.seed}; killed: {dict(self.kills)}; rotated: {dict(writer.rotations)}"
        )
        return report

    def start_agent(self) -> None:
        options = ["--to", self.server.url, "--state", str(self.folder / "agent")]
        with open(self.folder / "agent.log", "ab") as out:
            self.agent = subprocess.Popen(
                [*NEVE, "ship", f"{self.folder}/app.log*", *options], stdout=out, stderr=out
            )

    def kill(self, victim: str) -> None:
        """SIGKILL; who has no supervisor is started again at once."""
        self.kills[victim] += 1
        if victim == "agent":
            self.agent.kill()
            self.agent.wait()
            self.start_agent()
        elif victim == "server":
            for pid in (self.server.process.pid, *self.server.pids().values()):
                _kill(pid)
            self.server.__exit__(None, None, None)
            self.server = Server(self.server.folder, self.server.address).__enter__()
        elif (found := self.server.pids().get(victim)) is not None:
            _kill(found)

    def wait_for(self, lines: int) -> float:
        """Wait until all lines are stored; seconds that it took."""
        begun = time.monotonic()
        while (found := self.found()[1]) < lines:  # different ones: doubles must not end the wait
            if time.monotonic() - begun > DRAIN_SECONDS:
                raise RuntimeError(
                    f"cannot find {lines - found} of {lines} lines after {DRAIN_SECONDS:.0f} s; "
                    f"run it again with --seed {self.seed}"
                )
            time.sleep(0.2)
        return time.monotonic() - begun

    def found(self) -> tuple[int, int, int]:
        """Lines stored, different numbers among them, and the highest; zeros while ClickHouse is away."""
        try:
            with Hot(saved_config(self.server.folder / "data" / "clickhouse")) as hot:
                lines, numbers, last = hot.query(FOUND).rows[0]
                return int(lines), int(numbers), int(last or 0)
        except NeveError:
            return 0, 0, 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it went with the one before
        os.kill(pid, signal.SIGKILL)


def main() -> int:
    options = parser("random kills and rotation, then a count by identity", 0)
    options.add_argument("--seconds", type=float, default=600.0)
    options.add_argument("--rate", type=int, default=5000, help="lines a second")
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--folder", type=Path, help="keep everything here")
    args = options.parse_args()
    print(f"seed {args.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="neve-soak-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            report = Soak(folder, args.rate, args.seed).run(30.0 if args.quick else args.seconds)
        except RuntimeError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
