"""One shard that reads the cold tier beside two that read a part of it each: the same searches, in turn in one run.

    python -m bench.coldshards [--rows N] [--copies N] [--times N] [--s3] [--quick] [--json]

Events of eight days are shipped to a server over two shards and age; then those of one more day come, and stay hot. Of
each cold file there are `--copies`, as if as many times as many events had aged: that is what takes long to make.
Each search is asked of the query engine in this process, over the same two ClickHouse servers, once as if there were
too little to read for two, once for both (pages: by the engine's own rule), in turn; the answers must be the same.
Figures are medians: of milliseconds, of CPU of both servers, and of the one that took more (`busiest`), which is what
two machines would wait for. With `--s3` the cold tier is on an S3 of Python (moto) in a process of its own, which is
slow: it shares the cores too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from bench import corpus
from bench.cluster import START_DAY, of_day, shipped
from bench.processes import cpu_seconds
from bench.report import Report, parser
from bench.sites import Site, site
from bench.tiers import passed
from query import sources
from query.limits import Limits
from query.overview import histogram
from query.patterns import patterns
from query.plan import Plan, make_plan
from query.running import Running
from query.search import search
from query.serving import Gate
from query.tables import run_table
from storage.cold import ColdTier
from storage.cold_config import ColdConfig
from storage.commits import Change, commit
from storage.config import ShardConfig
from storage.parquet import data_file
from storage.published import publish
from storage.shards import Shards
from storage.spreading import Spread

DAYS = 8
TIMES = 5  # that each search is asked; the first answer is left out
PATIENCE_SECONDS = 600.0  # a busy machine is slow, and its CPU counts all the same
KEY, SECRET = "bench", "bench-secret"
NEVER = 1 << 62  # events that a range never has
OWN_RULE = sources.APART_EVENTS
NOW = corpus.START + 20 * 86_400 * 10**9

Work = Callable[[Plan, Running], Any]


def counted(plan: Plan, running: Running) -> Any:
    return sorted(run_table(plan, running, 10_000, None).rows, key=str)


def page(plan: Plan, running: Running) -> Any:
    return search(plan, running).rows


def drawn(plan: Plan, running: Running) -> Any:
    return histogram(plan, running, 60, "service")


def shapes(plan: Plan, running: Running) -> Any:
    return patterns(plan, running, 20, None)


# name: what is asked, how, and of which days of the nine, of which the last is hot
SEARCHES: dict[str, tuple[str, Work, int, int]] = {
    "word": (f'"{corpus.NEEDLE}" | stats count() as n', counted, 0, DAYS),
    "service, level": ("* | stats count() as n by service, level", counted, 0, DAYS),
    "tag": ("* | stats uniq(user_id) as users, p95(bytes) as p by region", counted, 0, DAYS),
    "regex": ("/lease.*refused/ | stats count() as n by service", counted, 0, DAYS),
    "rare page": (f'"{corpus.NEEDLE}"', page, 0, DAYS),
    "newest page": ("*", page, 0, DAYS),
    "a day": ("* | stats count() as n by region", counted, 2, 3),
    "histogram": ("level:error bytes:>500", drawn, 0, DAYS),
    "patterns": ("level:error bytes:>500", shapes, 0, DAYS),
    "across": ("* | stats count() as n by region", counted, 0, DAYS + 1),
    "across, word": (f'"{corpus.NEEDLE}" | stats count() as n', counted, 0, DAYS + 1),
    "across, page": (f'"{corpus.NEEDLE}"', page, 0, DAYS + 1),
}


@contextmanager
def s3() -> Iterator[str]:
    """The address of an S3 with a bucket `lake`."""
    arguments = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        found = next(
            one for line in process.stderr if (one := re.search(r"Running on (http://127\S+)", line))
        )
        httpx.put(f"{found[1]}/lake").raise_for_status()
        # What it says of each request is read away, or it would wait.
        with subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL):
            yield found[1]
            process.terminate()
    finally:
        process.kill()
        process.wait()


def cold_of(folder: Path, endpoint: str) -> ColdConfig:
    """Where the cold tier is, for a site in this folder."""
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db"}
    if not endpoint:
        return ColdConfig(folder / "lake", str(folder / "lake" / "warehouse"), catalog)
    catalog |= {
        "s3.endpoint": endpoint,
        "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET,
        "s3.region": "us-east-1",
    }
    return ColdConfig(folder / "lake", "s3://lake/cold", catalog)


def written(cold: ColdConfig) -> str:
    """The same in a configuration."""
    catalog = "".join(f'"{name}" = "{value}"\n' for name, value in cold.catalog.items())
    return f'[cold]\nwarehouse = "{cold.warehouse}"\ngrace_seconds = 0\n[cold.catalog]\n{catalog}'


def filled(there: Site, path: Path, folder: Path) -> None:
    """Ship eight days, let them age, and ship one more."""
    for day in range(DAYS + 1):
        if day == DAYS:
            passed(there.server, "default")
        shipped(there, of_day(path, day), folder / f"agent-{day}")


def multiplied(there: Site, cold: ColdConfig, copies: int) -> None:
    """So many copies of each cold file in the table, and in what queries read."""
    tier = ColdTier(cold)
    table = tier.catalog.table("default")
    assert table is not None
    more = [copied(table, task.file, n) for task in table.scan().plan_files() for n in range(1, copies)]
    if more:
        commit(table, "copies", lambda _table, record: Change(record, append=tuple(more)))
    pinned = tier.pin("default")
    assert pinned is not None
    for one in there.hots:
        publish(one, pinned)


def copied(table: Table, file: DataFile, number: int) -> DataFile:
    """A data file beside another, with the same events."""
    location = file.file_path.replace(".parquet", f"-{number}.parquet")
    with table.io.new_input(file.file_path).open() as source:
        content = source.read()
    with table.io.new_output(location).create() as target:
        target.write(content)
    metadata = pq.read_metadata(BytesIO(content))
    return data_file(table, location, file.partition[0], len(content), metadata)


@contextmanager
def engine(there: Site, cold: ColdConfig) -> Iterator[Gate]:
    """The query engine over the site's shards."""
    names = enumerate(there.shards, 1)
    configs = [ShardConfig(f"shard{number}", number, one.config) for number, one in names]
    with Shards(configs) as shards:
        while len(shards.alive()) < len(configs):
            time.sleep(0.05)
        yield Gate(Spread(shards), Limits(seconds=PATIENCE_SECONDS), cold)


def asked(there: Site, gate: Gate, times: int) -> dict[str, dict[str, dict[str, float]]]:
    """By who reads, and by search: what it took."""
    found: dict[str, dict[str, dict[str, float]]] = {"one reads": {}, "both read": {}}
    pids = [one.pid for one in there.shards if one.pid is not None]
    for name, (text, work, low, high) in SEARCHES.items():
        took: dict[str, list[tuple[float, list[float], int]]] = defaultdict(list)
        for turn in range(times + 1):
            answers = []
            both = OWN_RULE if work is page else 1
            for reader, least in sorted(
                {"one reads": NEVER, "both read": both}.items(), reverse=turn % 2 == 0
            ):
                sources.APART_EVENTS = least
                running = Running(gate.hot, gate.limits, gate.states)
                plan = make_plan(text, now=NOW, namespace="default", from_=day(low), to=day(high))
                before, begun = [cpu_seconds(pid) for pid in pids], time.monotonic()
                answers.append(running.answer(plan, lambda settled: work(settled, running)))  # noqa: B023
                spent = [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
                if turn:
                    took[reader].append((time.monotonic() - begun, spent, running.bytes_read))
                if running.lacking:
                    raise RuntimeError(f"cannot trust this run: {name} lacks {running.lacking}")
            if answers[0] != answers[1]:
                raise RuntimeError(f"cannot trust this run: answers to {name} differ")
        for reader, each in took.items():
            found[reader][name] = {
                "median_ms": median(seconds for seconds, _, _ in each) * 1000,
                "cpu_ms": median(sum(spent) for _, spent, _ in each) * 1000,
                "busiest_ms": median(max(spent) for _, spent, _ in each) * 1000,
                "bytes_read": median(size for _, _, size in each),
            }
    return found


def day(number: int) -> str:
    return START_DAY.replace(day=START_DAY.day + number).isoformat() + "T00:00:00Z"


def run(rows: int, copies: int, folder: Path, times: int, endpoint: str) -> Report:
    cold = cold_of(folder, endpoint)
    path, _ = corpus.write(folder / "corpus", rows // (DAYS + 1))
    report = Report("coldshards", rows // (DAYS + 1) * (DAYS * copies + 1))
    with site(folder, 2, written(cold)) as there:
        filled(there, path, folder)
        there.merge_all()
        multiplied(there, cold, copies)
        with engine(there, cold) as gate:
            answers = asked(there, gate, times)
    for reader, queries in answers.items():
        report.add(reader, queries=queries)
    first, second = answers.values()
    ratio = {q: {key: second[q][key] / value for key, value in found.items()} for q, found in first.items()}
    report.add("ratio", queries=ratio)
    return report


def main() -> int:
    options = parser("one shard that reads the cold tier beside two", 1_000_000)
    options.add_argument("--s3", action="store_true", help="on a made-up S3, which is slow")
    options.add_argument("--copies", type=int, default=6, help="of each cold file, the first among them")
    options.add_argument("--times", type=int, default=TIMES, help="that each search is asked")
    args = options.parse_args()
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as name:
        folder = Path(name)
        rows, copies, times = (90_000, 2, 2) if args.quick else (args.rows, args.copies, args.times)
        if args.s3:
            with s3() as endpoint:
                report = run(rows, copies, folder, times, endpoint)
        else:
            report = run(rows, copies, folder, times, "")
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
