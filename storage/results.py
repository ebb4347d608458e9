"""Answers to queries: whole, or as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

from clickhouse_driver.protocol import ServerPacketTypes

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Result:
    """The answer to a query, whole."""

    columns: list[tuple[str, str]]  # name, ClickHouse type
    rows: list[Row]
    rows_read: int
    bytes_read: int
    elapsed_ms: float


class FileReads:
    """What a query read of files that are no parts of tables: the server's progress tells only of rows that were left.

    `rows`: those that filters within the reader of Parquet looked at, once for each step of a filter. `bytes`: what
    came from disk or from S3. Both are 0 unless the query has the setting `send_profile_events`.
    """

    ROWS = ("ParquetRowsFilterExpression",)
    BYTES = ("ReadBufferFromFileDescriptorReadBytes", "ReadBufferFromS3Bytes")
    OF_TABLES = ("ReadCompressedBytes",)  # among what came from disk

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, block: Any) -> None:
        """Take a block of profile events: what was counted since the last one, by thread."""
        names = [name for name, _ in block.columns_with_types]
        for row in block.get_rows():
            said = dict(zip(names, row, strict=True))
            if said["type"] == "increment":
                self._counts[said["name"]] = self._counts.get(said["name"], 0) + said["value"]

    @property
    def rows(self) -> int:
        return self._sum(self.ROWS)

    @property
    def bytes(self) -> int:
        return max(0, self._sum(self.BYTES) - self._sum(self.OF_TABLES))

    def _sum(self, names: tuple[str, ...]) -> int:
        return sum(self._counts.get(name, 0) for name in names)


class QueryStream:
    """The answer to a query as it comes: iterate for lists of rows, use as a context manager to end it early.

    `columns` is known from the start; `rows_read`, `bytes_read`, `files` and `elapsed_ms` grow until the end. It holds
    `resources` (a connection) until it has ended or is closed.
    """

    def __init__(self, packets: Iterator[Any], resources: ExitStack) -> None:
        self.columns: list[tuple[str, str]] = []
        self.files = FileReads()
        self.rows_read = 0
        self.bytes_read = 0
        self._started = time.monotonic()
        self._ended: float | None = None
        self._packets = packets
        self._resources = resources
        self._ahead: list[list[Row]] = []
        self._read_header()

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the query was sent, up to its end."""
        return ((self._ended or time.monotonic()) - self._started) * 1000

    def __iter__(self) -> Iterator[list[Row]]:
        while self._ahead:
            yield self._ahead.pop(0)
        while (rows := self._next_rows()) is not None:
            if rows:
                yield rows

    def __enter__(self) -> QueryStream:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the query, on the server too when it still runs. Harmless when it has ended."""
        if self._ended is None:
            self._ended = time.monotonic()
        self._resources.close()

    def _read_header(self) -> None:
        """Read up to the first block, which names the columns and has no rows as a rule."""
        while not self.columns:
            rows = self._next_rows()
            if rows is None:
                return
            if rows:
                self._ahead.append(rows)

    def _next_rows(self) -> list[Row] | None:
        """Rows of the next packet, perhaps none; None after the last packet."""
        try:
            packet = next(self._packets, None)
        except BaseException:
            self.close()
            raise
        if packet is None:
            self.close()
            return None
        if packet.progress is not None:
            self.rows_read += packet.progress.rows
            self.bytes_read += packet.progress.bytes
        if packet.type == ServerPacketTypes.PROFILE_EVENTS:
            self.files.count(packet.block)
            return []
        return self._rows_of(packet.block) if packet.block is not None else []

    def _rows_of(self, block: Any) -> list[Row]:
        if not self.columns:
            self.columns = list(block.columns_with_types)
        return list(block.get_rows()) if block.num_rows else []
