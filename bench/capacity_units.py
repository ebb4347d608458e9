"""What one event, one file and one search cost on this machine: the benchmarks' own ways, on two sizes of events."""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pyiceberg.io.pyarrow import PyArrowFileIO
from werkzeug.serving import WSGIRequestHandler, make_server

from bench import corpus, tiers
from bench.capacity_model import Search, Unit, Units
from bench.ingest import one_core
from bench.merges import wait_until_merged
from bench.processes import cost
from bench.profile import Pipeline
from bench.report import machine
from bench.search import HOUR, MIX, Ask, Query, ask, during
from bench.search_load import Constants
from bench.server import NEVE, Server, run_measured

WIDE_LINES, WIDE_TAGS = 20, 4  # lines, and events whose tags it has, of a wide one
TRACES = 60  # shapes of wide messages, as many as of small ones
WIDE = 10
S3_ROWS = 20_000
PUT_BYTES = 96 << 20  # written to see in which parts it goes
# Kinds of `bench.search`'s mix that name a service, by their place in it.
NAMED = (True, False, True, False, False, True, True, True)
KINDS = ("tail of a service, by word", "a user", "what is wrong in a service", "a phrase", "a request",
         "a service by minute", "a count by host", "a ranking")  # fmt: skip
SERVICES = 8  # the busiest, of which those searches take turns


def measure(rows: int, runs: int, folder: Path, say: Callable[[str], None]) -> Units:
    """All unit costs: `rows` small events and a tenth as many wide ones, everything on one core."""
    found: dict[str, dict[int, float]] = {}
    searches: tuple[Search, ...] = ()
    for name, count, events in (
        ("small", rows, corpus.events(rows)),
        ("wide", rows // WIDE, wide(rows // WIDE)),
    ):
        path = write(folder / f"{name}.jsonl", events)
        size = round(path.stat().st_size / count)
        say(f"{count:,} events of {size:,} bytes")
        one, asked = costs(path, count, folder / name, runs if name == "small" else 0)
        for unit, value in one.items():
            found.setdefault(unit, {})[size] = value
        searches = searches or asked
    say("requests to S3")
    units = {name: Unit(name, *SOURCES[name], at) for name, at in found.items()}
    for name, value in s3_requests(folder / "s3").items():
        units[name] = Unit(name, *SOURCES[name], {0: value})
    return Units(units, searches, machine())


SOURCES = {
    "agent_cpu_us": ("CPU µs an event", "bench.ingest"),
    "gateway_cpu_us": ("CPU µs an event", "bench.ingest"),
    "insert_cpu_us": ("CPU µs an event", "bench.ingest"),
    "merge_cpu_us": ("CPU µs an event, each time that it is merged", "bench.capacity, OPTIMIZE"),
    "wire_bytes": ("bytes an event, in a sealed block", "bench.profile"),
    "hot_bytes": ("bytes an event", "bench.tiers"),
    "age_cpu_us": ("CPU µs an event, of the ager and ClickHouse", "bench.tiers"),
    "cold_bytes": ("bytes an event", "bench.tiers"),
    "agent_peak_mib": ("MiB", "bench.ingest"),
    "gateway_peak_mib": ("MiB", "bench.ingest"),
    "clickhouse_peak_mib": ("MiB", "bench.ingest"),
    "ager_peak_mib": ("MiB", "bench.tiers"),
    "s3_requests_per_commit": ("requests for each epoch that is made cold, beside its files", "bench.capacity, moto"),
    "s3_bytes_per_put": ("bytes in each part of a file", "bench.capacity, moto"),
    "s3_gets_per_cold_file": ("requests of a search for each file that it reads", "bench.capacity, moto"),
}  # fmt: skip


def wide(rows: int) -> Iterator[dict[str, object]]:
    """Events of some 5 kB: the lines of a call, of which there are TRACES shapes, and the tags of several events."""
    chance, kinds = random.Random(corpus.SEED), corpus.shapes_of_lines()
    traces = [
        "\n".join([*(chance.choice(kinds)[1] for _ in range(WIDE_LINES)), STACK]) for _ in range(TRACES)
    ]
    drawn, source = corpus.Drawn(chance), corpus.events(rows * WIDE_TAGS)
    while others := list(islice(source, WIDE_TAGS)):
        tags: dict[str, object] = {}
        for number, other in enumerate(others):
            of_it: Any = other["tags"]
            tags |= {f"{key}.{number}" if number else key: value for key, value in of_it.items()}
        yield {**others[0], "message": chance.choice(traces) % drawn, "tags": tags}


STACK = "\n".join(
    f"  at org.example.{a}.{b.title()}Handler.{c}({b.title()}.java:{17 * (i + 1)})"
    for i, (a, b, c) in enumerate(zip(corpus.WORDS, corpus.WORDS[3:], corpus.VERBS * 2, strict=False))
)


def write(path: Path, events: Iterable[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as out:
        out.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in events)
        out.flush()
        os.fsync(out.fileno())
    return path


def costs(path: Path, rows: int, folder: Path, runs: int) -> tuple[dict[str, float], tuple[Search, ...]]:
    """What one event of a file costs from the agent to the cold tier; with `runs`, what searches cost meanwhile."""
    pipeline = Pipeline(path, folder / "spool")
    pipeline.run()
    text = path.with_suffix(".log")
    text.write_text("".join(f"line {number}\n" for number in range(tiers.WARM_UP_LINES)))
    with one_core(), Server(folder / "server") as server:
        tiers.warm_up(server, text, folder)
        before = server.parts()
        arguments = ["ship", str(path), "--once", "--to", server.url, "--state", str(folder / "agent")]
        _, agent = run_measured([*NEVE, *arguments])
        server.wait_for("*", rows)
        after = server.parts()

        def spent(name: str) -> float:
            return (after[name].cpu - before[name].cpu) / rows * 1e6

        found = {
            "agent_cpu_us": agent.cpu / rows * 1e6,
            "gateway_cpu_us": spent("gateway") + spent("front"),
            "insert_cpu_us": spent("clickhouse"),
            "merge_cpu_us": merge(server) / rows * 1e6,
            "wire_bytes": pipeline.packed / pipeline.rows,
            "hot_bytes": tiers.hot_bytes(server) / rows,
            "agent_peak_mib": agent.peak,
            "gateway_peak_mib": after["gateway"].peak,
            "clickhouse_peak_mib": after["clickhouse"].peak,
        }
        searches = searched(server, path, rows, runs) if runs else ()
        aged = tiers.age(server, rows)
        found |= {
            "age_cpu_us": aged["ager_cpu_us_per_event"] + aged["server_cpu_us_per_event"],
            "cold_bytes": aged["bytes_per_event"],
            "ager_peak_mib": aged["peak_ager_mib"],
        }
    return found, searches


def merge(server: Server) -> float:
    """CPU seconds of merging all events once."""
    pid = server.pids()["clickhouse"]
    wait_until_merged([server.hot])
    before = cost(pid).cpu
    server.hot.query("OPTIMIZE TABLE neve_default.events FINAL")
    return cost(pid).cpu - before


def searched(server: Server, path: Path, rows: int, runs: int) -> tuple[Search, ...]:
    """What each kind of `bench.search`'s mix costs over an hour, and over all hours: what is more is of more events."""
    constants = Constants.of(path, rows)
    hour = during(constants)
    everything = {"from": constants.low, "to": constants.high + 1}
    share = served(path)
    few, all_of_them = rows * HOUR / (constants.high - constants.low) / 1e6, rows / 1e6
    found = []
    for name, named, query in zip(KINDS, NAMED, MIX, strict=True):
        near, far = (ask(server, over(query, span), constants, runs)["cpu_ms"] for span in (hour, everything))
        slope = max(0.0, far - near) / (all_of_them - few)
        found.append(Search(name, named, max(0.0, near - slope * few), slope / share if named else slope))
    return tuple(found)


def over(query: Query, span: dict[str, Any]) -> Query:
    """A query of the mix, over a range."""

    def asked(constants: Constants) -> Ask:
        path, parameters = query(constants)
        return path, {**parameters, **span}

    return asked


def served(path: Path) -> float:
    """The share of all events that one of the busiest services has, on average."""
    with open(path) as lines:
        services = Counter(json.loads(line)["service"] for line in islice(lines, 20_000))
    return sum(count for _, count in services.most_common(SERVICES)) / services.total() / SERVICES


# --- S3 ---------------------------------------------------------------------------------------------------


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


class CountedS3:
    """S3 by moto on a free port, which counts requests by method."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        inner = DomainDispatcherApplication(create_backend_app)

        def counted(environ: dict[str, Any], start: Any) -> Any:
            self.asked[environ["REQUEST_METHOD"]] += 1
            return inner(environ, start)

        self._server = make_server("127.0.0.1", 0, counted, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> CountedS3:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        httpx.put(f"{self.url}/bench", trust_env=False).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    @contextmanager
    def during(self) -> Iterator[Counter[str]]:
        """Fills in what was asked meanwhile."""
        before, found = Counter(self.asked), Counter[str]()
        yield found
        found.update(self.asked - before)


def s3_requests(folder: Path) -> dict[str, float]:
    """How many requests files, their parts and cold searches make."""
    with CountedS3() as s3:
        folder.mkdir(parents=True)
        config = folder / "neve.toml"
        said = {
            "endpoint": s3.url,
            "access-key-id": "bench",
            "secret-access-key": "bench",
            "region": "us-east-1",
        }
        keys = {f"s3.{name}": value for name, value in said.items()}
        catalog = "\n".join(f'"{key}" = "{value}"' for key, value in keys.items())
        config.write_text(f'[cold]\nwarehouse = "s3://bench/cold"\n[cold.catalog]\n{catalog}\n')
        path = write(folder / "events.jsonl", corpus.events(S3_ROWS))
        with Server(folder / "server", options=["--config", str(config)]) as server:
            tiers.ship(server, path, folder, "default")
            server.wait_for("*", S3_ROWS)
            with s3.during() as aged:
                steps = tiers.passed(server, "default")
            files = next(step for step in steps if step["step"] == "copy")["text"]
            made = int(files.split(" in ")[1].split()[0])
            server.count('"no such words anywhere"')
            with s3.during() as read:
                server.count('"nor these words"')
        io = PyArrowFileIO(keys)
        with s3.during() as put, io.new_output("s3://bench/parts").create() as out:
            out.write(pa.py_buffer(os.urandom(PUT_BYTES)))
    return {
        "s3_requests_per_commit": float(aged.total() - made),
        "s3_bytes_per_put": PUT_BYTES / max(1, put["PUT"]),
        "s3_gets_per_cold_file": read.total() / made,
    }
