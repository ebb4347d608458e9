"""The table of the cold tier, and how an event becomes a row of it, exactly. `cold_columns.py` has the way back.

What Iceberg calls a string must be UTF-8, and a log is bytes. So a text that is not UTF-8 is stored twice: readable,
with U+FFFD for what is none, and exactly, in one of three side columns that are empty otherwise:

    message_raw   the message
    fields_raw    those of level, service, host, trace_id and span_id that are not UTF-8, by name
    tags_raw      all tags of an event that has a key or a value that is not UTF-8

Whether a table has any `fields_raw` or `tags_raw` at all is in the record of its snapshots, so that reads of one that
has none pay nothing for them.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    FixedType,
    IcebergType,
    IntegerType,
    LongType,
    MapType,
    NestedField,
    StringType,
    TimestamptzType,
)

from storage.cold_columns import CATEGORIES, SIDES, TAGS, TEXTS, UNIT_SECONDS, tags_cast
from storage.tags import SHARDS

FIELD_ID = b"PARQUET:field_id"

_PLAIN: list[tuple[str, IcebergType, bool, str]] = [
    ("timestamp", TimestamptzType(), True, "Time of the event, to the microsecond"),
    ("timestamp_nanos", IntegerType(), True, "Nanoseconds to add to timestamp, 0 to 999"),
    ("block_id", FixedType(16), True, "With row: the event's id"),
    ("row", IntegerType(), True, "Place within the block of that id"),
    ("epoch", IntegerType(), True, "Ingest epoch; the tiers are told apart by it"),
    ("level", StringType(), True, "Severity, in lower case; empty where none was found"),
    ("service", StringType(), True, "What wrote the event"),
    ("host", StringType(), True, "Where it was written"),
    ("message", StringType(), True, "The line or its message; U+FFFD stands for bytes that are not UTF-8"),
    ("message_raw", BinaryType(), False, "The message's exact bytes, where they are not UTF-8"),
    ("fingerprint", LongType(), True, "Hash of the message's template; the unsigned 64 bits, signed here"),
    ("trace_id", StringType(), True, "Of the trace that it belongs to; empty for none"),
    ("span_id", StringType(), True, "Of the span that it belongs to; empty for none"),
]
_SIDE_DOCS = {
    "fields_raw": "Exact bytes of level, service, host, trace_id, span_id, where they are not UTF-8, by name",
    "tags_raw": "Exact bytes of all tags of an event that has one that is not UTF-8",
}


def iceberg_schema() -> Schema:
    """The schema of a table; the catalog gives the ids, in the order of the fields."""
    ids = iter(range(1000, 2000))
    made = [NestedField(next(ids), name, type_, required, doc) for name, type_, required, doc in _PLAIN]
    for shard, name in enumerate(TAGS):
        type_ = MapType(next(ids), StringType(), next(ids), StringType(), value_required=True)
        doc = f"Tags whose key's CRC-32 modulo {SHARDS} is {shard}"
        made.append(NestedField(next(ids), name, type_, True, doc))
    for name in SIDES:
        key = StringType() if name == "fields_raw" else BinaryType()
        type_ = MapType(next(ids), key, next(ids), BinaryType(), value_required=True)
        made.append(NestedField(next(ids), name, type_, True, _SIDE_DOCS[name]))
    return Schema(*made)


def partition_spec(schema: Schema, unit: str) -> PartitionSpec:
    """By day or hour of the event."""
    source = schema.find_field("timestamp").field_id
    transform: Any = DayTransform() if unit == "day" else HourTransform()
    return PartitionSpec(PartitionField(source, 1000, transform, f"timestamp_{unit}"))


def sort_order(schema: Schema) -> SortOrder:
    """By service, then time, as hot events are."""
    names = ("service", "timestamp")
    return SortOrder(*(SortField(schema.find_field(name).field_id, IdentityTransform()) for name in names))


def unit_of(spec: PartitionSpec) -> str:
    """Whether a table is partitioned by day or by hour."""
    return spec.fields[0].name.removeprefix("timestamp_")


# Bounds of these go into the manifests, where every engine prunes files by them. Bounds of messages and tags say
# nothing, and 31 maps of them would be most of a manifest.
BOUNDED = ("timestamp", "block_id", "epoch", "level", "service", "host", "fingerprint", "trace_id")

PROPERTIES: dict[str, str] = {
    "format-version": "2",
    # pyiceberg would try a commit again with the summary of the first try, whose record may be out of date by then.
    "commit.retry.num-retries": "0",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.metrics.default": "none",
    **{f"write.metadata.metrics.column.{name}": "full" for name in BOUNDED},
    "write.metadata.previous-versions-max": "100",
    "history.expire.max-snapshot-age-ms": str(5 * 86400 * 1000),
}


def arrow_schema(schema: Schema) -> pa.Schema:
    """What the Parquet files have: the fields with their Iceberg ids. Categories and tag keys are dictionaries, as
    ClickHouse has them: hashed once a batch instead of once a row."""
    return pa.schema([_arrow_field(field) for field in schema.fields])


def _arrow_field(field: NestedField) -> pa.Field:
    return _field(field.name, _arrow_type(field), field.field_id, nullable=not field.required)


def _field(name: str, type_: pa.DataType, field_id: int, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=nullable, metadata={FIELD_ID: str(field_id).encode()})


def _arrow_type(field: NestedField) -> pa.DataType:
    type_ = field.field_type
    if field.name in CATEGORIES:
        return CATEGORY
    if isinstance(type_, MapType):
        key = CATEGORY if field.name in TAGS else _SCALARS[type(type_.key_type)]
        return pa.map_(
            _field("key", key, type_.key_id),
            _field("value", _SCALARS[type(type_.value_type)], type_.value_id),
        )
    return pa.binary(16) if isinstance(type_, FixedType) else _SCALARS[type(type_)]


CATEGORY = pa.dictionary(pa.int32(), pa.string())
_SCALARS: dict[type[IcebergType], pa.DataType] = {
    TimestamptzType: pa.timestamp("us", "UTC"),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    StringType: pa.string(),
    BinaryType: pa.binary(),
}


# --- hot → cold -----------------------------------------------------------------------------------------------

_NANOS = "toUnixTimestamp64Nano(e.timestamp)"
_NOTHING = {
    "fields_raw": "CAST(map(), 'Map(String, String)')",
    "tags_raw": "CAST(map(), 'Map(String, String)')",
}


def slot_sql(unit: str) -> str:
    """The number of an event's day or hour since 1970, rounded down before 1970 too."""
    size = UNIT_SECONDS[unit] * 10**9
    return f"toInt64(intDiv({_NANOS} - positiveModulo({_NANOS}, {size}), {size}))"


def cold_select(*, exact: bool) -> dict[str, str]:
    """Cold column → its SQL over a row `e` of the hot table.

    Without `exact` only messages may hold what is not UTF-8; whoever reads the answer has to look.
    """
    found = {
        "timestamp": f"fromUnixTimestamp64Micro(intDiv({_NANOS} - positiveModulo({_NANOS}, 1000), 1000), 'UTC')",
        "timestamp_nanos": f"toInt32(positiveModulo({_NANOS}, 1000))",
        "block_id": "e.block_id",
        "row": "reinterpretAsInt32(e.row)",
        "epoch": "reinterpretAsInt32(e.epoch)",
        **{name: f"e.{name}" for name in TEXTS},
        "message": "toValidUTF8(e.message)",
        "message_raw": "if(isValidUTF8(e.message), NULL, e.message)",
        "fingerprint": "reinterpretAsInt64(e.fingerprint)",
        **{name: f"e.{name}" for name in TAGS},
        **_NOTHING,
    }
    if exact:
        found |= _exact_texts() | _exact_tags()
    return {name: found[name] for name in column_names()}


def column_names() -> list[str]:
    """The cold columns in order."""
    return [*(name for name, *_ in _PLAIN), *TAGS, *SIDES]


def _exact_texts() -> dict[str, str]:
    names = ", ".join(f"'{name}'" for name in TEXTS)
    values = ", ".join(f"CAST(e.{name}, 'String')" for name in TEXTS)
    raw = f"mapFilter((k, v) -> NOT isValidUTF8(v), mapFromArrays([{names}], [{values}]))"
    clean = {name: f"toValidUTF8(CAST(e.{name}, 'String'))" for name in TEXTS}
    clean |= {name: f"toLowCardinality({clean[name]})" for name in CATEGORIES}
    return {**clean, "fields_raw": raw}


def _exact_tags() -> dict[str, str]:
    valid = "arrayAll(t -> isValidUTF8(t), arrayConcat(mapKeys({0}), mapValues({0})))"
    plain = {name: f"CAST(e.{name}, 'Map(String, String)')" for name in TAGS}
    all_valid = " AND ".join(valid.format(one) for one in plain.values())
    keys = ", ".join(f"mapKeys({one})" for one in plain.values())
    values = ", ".join(f"mapValues({one})" for one in plain.values())
    # Two keys may become one readable text: the first stays, the exact ones are all in tags_raw.
    clean = {name: _clean_map(one, valid.format(one)) for name, one in plain.items()}
    every = f"mapFromArrays(arrayConcat({keys}), arrayConcat({values}))"
    return {**clean, "tags_raw": f"if({all_valid}, {_NOTHING['tags_raw']}, {every})"}


def _clean_map(one: str, valid: str) -> str:
    keys = f"arrayMap(k -> toValidUTF8(k), mapKeys({one}))"
    firsts = f"arrayEnumerateUniq({keys})"
    pairs = f"arrayFilter((p, n) -> n = 1, arrayZip({keys}, arrayMap(v -> toValidUTF8(v), mapValues({one}))), {firsts})"
    return tags_cast(f"if({valid}, {one}, CAST({pairs}, 'Map(String, String)'))")
