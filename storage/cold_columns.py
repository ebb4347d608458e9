"""A row of the cold tier → the event that it was when it was hot, in SQL. `cold_schema.py` has the way there.

Whoever searches needs this and no Iceberg library: ClickHouse reads the files.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.schema import TAGS_TYPE
from storage.tags import SHARDS, column_name

TEXTS = ("level", "service", "host", "trace_id", "span_id")
CATEGORIES = ("level", "service", "host")  # LowCardinality in the hot tier, dictionaries on the way
TAGS = tuple(map(column_name, range(SHARDS)))
SIDES = ("fields_raw", "tags_raw")
UNIT_SECONDS = {"day": 86400, "hour": 3600}


def hot_columns(raw: Iterable[str] = SIDES) -> dict[str, str]:
    """Hot column → its SQL over a row `cold` of the cold table, of the very type and value that it had when hot.

    `raw`: which of the side columns SIDES may hold anything, by the snapshot's record.
    """
    sides = set(raw)
    texts = {name: _text(name, sides) for name in TEXTS}
    return {
        "timestamp": "fromUnixTimestamp64Nano("
        "toUnixTimestamp64Micro(cold.timestamp) * 1000 + cold.timestamp_nanos, 'UTC')",
        **{name: f"toLowCardinality({texts[name]})" for name in CATEGORIES},
        "message": "ifNull(cold.message_raw, cold.message)",
        "fingerprint": "reinterpretAsUInt64(cold.fingerprint)",
        "trace_id": texts["trace_id"],
        "span_id": texts["span_id"],
        **{name: _tags(shard, name, sides) for shard, name in enumerate(TAGS)},
        "block_id": "cold.block_id",
        "row": "reinterpretAsUInt32(cold.row)",
        "epoch": "reinterpretAsUInt32(cold.epoch)",
    }


def _text(name: str, sides: set[str]) -> str:
    if "fields_raw" not in sides:
        return f"cold.{name}"
    return f"if(mapContains(cold.fields_raw, '{name}'), cold.fields_raw['{name}'], cold.{name})"


def _tags(shard: int, name: str, sides: set[str]) -> str:
    plain = f"cold.{name}"
    if "tags_raw" in sides:
        mine = f"mapFilter((k, v) -> CRC32(k) % {SHARDS} = {shard}, cold.tags_raw)"
        plain = f"if(empty(cold.tags_raw), cold.{name}, {mine})"
    return tags_cast(plain)


def tags_cast(sql: str) -> str:
    """A map of texts with the type that tags have in the hot tier."""
    return f"CAST({sql}, '{TAGS_TYPE}')"
