"""Rows of the events table → events as the API shows them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from query.plan import Position
from query.sql import Params
from query.times import to_rfc3339
from storage.tags import SHARDS, column_name, shard_of

ALL_TAGS = f"mapConcat({', '.join(column_name(shard) for shard in range(SHARDS))})"
TEXTS = ("level", "service", "host", "message", "trace_id", "span_id")


def event_columns(tier: str, texts: Mapping[str, str] | None = None, tags: str = ALL_TAGS) -> str:
    """What a SELECT of whole events asks for; `event_of` and `position_of` read its rows.

    `tier`: its SQL. `texts`, `tags`: the SQL of what is shown in place of these columns and of the tags.
    """
    level, service, host, message, trace_id, span_id = ((texts or {}).get(name, name) for name in TEXTS)
    return (
        f"toUnixTimestamp64Nano(timestamp) AS ts, {level} AS l, {service} AS s, {host} AS h, {message} AS m, "
        f"fingerprint AS fp, {trace_id} AS t, {span_id} AS sp, {tags} AS tags, lower(hex(block_id)) AS block, "
        f"row AS r, {tier} AS tier_of_it"
    )


def some_tags(names: Sequence[str] | None, params: Params) -> str:
    """The SQL of those tags alone, for which no other map is read; None: of all."""
    if names is None:
        return ALL_TAGS
    if not names:
        return "CAST(map(), 'Map(String, String)')"
    maps = ", ".join(sorted({column_name(shard_of(name)) for name in names}))
    return f"mapFilter((k, v) -> k IN {params.add(list(names), 'Array(String)')}, mapConcat({maps}))"


EVENT_FIELDS = (
    "id",
    "timestamp",
    "level",
    "service",
    "host",
    "message",
    "fingerprint",
    "trace_id",
    "span_id",
    "tags",
)


def clean(value: Any) -> Any:
    """A text for JSON: bytes that are not UTF-8 become U+FFFD."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def hex_fingerprint(value: int) -> str:
    """The 16 digits that the language takes back."""
    return f"{value:016x}"


def event_id(block_id: str, row: int) -> str:
    return f"{block_id}-{row}"


def position_of(row: tuple[Any, ...]) -> Position:
    """The place of an event in the order of a search."""
    return Position(row[0], row[9], row[10])


def event_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """One event. `message_base64` is there only where the message is not UTF-8, and holds its bytes."""
    ts, level, service, host, message, fingerprint, trace_id, span_id, tags, block_id, number, tier = row
    event = {
        "id": event_id(block_id, number),
        "timestamp": to_rfc3339(ts),
        "level": clean(level),
        "service": clean(service),
        "host": clean(host),
        "message": clean(message),
        "fingerprint": hex_fingerprint(fingerprint),
        "trace_id": clean(trace_id),
        "span_id": clean(span_id),
        "tags": {clean(key): clean(value) for key, value in tags.items()},
        "tier": tier,
    }
    if isinstance(message, bytes):
        event["message_base64"] = base64.b64encode(message).decode()
    return event
