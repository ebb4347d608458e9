"""How much one query, and all of them together, may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storage.namespace_settings import Settings

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """A query that reaches one of these is answered with what it has, labelled incomplete."""

    seconds: float = 30.0  # the longest that a person waits for a page
    stream_seconds: float = 600.0  # an NDJSON answer of millions of rows is a download, not a page
    rows_read: int = 5_000_000_000  # some minutes of two cores; a stop for what should be narrowed first
    bytes_read: int = 1 << 40  # uncompressed, the same
    memory_bytes: int = (
        2048 * MIB
    )  # of the server, for each query: several fit beside merges on a small machine
    result_rows: int = 10_000  # of a table or page: more is for NDJSON, and no page shows it
    groups: int = 1_000_000  # distinct keys of a `by`, which must fit into memory
    concurrent: int = 6  # running at once; ClickHouse uses every core for each
    waiting: int = 64  # queued behind them: a second or so of work, then 429
    buckets: int = 2_000  # of a histogram: more than a screen has pixels
    context_lines: int = 1_000  # on each side

    def within(self, settings: Settings) -> Limits:
        """The same, where a namespace has closer ones."""
        closer = {
            "seconds": settings.limit("query_seconds"),
            "stream_seconds": settings.limit("query_seconds"),
            "rows_read": settings.limit("query_rows"),
            "bytes_read": settings.limit("query_bytes"),
            "memory_bytes": settings.limit("query_memory_bytes"),
        }
        found = {name: min(getattr(self, name), most) for name, most in closer.items() if most is not None}
        return replace(self, **found) if found else self

    def settings(self, seconds: float, rows_read: int, bytes_read: int) -> Mapping[str, object]:
        """ClickHouse settings of one statement that has this much left of the query's time, rows and bytes."""
        return {
            "readonly": 2,  # no statement of this floor writes
            "max_execution_time": max(seconds, 0.001),
            "timeout_before_checking_execution_speed": 0,
            "max_rows_to_read": max(rows_read, 1),
            "max_bytes_to_read": max(bytes_read, 1),
            "max_memory_usage": self.memory_bytes,
            "max_bytes_before_external_sort": self.memory_bytes // 4,
            "max_bytes_before_external_group_by": self.memory_bytes // 2,
            "precise_float_parsing": 1,  # `>=0.3` must find "0.3"
            "join_use_nulls": 0,
            "transform_null_in": 0,
            "final": 0,
        }


@dataclass(frozen=True)
class Share:
    """What one statement may take of a query's time and rows, and settings of its own."""

    seconds: float
    rows_read: int
    settings: Mapping[str, object]


AT_ONCE = Share(3.0, 1 << 27, {"max_block_size": 8192})
"""For a page out of everything: a tenth of the time, and rows of which a core reads the times in that."""

EAGER: Mapping[str, object] = {"use_skip_indexes_on_data_read": 0}
"""For statements that look everywhere: to ask the indexes first takes half the CPU of asking as granules are read."""

STREAMED: Mapping[str, object] = {"max_block_size": 8192}
"""For answers of any length: a block of 65,000 rows, decoded, is a hundred MiB and more."""

THROW = {"timeout_overflow_mode": "throw", "read_overflow_mode": "throw"}
"""For searches: a window that is cut short is thrown away, since it may lack its newest events."""

BREAK = {"timeout_overflow_mode": "break", "read_overflow_mode": "break"}
"""For aggregates: what was counted until then is an answer, labelled incomplete."""

COLD_SETTINGS = {"s3_retry_attempts": 3, "s3_request_timeout_ms": 10_000, "send_profile_events": 1}
"""For statements that read the cold tier: a store that is away must not use up the time of what is hot, and what is
read of files is in the profile alone."""
