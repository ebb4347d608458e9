"""A batch: columns being filled from several streams, and which bytes of which stream are in them.

Sealed when the columns are full (rows or bytes, the lexer's bounds) or a second old, whichever comes first.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lexer import Carry, Columns, Multiline, Redaction
from storage.native.block import Source

MAX_ROWS = 49152
"""About 25 MiB of columns, of which an agent holds two. The inserter puts blocks together for ClickHouse."""
MAX_BYTES = 48 << 20
"""Of lines in memory, where they are long."""
MAX_AGE_SECONDS = 1.0
"""A quiet file's lines wait so long at most; half of the two seconds until they are searchable."""
DEFAULT_NAMESPACE = "default"
"""Where lines go when nobody names a namespace."""

Format = Literal["auto", "text", "json", "logfmt"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What every line of a stream gets unless the line itself says otherwise."""

    service: str = ""
    host: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    format: Format = "auto"
    multiline: Multiline | None = None  # which lines are one record; None: every line is
    container: bool = False  # a container runtime may have put time and stream before each line


def add_lines(
    columns: Columns, labels: Labels, data: memoryview, carry: Carry, *, final: bool, flush: bool = False
) -> int:
    """Take whole records of `data`, received now; return the bytes taken. `carry` is that of what they come from."""
    return columns.add(
        data,
        service=labels.service,
        host=labels.host,
        tags=labels.tags,
        received_ns=time.time_ns(),
        format=labels.format,
        final=final,
        flush=flush,
        multiline=labels.multiline,
        carry=carry,
        container=labels.container,
    )


class Stream(Protocol):
    """Something that bytes come from in order."""

    labels: Labels
    carry: Carry

    def source(self, start: int, end: int) -> Source:
        """Name the bytes [start, end) that were read; asked for soon after, in the reading thread."""


class Batch:
    """Columns and the ranges in them. Filled by one thread, sealed by another, used again."""

    def __init__(self, redaction: Redaction | None = None) -> None:
        self.columns = Columns(max_rows=MAX_ROWS, max_bytes=MAX_BYTES, redaction=redaction)
        self._sources: dict[Stream, list[Source]] = {}
        self._opened = 0.0

    def add(self, stream: Stream, data: memoryview, *, final: bool = False, flush: bool = False) -> int:
        """Take whole records of `data`; return the bytes taken, which the caller tells `cover` about.

        `flush` also takes a last record that more lines may belong to, `final` a last line that has no
        newline. Stops early when full.
        """
        taken = add_lines(self.columns, stream.labels, data, stream.carry, final=final, flush=flush)
        self.opened()
        return taken

    def opened(self) -> None:
        """Records were added to `columns` itself: from now on it may become due."""
        if not self._opened and self.columns.rows:
            self._opened = time.monotonic()

    def cover(self, stream: Stream, start: int, end: int) -> None:
        """Record that [start, end) of `stream` is in the columns; ranges that touch become one."""
        ranges = self._sources.setdefault(stream, [])
        if ranges and ranges[-1].end == start:
            start = ranges.pop().start
        ranges.append(stream.source(start, end))

    @property
    def full(self) -> bool:
        return self.columns.full

    @property
    def rows(self) -> int:
        return self.columns.rows

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(one for ranges in self._sources.values() for one in ranges)

    def time_left(self, now: float | None = None) -> float:
        """Seconds until it is due by age; MAX_AGE_SECONDS while it is empty."""
        if not self._opened:
            return MAX_AGE_SECONDS
        return max(0.0, self._opened + MAX_AGE_SECONDS - (time.monotonic() if now is None else now))

    def due(self) -> bool:
        """Should it be sealed now?"""
        return self.full or (self.rows > 0 and self.time_left() == 0.0)

    def reset(self) -> None:
        """Empty it for the next round."""
        self.columns.reset()
        self._sources.clear()
        self._opened = 0.0
