"""`neve canary`: known lines through the whole path and back, and what became of each.

Lines are numbered and written in small batches, by default into a file that a real agent follows. Searches find out
when every line of a batch is there; at the end all are read back, each by its number. What one batch took is the
time from its write to the answer that has all of it: the pauses between the questions are counted in.
"""

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ingest.errors import UsageError
from ingest.remote import Remote, ServerError
from storage.address import add_address
from storage.errors import NeveError
from storage.metrics import metric
from storage.schema import namespace_database

SERVICE = "neve-canary"
NAMESPACE = "canary"
"""Apart from what is searched by people; every other step is the same."""
BATCH_SECONDS = 0.02
ASK_SECONDS = 0.05
LATE_SECONDS = 2.0
"""The mark: searchable within this."""
PATIENCE_SECONDS = 30.0
"""What is not there so long after the last line is lost."""
NOT_YET = (404, 429, 503)
"""No line came yet, or the server is busy or starting: that is what is measured."""
MAX_RATE = 200_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines `first` to `first + count - 1`, written at once; `written` is by the monotonic clock."""

    number: int
    first: int
    count: int
    written: float
    time_ns: int


@dataclass(slots=True)
class Report:
    """What became of the lines. Times are seconds."""

    rate: int
    seconds: float
    path: str
    written: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    out_of_order: int = 0
    questions: int = 0
    searchable: dict[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return not self.lost and not self.doubled

    def to_json(self) -> dict[str, Any]:
        names = ("rate", "seconds", "path", "written", "found", "lost", "doubled", "late", "out_of_order")
        return {**{name: getattr(self, name) for name in names}, "searchable_s": self.searchable}

    def text(self) -> str:
        times = ", ".join(f"{name} {value:.2f} s" for name, value in self.searchable.items())
        said = [
            f"{self.written:,} lines written at {self.rate:,}/s through the {self.path}, {self.found:,} found",
            f"lost {self.lost:,}, doubled {self.doubled:,}, out of order {self.out_of_order:,}",
            f"searchable after: {times or 'never'}; later than {LATE_SECONDS:.0f} s: {self.late:,}",
        ]
        return "\n".join(said)

    def metrics(self) -> str:
        """For Prometheus's collector of text files."""
        parts = []
        for name in ("written", "found", "lost", "doubled", "late", "out_of_order"):
            help_ = f"lines of the last canary: {name.replace('_', ' ')}"
            parts.append(metric(f"neve_canary_{name}", "gauge", help_, [("", getattr(self, name))]))
        values = [(f'{{quantile="{name}"}}', value) for name, value in self.searchable.items()]
        return "".join(
            [*parts, metric("neve_canary_searchable_seconds", "gauge", "until searchable", values)]
        )


class Writer(threading.Thread):
    """Writes numbered lines at a rate, as a program that logs does. `put` takes the text of one batch."""

    def __init__(self, run: str, rate: int, seconds: float, put: Callable[[bytes], None]) -> None:
        super().__init__(name="canary writer", daemon=True)
        self._run = run
        self._rate = rate
        self._seconds = seconds
        self._put = put
        self.batches: list[Batch] = []
        self.written = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            while (passed := time.monotonic() - began) < self._seconds:
                self._write(int(passed * self._rate) + 1 - self.written)
                time.sleep(BATCH_SECONDS)
            self._write(int(self._seconds * self._rate) - self.written)
        except (NeveError, OSError, httpx.HTTPError) as error:
            self.failure = error

    def _write(self, count: int) -> None:
        if count <= 0:
            return
        batch = Batch(len(self.batches), self.written, count, time.monotonic(), time.time_ns())
        self.written += count
        text = "".join(self._line(batch, place) for place in range(count))
        self._put(text.encode())
        self.batches.append(batch)

    def _line(self, batch: Batch, place: int) -> str:
        """Every line has a time of its own, so that their order can be told."""
        whole, rest = divmod(batch.time_ns + place, 10**9)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        number = batch.first + place
        return f"{when}.{rest:09d}Z INFO canary line run={self._run} batch={batch.number} n={number}\n"


class Watcher:
    """Asks for batches until all of each is found."""

    def __init__(self, server: Remote, namespace: str, run: str, writer: Writer) -> None:
        self._server = server
        self._namespace = namespace
        self._run = run
        self._writer = writer
        self._open: dict[int, Batch] = {}
        self._known = 0
        self.took: list[tuple[float, int]] = []  # seconds, lines
        self.questions = 0

    def watch(self) -> None:
        """Until everything written was found, or nothing more can be hoped for. Raises ServerError, writer's error."""
        deadline = float("inf")
        while time.monotonic() < deadline:
            alive = self._writer.is_alive()
            self._ask()
            if self._writer.failure is not None:
                raise self._writer.failure
            if not alive and deadline == float("inf"):
                deadline = time.monotonic() + PATIENCE_SECONDS
            if not alive and not self._open:
                return
            time.sleep(ASK_SECONDS)

    def _ask(self) -> None:
        fresh = self._writer.batches[self._known :]
        self._known += len(fresh)
        self._open.update((one.number, one) for one in fresh)
        if not self._open:
            return
        oldest = min(self._open)
        found = self._count(oldest, self._open[oldest].time_ns)
        now = time.monotonic()
        for number in [one for one in self._open if found.get(one, 0) >= self._open[one].count]:
            batch = self._open.pop(number)
            self.took.append((now - batch.written, batch.count))

    def _count(self, oldest: int, since_ns: int) -> dict[int, int]:
        query = f"service:{SERVICE} run:{self._run} batch:>={oldest} | stats count() as lines by batch | limit 10000"
        asked = {"q": query, "namespace": self._namespace, "from": str(since_ns)}
        self.questions += 1
        try:
            rows = self._server.get("/api/v1/search", asked)["rows"]
        except ServerError as error:
            if error.status not in NOT_YET:
                raise
            return {}
        return {int(batch): int(lines) for batch, lines in rows}


def quantiles(took: list[tuple[float, int]]) -> dict[str, float]:
    """p50, p99 and max over lines, of (seconds, lines)."""
    total, found = sum(lines for _, lines in took), {}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        passed = 0
        for seconds, lines in sorted(took):
            passed += lines
            if passed >= share * total:
                found[name] = round(seconds, 3)
                break
    return found


def read_back(server: Remote, namespace: str, run: str) -> Iterator[int]:
    """The numbers that can be found, oldest line first. Raises ServerError."""
    asked = {"q": f"service:{SERVICE} run:{run}", "namespace": namespace, "order": "oldest"}
    for event in server.lines("/api/v1/search", asked):
        if "tags" in event:
            yield int(event["tags"]["n"])


def compare(report: Report, numbers: Iterator[int]) -> None:
    """Fill in what was found of the lines 0 to `report.written` - 1."""
    seen = bytearray(report.written)
    before = -1
    for number in numbers:
        report.found += 1
        report.out_of_order += number < before
        before = number
        report.doubled += seen[number]
        seen[number] = 1
    report.lost = report.written - sum(seen)


def run_canary(server: Remote, namespace: str, rate: int, seconds: float, *, direct: bool) -> Report:
    """The whole of it. Raises NeveError, OSError."""
    run = secrets.token_hex(4)
    report = Report(rate, seconds, "api" if direct else "agent")
    with _through_api(server, namespace) if direct else _through_agent(server, namespace) as put:
        writer = Writer(run, rate, seconds, put)
        watcher = Watcher(server, namespace, run, writer)
        writer.start()
        watcher.watch()
        writer.join()
    report.written, report.questions = writer.written, watcher.questions
    report.searchable = quantiles(watcher.took)
    report.late = sum(lines for took, lines in watcher.took if took > LATE_SECONDS)
    compare(report, read_back(server, namespace, run))
    report.late += report.lost
    return report


@contextmanager
def _through_agent(server: Remote, namespace: str) -> Iterator[Callable[[bytes], None]]:
    """A log file with an agent that follows it."""
    with tempfile.TemporaryDirectory(prefix="neve-canary-") as folder:
        log = Path(folder) / "canary.log"
        log.touch()
        words = ["ship", str(log), "--service", SERVICE, "--namespace", namespace, "--to", server.url]
        words += ["--state", str(Path(folder) / "state")]
        said = Path(folder) / "agent.err"
        with said.open("wb") as err, log.open("ab", buffering=0) as file:
            agent = subprocess.Popen([sys.executable, "-P", "-m", "neve", *words], stderr=err, stdout=err)

            def put(text: bytes) -> None:
                if agent.poll() is not None:
                    raise NeveError(f"cannot ship: the agent ended: {said.read_text().strip()}")
                file.write(text)

            try:
                yield put
            finally:
                agent.terminate()
                agent.wait()


@contextmanager
def _through_api(server: Remote, namespace: str) -> Iterator[Callable[[bytes], None]]:
    """Posted, a batch a request."""

    def put(text: bytes) -> None:
        server.send("/api/v1/ingest", {"service": SERVICE, "namespace": namespace, "format": "text"}, text)

    yield put


# --- the command --------------------------------------------------------------------------------------------


def add_commands(subparsers: Any) -> None:
    """Add `canary`."""
    help_ = (
        "write known lines through the whole path, read them back, and count what is lost, doubled or late"
    )
    parser = subparsers.add_parser("canary", help=help_, description=help_)
    parser.add_argument("--rate", type=int, default=100, metavar="N", help="lines a second (100)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long (10)")
    add_address(parser, also_to=True)
    parser.add_argument("--namespace", default=NAMESPACE, help="default: %(default)s")
    parser.add_argument(
        "--direct", action="store_true", help="POST the lines; without it, an agent ships them"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--metrics", action="store_true", help="as Prometheus reads a text file")
    parser.set_defaults(run=run_command)


def run_command(args: argparse.Namespace) -> int:
    """Run; 0 when every line was found once, 1 when not, 2 for wrong use."""
    try:
        if not 0 < args.rate <= MAX_RATE or not 0 < args.seconds <= 86400:
            raise UsageError(
                f"cannot write {args.rate} lines a second for {args.seconds:g} s",
                f"up to {MAX_RATE}/s, a day",
            )
        namespace_database(args.namespace)
        with Remote(args.to) as server:
            server.get("/gateway/status")
            report = run_canary(server, args.namespace, args.rate, args.seconds, direct=args.direct)
    except (NeveError, OSError) as error:
        print(f"neve: {error}", file=sys.stderr)
        return 1 if isinstance(error, (ServerError, OSError)) else 2
    said = report.metrics().rstrip() if args.metrics else report.text()
    print(json.dumps(report.to_json()) if args.json else said)
    return 0 if report.whole else 1
