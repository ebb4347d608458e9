"""One block, and every filter that somebody watches → what is sent to those who watch it.

Each filter is evaluated once over the block's columns; each event that any of them finds is made into text once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from query import conditions as c
from query.evaluate import Texts, evaluate
from query.events import event_of
from query.tailcursor import Place, write
from query.tiers import HOT
from query.viewers import Chunk
from storage.native.block import SealedBlock
from storage.native.columns import BlockColumns
from storage.native.frames import Buffer
from storage.tags import SHARDS

CHUNK_BYTES = 256 << 10
"""Of what is sent at once, and left out at once."""
TEXTS = ("level", "service", "host", "message")
IDS = ("trace_id", "span_id")
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class TailFilter:
    """What a viewer watches. Equal filters are evaluated together.

    `members`: for each fingerprint that the condition names, all that it finds. `alone`: that is it alone, and nothing
    is said of events that it does not find: some do not exist for who watches.
    """

    namespace: str
    condition: c.Condition
    members: tuple[tuple[int, frozenset[int]], ...] = ()
    alone: bool = False


class Digest:
    """One block that arrived. `places`: where the viewers are, but for its own gateway's `run`.

    `time`: where they are by time, if that is not each event's own.
    """

    def __init__(
        self, data: Buffer, run: str, sequence: int, places: Mapping[str, Place], time: int | None = None
    ) -> None:
        """Raises BlockDamaged."""
        self._time = time
        self._columns = BlockColumns(SealedBlock.parse(data))
        self._texts = Texts(self._columns)
        self._run, self._sequence = run, sequence
        self._places = {**places, run: (sequence, 0)}
        self._made: dict[int, bytes] = {}

    @property
    def rows(self) -> int:
        return self._columns.rows

    def find(self, wanted: TailFilter, first_row: int = 0) -> list[int]:
        """The rows that a filter finds, from `first_row` on. Raises BlockDamaged."""
        mask = evaluate(wanted.condition, self._texts, dict(wanted.members))
        rows: list[int] = pc.indices_nonzero(mask).to_pylist()
        return [row for row in rows if row >= first_row] if first_row else rows

    def find_after(self, wanted: TailFilter, time: int) -> list[int]:
        """The rows that a filter finds and that are later than a time. Raises BlockDamaged."""
        times = self._columns.column("timestamp").to_pylist()
        return [row for row in self.find(wanted) if times[row] > time]

    def encoded(self, rows: list[int], places: Mapping[str, Place]) -> list[bytes]:
        """These rows' events as they are sent by a cursor that does not know their block."""
        return [encode_event(write(event[0], places), event) for event in events_of(self._columns, rows)]

    def chunks(self, rows: list[int]) -> list[Chunk]:
        """These rows' events as they are sent."""
        self.make(rows)
        return list(chunked(self._made[row] for row in rows))

    def make(self, rows: list[int]) -> None:
        """Turn these rows' events into text, those that were not."""
        new = [row for row in rows if row not in self._made]
        for row, event in zip(new, events_of(self._columns, new), strict=True):
            self._made[row] = self._encode(row, event)

    def _encode(self, row: int, event: tuple[Any, ...]) -> bytes:
        self._places[self._run] = (self._sequence, row + 1)
        time = event[0] if self._time is None else self._time
        return encode_event(write(time, self._places), event)


def digest(
    data: Buffer, run: str, sequence: int, places: Mapping[str, Place], filters: Iterable[TailFilter]
) -> dict[TailFilter, list[Chunk]]:
    """What a block holds for each of these filters, which are of its namespace. Raises BlockDamaged."""
    block = Digest(data, run, sequence, places)
    found = {wanted: rows for wanted in filters if (rows := block.find(wanted))}
    # Columns are taken once for all rows that somebody sees: for each filter's by themselves costs several times more.
    block.make(sorted({row for rows in found.values() for row in rows}))
    return {wanted: block.chunks(rows) for wanted, rows in found.items()}


def encode_event(cursor: str, event: tuple[Any, ...]) -> bytes:
    """One event of the stream, of a row as `event_of` takes it."""
    return f"event: log\nid: {cursor}\ndata: {_compact(event_of(event))}\n\n".encode("utf-8", "replace")


def chunked(events: Iterable[bytes]) -> Iterator[Chunk]:
    """Events put together."""
    waiting: list[bytes] = []
    size = 0
    for event in events:
        waiting.append(event)
        size += len(event)
        if size >= CHUNK_BYTES:
            yield Chunk(b"".join(waiting), len(waiting))
            waiting, size = [], 0
    if waiting:
        yield Chunk(b"".join(waiting), len(waiting))


def events_of(columns: BlockColumns, rows: list[int]) -> list[tuple[Any, ...]]:
    """Rows of a block as a search's statement gives them."""
    if not rows:
        return []
    taken = pa.array(rows, pa.int64())
    times = columns.column("timestamp").take(taken).to_pylist()
    fingerprints = columns.column("fingerprint").take(taken).to_pylist()
    texts = [_texts(columns.column(name), taken) for name in (*TEXTS, *IDS)]
    return [
        (time, *shown, fingerprint, trace, span, tags, columns.block_id, row, HOT)
        for time, *shown, trace, span, fingerprint, tags, row in zip(
            times, *texts, fingerprints, _tags(columns, rows), rows, strict=True
        )
    ]


def _texts(values: pa.Array, rows: pa.Array) -> list[str | bytes]:
    if isinstance(values, pa.DictionaryArray):
        names = [decoded(name) for name in values.dictionary.to_pylist()]
        return [names[number] for number in values.indices.take(rows).to_pylist()]
    return binaries(values.take(rows))


def _tags(columns: BlockColumns, rows: list[int]) -> list[dict[str | bytes, str | bytes]]:
    """The tags of each row, in the order that a search has them: by shard.

    Through the arrays' memory: a block has 31 maps, and a call of Arrow for each costs more than a few rows' entries.
    """
    found: list[dict[str | bytes, str | bytes]] = [{} for _ in rows]
    for number in range(SHARDS):
        shard = columns.shard(number)
        if not len(shard.values):
            continue
        names = [decoded(name) for name in shard.names()]
        keys = memoryview(shard.keys.indices.buffers()[1]).cast("I")
        _, offsets, data = shard.values.buffers()
        ends, starts, values = shard.ends, memoryview(offsets).cast("i"), memoryview(data)
        for tags, row in zip(found, rows, strict=True):
            for at in range(ends[row - 1] if row else 0, ends[row]):
                tags[names[keys[at]]] = decoded(bytes(values[starts[at] : starts[at + 1]]))
    return found


def binaries(values: pa.Array) -> list[str | bytes]:
    """The values of a binary array that starts at its buffers' start: text where it is UTF-8."""
    if not len(values):
        return []
    _, ends, data = values.buffers()
    offsets = memoryview(ends).cast("i")[values.offset : values.offset + len(values) + 1]
    whole = bytes(data) if data is not None else b""
    return [decoded(whole[start:end]) for start, end in pairwise(offsets)]


def decoded(value: bytes) -> str | bytes:
    """As the store's driver gives texts: bytes where they are no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
