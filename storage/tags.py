"""Tag key → shard: the one Python home of the rule.

Tags live in `SHARDS` maps, and a key is always in the map that its CRC-32 names. CRC-32 (IEEE, as in zlib)
because every reader of the data has it: Python, C, ClickHouse (`CRC32`), Spark and Trino.
"""

from __future__ import annotations

import zlib

SHARDS = 31


def shard_of(key: str | bytes, shards: int = SHARDS) -> int:
    """The shard of a tag key, 0 … shards - 1. A str counts as its UTF-8 bytes."""
    data = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
    return zlib.crc32(data) % shards


def column_name(shard: int) -> str:
    """The column of a shard: `tags_07`."""
    return f"tags_{shard:02d}"


def column_of(key: str | bytes, shards: int = SHARDS) -> str:
    """The column that holds a tag key: `tags_07`."""
    return column_name(shard_of(key, shards))
