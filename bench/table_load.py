"""Events as sealed blocks, and what it costs a server to take them into a table and to merge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.merges import wait_until_merged
from bench.processes import cost, forget_peak
from bench.table_variants import Variant
from lexer import Columns
from storage.embedded import EmbeddedServer
from storage.hot import INSERT_SETTINGS, Hot
from storage.native.block import SealedBlock, seal
from storage.native.connection import NativeConnection

BLOCK_ROWS = 49_152  # of an agent's full block
TOGETHER = 10  # blocks in one INSERT: as many as the inserter takes
SMALL_ROWS = 4_096  # of a block of an agent that has little to say
MERGE_TRIES = 20
RECEIVED = 1_751_400_000_000_000_000  # near the corpus's own times
PIECE = 8 << 20


def block_files(path: Path, folder: Path, shards: int, rows: int = BLOCK_ROWS) -> list[Path]:
    """The events of a file of JSON lines as sealed blocks of up to `rows`, kept in a folder for the next time."""
    target = folder / f"{path.stem}-{shards}-{rows}"
    if not target.exists():
        draft = target.with_suffix(".part")
        draft.mkdir(parents=True)
        for number, data in enumerate(_sealed(path, shards, rows)):
            (draft / f"{number:05d}").write_bytes(data)
        draft.rename(target)
    return sorted(target.iterdir())


def _sealed(path: Path, shards: int, rows: int) -> Iterator[bytes]:
    columns = Columns(shards=shards, max_rows=rows)
    number, rest = 0, b""
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            data = memoryview(rest + piece)
            taken = 0
            while used := columns.add(data[taken:], received_ns=RECEIVED):
                taken += used
                if columns.full:
                    yield seal(columns, agent_id="bench", sequence=number, namespace="bench")
                    columns.reset()
                    number += 1
            rest = bytes(data[taken:])
    if columns.rows:
        yield seal(columns, agent_id="bench", sequence=number, namespace="bench")


@dataclass(frozen=True)
class Taken:
    """What a server spent, and what came of it."""

    cpu: float  # seconds
    peak: float  # MiB resident
    bytes: int
    files: int


class Store:
    """A server, and in its database `bench` the table `events`, made anew for each variant."""

    table = "bench.events"

    def __init__(self, server: EmbeddedServer) -> None:
        assert server.pid is not None
        self.pid = server.pid
        self.hot = Hot(server.config)
        self._config = server.config
        self.hot.execute("CREATE DATABASE IF NOT EXISTS bench")

    def close(self) -> None:
        self.hot.close()

    def make(self, variant: Variant) -> None:
        """The empty table of a variant."""
        self.hot.execute(f"DROP TABLE IF EXISTS {self.table} SYNC")
        self.hot.execute(variant.ddl(self.table))

    def insert(self, variant: Variant, files: Sequence[Path], together: int = TOGETHER) -> Taken:
        """Insert blocks, so many in each INSERT, and merge nothing."""
        self.hot.execute(f"SYSTEM STOP MERGES {self.table}")
        return self._measured(lambda: self._insert(variant, files, together))

    def merge(self) -> Taken:
        """Merge all into one part: about what background merging does to large inserts."""
        self.hot.execute(f"SYSTEM START MERGES {self.table}")
        return self._measured(self._merge)

    def trickle(self, variant: Variant, files: Sequence[Path]) -> Taken:
        """Insert small blocks one by one, while the server merges as it likes, and merge what is left."""

        def run() -> None:
            self._insert(variant, files, 1)
            wait_until_merged([self.hot])
            self._merge()

        return self._measured(run)

    def rows(self) -> int:
        return int(self.hot.scalars(f"SELECT count() AS n FROM {self.table}")[0])

    def _merge(self) -> None:
        """Into one part; what merges by itself meanwhile is left out of the server's first answer, in silence."""
        for _ in range(MERGE_TRIES):
            self.hot.execute(f"OPTIMIZE TABLE {self.table} FINAL")
            sql = "SELECT count() AS n FROM system.parts WHERE active AND database = 'bench' AND table = 'events'"
            if self.hot.scalars(sql)[0] == 1:
                return
            wait_until_merged([self.hot])
        raise RuntimeError(f"cannot merge {self.table} into one part")

    def _insert(self, variant: Variant, files: Sequence[Path], together: int) -> None:
        settings = {**INSERT_SETTINGS, **variant.insert_settings}
        with closing(NativeConnection(self._config)) as connection:
            for start in range(0, len(files), together):
                blocks = [SealedBlock.parse(file.read_bytes()) for file in files[start : start + together]]
                connection.insert_blocks(self.table, blocks, 1, settings)

    def _measured(self, run: Callable[[], None]) -> Taken:
        forget_peak(self.pid)
        before = cost(self.pid).cpu
        run()
        after = cost(self.pid)
        size, files = self.hot.query(
            "SELECT sum(bytes_on_disk) AS n, sum(files) AS f FROM system.parts "
            "WHERE active AND database = 'bench' AND table = 'events'"
        ).rows[0]
        return Taken(after.cpu - before, after.peak, size, files)
