"""Sealed blocks and files to try the way in with, without a ClickHouse."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import Batch, Labels, Stream
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.sources.files import Files
from lexer import Columns
from storage.native.block import Header, SealedBlock, Source, parse_header, seal

MakeSealed = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture(scope="session")
def sealed() -> MakeSealed:
    """Make `(sequence, block id, data)` of a few lines."""

    def make(
        sequence: int, lines: bytes = b"a line\n", sources: Sequence[Source] = (), agent_id: str = "agent"
    ) -> tuple[int, bytes, bytes]:
        columns = Columns(max_rows=1000, max_bytes=1 << 20)
        columns.add(lines, received_ns=1_700_000_000_000_000_000, final=True)
        data = seal(columns, agent_id=agent_id, sequence=sequence, namespace="default", sources=sources)
        return sequence, SealedBlock.parse(data).header.block_id, data

    return make


class Recorder(Batch):
    """A batch that also keeps what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []

    def add(self, stream: Stream, data: memoryview, *, final: bool = False, flush: bool = False) -> int:
        count = super().add(stream, data, final=final, flush=flush)
        self.taken.append(bytes(data[:count]))
        return count


class Follower:
    """Files, their checkpoints, and a batch for what was read; `restart` is another process over the same state."""

    def __init__(
        self, state: Path, *patterns: Path, once: bool = False, labels: Labels | None = None
    ) -> None:
        self.state = state
        self.labels = labels or Labels()
        self.patterns = [str(pattern) for pattern in patterns]
        self.sequence = 0
        self.waiting: list[Header] = []
        self.open(once=once)

    def open(self, *, once: bool = False) -> None:
        self.checkpoints = Checkpoints(self.state / "checkpoints.json")
        for header in self.waiting:
            self.checkpoints.spooled(header.sources)
        self.counters = Counters()
        self.batch = Recorder()
        self.files = Files(self.patterns, self.checkpoints, self.labels, self.counters, once=once)

    def lines(self, *, scan: bool = True) -> list[str]:
        """What is new, as lines; the patterns are looked through first."""
        if scan:
            self.files.scan()
        self.batch.taken.clear()
        while self.files.read(self.batch) or self.files.behind:
            if self.batch.full:
                self.ship()
        return b"".join(self.batch.taken).decode(errors="surrogateescape").splitlines()

    def ship(self) -> None:
        """Everything read so far arrives."""
        if self.spool() is not None:
            self.arrive(len(self.waiting))

    def spool(self) -> Header | None:
        """Everything read so far is in the spool, and the gateway is away."""
        if not self.batch.rows:
            return None
        self.sequence += 1
        data = seal(
            self.batch.columns,
            agent_id="agent",
            sequence=self.sequence,
            namespace="default",
            sources=self.batch.sources,
        )
        self.batch.reset()
        header = parse_header(data)[0]
        self.waiting.append(header)
        return header

    def arrive(self, blocks: int) -> None:
        """The oldest of what waits arrives."""
        if blocks:
            self.checkpoints.acknowledge(self.waiting[:blocks])
            del self.waiting[:blocks]

    def restart(self, *, once: bool = False) -> None:
        """A killed process's successor: it knows what arrived and what waits in the spool."""
        self.files.close()
        self.open(once=once)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Any]:
    made = []
    (tmp_path / "state").mkdir()

    def make(*patterns: Path, state: Path = tmp_path / "state", **options: Any) -> Follower:
        made.append(Follower(state, *patterns, **options))
        return made[-1]

    yield make
    for one in made:
        one.files.close()
