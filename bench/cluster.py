"""One shard beside two: the same events, the same searches, in turn in one run.

    python -m bench.cluster [--rows N] [--rounds N] [--one-core] [--quick] [--json]

Two sites stand side by side, one over one ClickHouse server, one over two. In each round `neve ship --once` sends a
file to the one, then to the other, and each is let come to rest: until every event is stored and no merge is left. Then
small requests trickle into both for a while, all is merged into a part a server, and each search is asked of both in
turn. CPU is in µs an event, by part; what a site takes by itself, when nobody ships or asks, is taken out of it, and is
`idle_cores`. Figures are medians of rounds. Merges come in few large pieces, and not at the same time on both: they are
of all events until the last merge, which is by itself. What is on one machine shares its cores: the figures that count
are those of CPU, and their ratios. With `--one-core` nothing runs side by side, which costs CPU too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from bench import corpus
from bench.ingest import one_core
from bench.report import Report, parser
from bench.server import NEVE, run_measured
from bench.sites import INSERTS, Site, difference, site

ROUNDS = 3
TRICKLE_SECONDS, TRICKLE_REQUESTS, TRICKLE_LINES = 15.0, 20, 100  # requests a second, lines of each
IDLE_SECONDS = 35.0  # a pass of the ager and more
TIMES = 10  # that each search is asked; the first answer is left out
SEARCH = "/api/v1/search"
ASKED: dict[str, tuple[str, dict[str, str]]] = {
    "count": (SEARCH, {"q": "* | stats count() as n"}),
    "newest": (SEARCH, {"q": "level:error", "limit": "100"}),
    "words": (SEARCH, {"q": f'"{corpus.NEEDLE}"'}),
    "tag": (SEARCH, {"q": "user_id:u0004985"}),
    "top": (SEARCH, {"q": "level:error | top 10 host"}),
    "p95": (SEARCH, {"q": "level:error | stats p95(bytes) as p, count() as n by service"}),
    "histogram": ("/api/v1/histogram", {"q": "level:error", "by": "service"}),
    "patterns": ("/api/v1/patterns", {"q": "level:error"}),
}
START_DAY = datetime.fromtimestamp(corpus.START / 1e9, UTC).date()
PARTS = ("agent", "gateway", "front", "api", "clickhouse", "others")


@dataclass
class Round:
    """What one file took: seconds until it was stored, and until all was at rest; CPU seconds by part."""

    stored: float
    seconds: float
    cpu: dict[str, float]
    events: dict[str, float]


def of_day(path: Path, day: int) -> Path:
    """The same events so many days later: none of one file is at the time of one of another."""
    found = path.with_suffix(f".{day}.jsonl")
    if not found.exists():
        first, other = (START_DAY.replace(day=START_DAY.day + more).isoformat() for more in (0, day))
        with open(path, "rb") as lines, open(found, "wb") as out:
            old, new = (f'"timestamp": "{one}T'.encode() for one in (first, other))
            out.writelines(line.replace(old, new, 1) for line in lines)
    return found


def shipped(there: Site, path: Path, state: Path) -> Round:
    """Send a file, once, and wait until the site is at rest."""
    before, counted, begun = there.cpu(), there.events(), time.monotonic()
    arguments = ["ship", str(path), "--once", "--to", there.server.url, "--state", str(state)]
    _, agent = run_measured([*NEVE, *arguments, "--service", "bench"])
    there.wait_until_stored()
    stored = time.monotonic() - begun
    there.wait_until_merged()
    cpu = {**difference(there.cpu(), before), "agent": agent.cpu}
    return Round(stored, time.monotonic() - begun, cpu, difference(there.events(), counted))


def merged(there: Site) -> float:
    """CPU seconds of making one part a server of all events."""
    before = there.cpu()
    there.merge_all()
    spent = difference(there.cpu(), before)
    return spent["clickhouse"] + spent["merges"]


def trickled(sites: Sequence[Site], path: Path, seconds: float) -> list[Round]:
    """Send small requests to all sites at once, so that each INSERT has few events."""
    with open(path, "rb") as file:
        bodies = [b"".join(islice(file, TRICKLE_LINES)) for _ in range(requests(seconds))]
    if len(set(bodies)) != len(bodies):  # a gateway takes one that comes again for a repetition
        raise RuntimeError("cannot send so many requests: there are not as many lines")
    before, begun = [(one.cpu(), one.events()) for one in sites], time.monotonic()
    for turn, body in enumerate(bodies):
        time.sleep(max(0.0, begun + turn / TRICKLE_REQUESTS - time.monotonic()))
        for one in sites:
            one.server.client.post("/api/v1/ingest", content=body).raise_for_status()
    stored = time.monotonic() - begun
    for one in sites:
        one.wait_until_stored()
        one.wait_until_merged()
    passed = time.monotonic() - begun
    return [
        Round(stored, passed, difference(one.cpu(), cpu), difference(one.events(), events))
        for one, (cpu, events) in zip(sites, before, strict=True)
    ]


def requests(seconds: float) -> int:
    """That trickle in so long."""
    return int(seconds * TRICKLE_REQUESTS)


def asked(sites: Sequence[Site], times: int) -> list[dict[str, list[dict[str, float]]]]:
    """For each site the milliseconds and CPU seconds of each time that each search was asked, of the sites in turn."""
    found: list[dict[str, list[dict[str, float]]]] = [defaultdict(list) for _ in sites]
    for name, (path, parameters) in ASKED.items():
        for turn in range(times + 1):
            for number in in_turn(range(len(sites)), turn):
                there = sites[number]
                before, counted, begun = there.cpu(), there.events(), time.monotonic()
                answer = there.server.client.get(path, params=parameters)
                ms = (time.monotonic() - begun) * 1000
                cpu = difference(there.cpu(), before)
                answer.raise_for_status()
                if not (stats := answer.json()["stats"])["complete"]:
                    raise RuntimeError(f"cannot trust the answer to {name}: {stats}")
                if turn:
                    # What counts the statements has none of its own but one a server.
                    statements = difference(there.events(), counted)["Query"] - len(there.shards)
                    found[number][name].append({"ms": ms, "cpu": sum(cpu.values()), "statements": statements})
    return found


def in_turn(items: Iterable[int], turn: int) -> list[int]:
    """Each has to be first as often as last."""
    listed = list(items)
    return listed if turn % 2 else listed[::-1]


@dataclass
class Idle:
    """What a site takes by itself, a second: cores by part, and statements."""

    cores: dict[str, float]
    statements: float


def idle(sites: Sequence[Site], seconds: float) -> list[Idle]:
    """Of each site, while nobody ships or asks."""
    before, begun = [(one.cpu(), one.events()) for one in sites], time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    found = []
    for one, (cpu, events) in zip(sites, before, strict=True):
        cores = {name: spent / passed for name, spent in difference(one.cpu(), cpu).items()}
        found.append(Idle(cores, difference(one.events(), events)["Query"] / passed))
    return found


def us_an_event(rows: int, rounds: Sequence[Round], idling: Idle) -> dict[str, float]:
    """CPU by part, without merges and without what the site takes by itself."""
    return {
        name: median(
            (one.cpu.get(name, 0.0) - idling.cores.get(name, 0.0) * one.seconds) / rows * 1e6
            for one in rounds
        )
        for name in PARTS
    }


def figures(rows: int, rounds: Sequence[Round], few: int, trickle: Round, idling: Idle) -> dict[str, Any]:
    """Of one site: large files of so many events, of which the first only warms up, and a trickle of a `few` events."""
    parts = us_an_event(rows, rounds[1:], idling)
    small = us_an_event(few, [trickle], idling)
    every, events = [*rounds, trickle], rows * len(rounds) + few
    spent = sum(one.cpu["merges"] - idling.cores["merges"] * one.seconds for one in every)
    parts["merges"] = spent / events * 1e6
    return {
        "events_per_s": median(rows / one.stored for one in rounds[1:]),
        "cpu_us_per_event": sum(parts.values()),
        **{f"{name}_us": spent for name, spent in parts.items()},
        "events_an_insert": rows * len(rounds) / sum(one.events[INSERTS] for one in rounds),
        "merged_rows_an_event": sum(one.events["MergedRows"] for one in every) / events,
        "trickle_us_per_event": sum(small.values()),
        "trickle_inserts": trickle.events[INSERTS],
    }


def idle_figures(idling: Idle) -> dict[str, float]:
    """Of one site that nobody uses."""
    return {
        "idle_cores": sum(idling.cores.values()),
        "idle_clickhouse_cores": idling.cores["clickhouse"] + idling.cores["merges"],
        "idle_statements_per_s": idling.statements,
    }


def searches(found: dict[str, list[dict[str, float]]], idling: Idle) -> dict[str, dict[str, float]]:
    """Medians of each search."""
    cores = sum(idling.cores.values())
    return {
        name: {
            "median_ms": median(one["ms"] for one in took),
            "cpu_ms": median(one["cpu"] * 1000 - cores * one["ms"] for one in took),
            "statements": median(one["statements"] - idling.statements * one["ms"] / 1000 for one in took),
        }
        for name, took in found.items()
    }


def run(
    rows: int, rounds: int, folder: Path, times: int, *, idle_seconds: float, trickle_seconds: float
) -> Report:
    rows //= rounds + 1  # of a file; the first that is sent only warms up
    path, _ = corpus.write(folder / "corpus", rows)
    report = Report("cluster", rows * (rounds + 1))
    names = ("one-shard", "two-shards")
    with ExitStack() as opened:
        sites = [opened.enter_context(site(folder / name, number)) for number, name in enumerate(names, 1)]
        took: list[list[Round]] = [[], []]
        for turn in range(rounds + 1):
            for number in in_turn(range(2), turn):
                one = shipped(sites[number], of_day(path, turn), folder / f"agent-{number}-{turn}")
                took[number].append(one)
                if (found := sites[number].server.count()) != rows * (turn + 1):
                    raise RuntimeError(f"cannot trust this run: {found} events of {rows * (turn + 1)}")
        small = trickled(sites, path, trickle_seconds)
        merging = [merged(one) for one in sites]
        idling = idle(sites, idle_seconds)
        queries = asked(sites, times)
    lines = requests(trickle_seconds) * TRICKLE_LINES
    for name, one, few, last, alone, answers in zip(
        names, took, small, merging, idling, queries, strict=True
    ):
        ingest = figures(rows, one, lines, few, alone) | idle_figures(alone)
        ingest["last_merge_us"] = last / (rows * (rounds + 1) + lines) * 1e6
        report.add(name, **ingest, queries=searches(answers, alone))
    first, second = report.results
    asked_of = {name: ratios(found, second["queries"][name]) for name, found in first["queries"].items()}
    report.add("ratio", **ratios(first, second), queries=asked_of)
    report.notes += list(said(rows, took))
    return report


def ratios(one: dict[str, Any], two: dict[str, Any]) -> dict[str, float]:
    return {key: two[key] / value for key, value in one.items() if isinstance(value, (int, float)) and value}


def said(rows: int, took: Sequence[Sequence[Round]]) -> Iterator[str]:
    """How much the rounds differ."""
    each = [[sum(one.cpu.values()) / rows * 1e6 for one in rounds] for rounds in took]
    found = ", ".join(f"{two / one:.2f}" for one, two in zip(*each, strict=True))
    yield f"rounds, the first to warm up, two shards over one, with what they take by themselves: {found}"


def main() -> int:
    options = parser("one shard beside two", 1_000_000)
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--one-core", action="store_true", help="everything on the first core")
    args = options.parse_args()
    with (
        one_core() if args.one_core else nullcontext(),
        tempfile.TemporaryDirectory(prefix="neve-bench-") as folder,
    ):
        if args.quick:
            report = run(100_000, 2, Path(folder), 2, idle_seconds=3.0, trickle_seconds=2.0)
        else:
            seconds = {"idle_seconds": IDLE_SECONDS, "trickle_seconds": TRICKLE_SECONDS}
            report = run(args.rows, args.rounds, Path(folder), TIMES, **seconds)
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
