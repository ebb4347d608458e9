"""Where an event's nanoseconds go, hop by hop: the agent's steps one after another, then the server's processes.

    python -m bench.profile [--rows N] [--quick] [--json]

The agent's hops are measured in this process on the agent's own code, block by block; `agent, all` is the CPU time
of a real `neve ship` over the same lines, start of Python and the network included. CPU time, not wall time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import corpus
from bench.report import Report, parser
from bench.server import NEVE, Server, run_measured
from ingest.batch import MAX_BYTES, MAX_ROWS, Labels, add_lines
from ingest.sources.tail import CHUNK_BYTES
from ingest.spool import Spool
from lexer import Carry, Columns
from lexer._lexer import PADDING_BYTES, split_all
from storage.native import frames
from storage.native.block import PACKED_ROWS, SealedBlock, parse_header, seal

SEALED = "seal: id, header, joins"


class Hops:
    """CPU nanoseconds by hop, in the order of the first visit."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        begun = time.process_time_ns()
        yield
        self.spent[name] += time.process_time_ns() - begun


class Pipeline:
    """The agent's way from a file to its spool, and the gateway's look at a block, in one thread."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.hops = Hops()
        self.columns = Columns(max_rows=MAX_ROWS, max_bytes=MAX_BYTES)
        self.spool = Spool(folder)
        self.rows = self.packed = self.blocks = 0

    def run(self) -> None:
        handle = os.open(self.path, os.O_RDONLY)
        buffer, position = memoryview(bytearray(CHUNK_BYTES)), 0
        while True:
            with self.hops.at("read the file"):
                count = os.preadv(handle, [buffer], position)
            with self.hops.at("lex into columns"):
                taken = add_lines(self.columns, Labels(), buffer[:count], Carry(), final=count < CHUNK_BYTES)
            position += taken
            if self.columns.rows and (self.columns.full or not taken):
                self.close_block()
            if not taken and not count:
                break
        os.close(handle)

    def close_block(self) -> None:
        """Seal what is there. The parts of sealing are measured on the same columns, then the whole."""
        with self.hops.at("columns to pieces, offsets packed"):
            pieces = self.columns.chunks(PACKED_ROWS)
        with self.hops.at("LZ4 and checksums"):
            content = list(frames.compress(pieces))
        before = time.process_time_ns()
        data = seal(self.columns, agent_id="bench", sequence=self.blocks + 1, namespace="default")
        self.hops.spent[SEALED] += time.process_time_ns() - before
        header, _ = parse_header(data)
        with self.hops.at("write to the spool, with fsync"):
            self.spool.put([(self.blocks + 1, header.block_id, data)])
        with self.hops.at("gateway: check every frame"):
            SealedBlock.parse(data)
        self.rows += self.columns.rows
        self.packed += sum(len(frame.body) for frame in content)
        self.blocks += 1
        self.columns.reset()

    def settle(self) -> None:
        """Sealing holds its parts: leave what is its own."""
        spent = self.hops.spent
        inside = spent["columns to pieces, offsets packed"] + spent["LZ4 and checksums"]
        spent[SEALED] = max(0, spent[SEALED] - inside)


def split_cost(path: Path) -> float:
    """CPU ns a line of finding and hashing the lines of a part of the file, for scale."""
    with open(path, "rb") as file:
        data = file.read(32 << 20)
    data = data[: data.rfind(b"\n") + 1] + bytes(PADDING_BYTES)
    lines, _ = split_all(data)
    return cpu_ns(lambda: split_all(data)) / lines


def cpu_ns(work: Callable[[], object]) -> int:
    begun = time.process_time_ns()
    work()
    return time.process_time_ns() - begun


def processes(path: Path, rows: int, folder: Path) -> dict[str, float]:
    """CPU ns an event of each real process, from the first byte read to the last event found."""
    with Server(folder) as server:
        before = server.parts()
        ship = ["ship", str(path), "--once", "--to", server.url, "--state", str(folder / "agent")]
        _, agent = run_measured([*NEVE, *ship])
        server.wait_for("*", rows)
        after = server.parts()
    spent = {
        f"{name}, all": after[name].cpu - before[name].cpu for name in ("gateway", "front", "clickhouse")
    }
    return {name: seconds / rows * 1e9 for name, seconds in {"agent, all": agent.cpu, **spent}.items()}


def run(rows: int, folder: Path) -> Report:
    report = Report("profile", rows)
    for kind, path in zip(("json", "text"), corpus.write(folder / "corpus", rows), strict=True):
        pipeline = Pipeline(path, folder / f"spool-{kind}")
        pipeline.run()
        pipeline.settle()
        report.add(f"{kind}: split and hash lines", ns_per_event=split_cost(path))
        for name, spent in pipeline.hops.spent.items():
            report.add(f"{kind}: {name}", ns_per_event=spent / pipeline.rows)
        for name, spent_ns in processes(path, rows, folder / kind).items():
            report.add(f"{kind}: {name}", ns_per_event=spent_ns)
        size = path.stat().st_size / rows
        report.notes.append(
            f"{kind}: {size:.0f} bytes a line, {pipeline.packed / pipeline.rows:.0f} in a sealed block, "
            f"{pipeline.rows / pipeline.blocks:,.0f} events a block"
        )
    return report


def main() -> int:
    args = parser("where an event's time goes, hop by hop", 500_000).parse_args()
    with tempfile.TemporaryDirectory(prefix="neve-bench-") as folder:
        report = run(100_000 if args.quick else args.rows, Path(folder))
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
