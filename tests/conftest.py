"""Fixtures for every test: one real ClickHouse server for the whole run, and blocks made by a plain encoder.

The encoder here is the tests' own and shares nothing with the lexer: it is what the lexer's columns and the
storage of them are checked against.
"""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native.block import SealedBlock, Source, seal
from storage.schema import namespace_database

# A machine may be busy: no test asserts on the clock, nor on how long it takes to draw a case.
settings.register_profile("neve", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("neve")

SHARDS = 31
TAGS = "Map(LowCardinality(String), String)"
LOW = "LowCardinality(String)"


def varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes((*data, number))


def string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(len(data)) + data


def low_cardinality(values: Sequence[str | bytes]) -> bytes:
    """A dictionary with 32-bit keys, without the prefix; nothing at all for no values."""
    if not values:
        return b""
    numbers: dict[str | bytes, int] = {}
    keys = [numbers.setdefault(value, len(numbers)) for value in values]
    index = b"".join(map(string, numbers))
    head = struct.pack("<QQ", 2 | 1 << 9, len(numbers))  # 32-bit keys; additional keys follow
    return head + index + struct.pack(f"<Q{len(keys)}I", len(keys), *keys)


LOW_PREFIX = struct.pack("<Q", 1)


def tag_map(maps: Sequence[Mapping[Any, Any]]) -> bytes:
    ends = list(itertools.accumulate(len(one) for one in maps))
    keys = [key for one in maps for key in one]
    values = b"".join(string(value) for one in maps for value in one.values())
    return LOW_PREFIX + struct.pack(f"<{len(ends)}Q", *ends) + low_cardinality(keys) + values


@dataclass
class PlainColumns:
    """Filled columns, as `lexer.Columns` has them: (name, type, encoded data) each."""

    encoded: list[tuple[str, str, bytes]]
    rows: int
    raw_bytes: int = 0
    min_timestamp: int = 0
    max_timestamp: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    known_templates: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def column_types(self) -> list[tuple[str, str]]:
        return [(name, type_) for name, type_, _ in self.encoded]

    def chunks(self, min_packed: int | None = None) -> list[bytes]:  # noqa: ARG002 - it packs nothing
        return [string(name) + string(type_) + b"\0" + data for name, type_, data in self.encoded]

    def templates(self) -> list[tuple[int, bytes]]:
        return self.known_templates


Event = Mapping[str, Any]


def encode(events: Sequence[Event]) -> PlainColumns:
    """Columns of events: dicts with any of timestamp (ns), level, service, host, message, fingerprint,
    trace_id, span_id and tags; what is missing is 0 or empty."""

    def values(name: str, default: Any = "") -> list[Any]:
        return [event.get(name, default) for event in events]

    def numbers(form: str, name: str) -> bytes:
        return struct.pack(f"<{len(events)}{form}", *values(name, 0))

    def strings(name: str) -> bytes:
        return b"".join(map(string, values(name)))

    def low(name: str) -> bytes:
        return LOW_PREFIX + low_cardinality(values(name))

    shards: list[list[dict[Any, Any]]] = [[{} for _ in events] for _ in range(SHARDS)]
    for row, event in enumerate(events):
        for key, value in event.get("tags", {}).items():
            data = key.encode() if isinstance(key, str) else key
            shards[zlib.crc32(data) % SHARDS][row][key] = value
    times = values("timestamp", 0)
    return PlainColumns(
        [
            ("timestamp", "DateTime64(9, 'UTC')", numbers("q", "timestamp")),
            *((name, LOW, low(name)) for name in ("level", "service", "host")),
            ("message", "String", strings("message")),
            ("fingerprint", "UInt64", numbers("Q", "fingerprint")),
            *((name, "String", strings(name)) for name in ("trace_id", "span_id")),
            *((f"tags_{shard:02d}", TAGS, tag_map(maps)) for shard, maps in enumerate(shards)),
        ],
        rows=len(events),
        min_timestamp=min(times, default=0),
        max_timestamp=max(times, default=0),
    )


@pytest.fixture(scope="session")
def plain_columns() -> Callable[[Sequence[Event]], PlainColumns]:
    """Make filled columns of events."""
    return encode


@pytest.fixture
def make_block(namespace: str) -> Callable[..., SealedBlock]:
    """Make sealed blocks of events, or of columns; each call has the next sequence number."""
    sequences = itertools.count(1)

    def make(
        events: Sequence[Event] | PlainColumns, agent_id: str = "agent", sources: Sequence[Source] = ()
    ) -> SealedBlock:
        columns = events if isinstance(events, PlainColumns) else encode(events)
        data = seal(
            columns,
            agent_id=agent_id,
            sequence=next(sequences),
            namespace=namespace,
            sources=sources,
            rules_version=1,
        )
        return SealedBlock.parse(data)

    return make


MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes; a run takes some hundred MiB


@pytest.fixture(scope="session")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is room for one: a shared server waits for a disk a fifth of its time."""
    if not (os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM):
        yield tmp_path_factory.mktemp("quick")
        return
    for left in MEMORY.glob("neve-tests-*-*"):  # by a run that was killed
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"neve-tests-{os.getpid()}-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def clickhouse(quick_folder: Path) -> Iterator[EmbeddedServer]:
    """A real ClickHouse server that the whole run shares."""
    with EmbeddedServer(quick_folder / "clickhouse") as server:
        yield server


@pytest.fixture(scope="session")
def _second_clickhouse(clickhouse: EmbeddedServer, quick_folder: Path) -> Iterator[EmbeddedServer]:
    folder = quick_folder / "clickhouse-2"
    folder.mkdir()
    for password in clickhouse.data_dir.glob("password*"):
        shutil.copy(password, folder)
    with EmbeddedServer(folder, lake=clickhouse.lake) as server:
        yield server


@pytest.fixture
def second_clickhouse(_second_clickhouse: EmbeddedServer) -> EmbeddedServer:
    """Another server, with the users of the first, that tests may kill; each gets it running."""
    if not _second_clickhouse.alive():
        _second_clickhouse.start()
    return _second_clickhouse


@pytest.fixture(scope="session")
def hot(clickhouse: EmbeddedServer) -> Iterator[Hot]:
    """The hot tier on the shared server, migrated."""
    with Hot(clickhouse.config) as tier:
        tier.migrate()
        yield tier


_namespace_numbers = itertools.count(1)


@pytest.fixture
def namespace(hot: Hot) -> Iterator[str]:
    """The name of a namespace that was just made, for this test alone. It goes: idle ones cost the server much."""
    name = f"test_{next(_namespace_numbers)}"
    hot.create_namespace(name)
    yield name
    hot.execute(f"DROP DATABASE {namespace_database(name)}")
    hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": name})
