"""The tables of the hot tier: which columns they have and the DDL that makes them.

The database `neve` holds what belongs to no namespace; each namespace has a database of its own,
`neve_<name>`. Every name that goes into DDL comes from here or has passed `namespace_database`, so no SQL is
made of user input.
"""

from __future__ import annotations

import re

from storage.errors import NeveError
from storage.tags import SHARDS, column_name

SCHEMA_VERSION = 1
SYSTEM_DATABASE = "neve"

# --- the event -------------------------------------------------------------------------------------------

TIMESTAMP_TYPE = "DateTime64(9, 'UTC')"
NANOS = "toUnixTimestamp64Nano(timestamp)"
MINUTE_NANOS = 60 * 10**9
TAGS_TYPE = "Map(LowCardinality(String), String)"

CONTENT_COLUMNS: list[tuple[str, str]] = [
    ("timestamp", TIMESTAMP_TYPE),
    ("level", "LowCardinality(String)"),
    ("service", "LowCardinality(String)"),
    ("host", "LowCardinality(String)"),
    ("message", "String"),
    ("fingerprint", "UInt64"),
    ("trace_id", "String"),
    ("span_id", "String"),
    *((column_name(shard), TAGS_TYPE) for shard in range(SHARDS)),
]
"""What the lexer's column builders make."""

BLOCK_COLUMNS: list[tuple[str, str]] = [("block_id", "FixedString(16)"), ("row", "UInt32")]
"""What the sealer appends: together the event's id."""

EPOCH_COLUMN = ("epoch", "UInt32")
"""What the inserter appends."""

EVENT_COLUMNS: list[tuple[str, str]] = [*CONTENT_COLUMNS, *BLOCK_COLUMNS, EPOCH_COLUMN]

# Delta where neighbours in sort order are near one another; the rest is the server's choice (LZ4 for what was
# just inserted, ZSTD once merged), because an explicit ZSTD would be paid at every insert.
CODECS = {"timestamp": "Delta(8), Default", "row": "Delta(4), Default"}

# What is inserted stays in one file (compact) instead of some 350 (wide, 31 maps). What is merged becomes wide,
# because only then are columns merged one by one; row by row, maps cost five times as much (measured: 30 µs of
# CPU an event with merges to compact parts, 8 with these settings).
PART_SHAPE = (
    "min_level_for_wide_part = 1, min_bytes_for_wide_part = 10485760, "
    "vertical_merge_algorithm_min_rows_to_activate = 16384"
)

# A page of events is 31 maps of rows that lie apart: what must be unpacked for each row decides what it costs.
# Of 8,192 rows and the server's blocks of 64 KiB, a page of 100 whole events took twice the CPU
# (docs/decisions/005).
GRANULES = "index_granularity = 2048, min_compress_block_size = 16384"

# How many insert tokens a table remembers. Deduplication by token only saves work (see hot.py), so this
# covers a retry within the last minutes, no more.
DEDUPLICATION_WINDOW = 1000

# In a map, the sizes of strings stay with the strings: 8 % fewer bytes as inserted, 60 fewer files in a wide part,
# and a tag is read in a sixth less time (docs/decisions/005). A message's sizes are apart; `message != ''` reads
# them alone.
STRING_SIZES = "propagate_types_serialization_versions_to_nested_types = 0"

DURABLE = (
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    # A merge replaces parts that were synced, so it must be as durable as they were.
    "min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1"
)
DEDUPLICATED = f"non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"

# The driver reads sparse columns less surely than plain ones, and what would be sparse compresses to nothing.
NOT_SPARSE = "ratio_of_defaults_for_sparse_serialization = 1"

# --- the indexes of events ----------------------------------------------------------------------------------

# What is indexed of a message: its runs of ASCII letters and digits, in lower case. All else ends a run; so a
# word may be looked for by its ASCII runs whatever stands beside it: letters of any script, bytes that are no UTF-8.
# The server finds an index by its expression's text, and inside `indexHint` it writes constants and aliases
# otherwise: hence `isValidASCII` for `isASCII`, and the lambda around what needs constants.
WORDS_TEXT = (
    "lower(if(isValidASCII(message), message, arrayStringConcat(arrayMap("
    "text -> replaceRegexpAll(toValidUTF8(text), '[^ -~]+', ' '), array(message)))))"
)

# A bloom filter only rules granules out. 8 KiB is four bytes a row: for messages of 150 bytes, at which one in
# some fifty granules without the word is read in vain.
WORDS_INDEX = f"{WORDS_TEXT} TYPE tokenbf_v1(8192, 3, 0) GRANULARITY 1"
# Scripts without spaces have no words to index; what is known of them is which two characters stand side by side in
# messages that are not ASCII. A message that is costs a look at its bytes, and a granule of those an empty filter.
# Characters of three bytes or more, as these are, come whole out of `toValidUTF8` wherever broken ones stand.
NOT_ASCII = "arrayFilter(text -> NOT isValidASCII(text), array(message))"
PAIRS_TEXT = f"arrayStringConcat(arrayMap(text -> toValidUTF8(text), {NOT_ASCII}))"
PAIRS_INDEX = f"{PAIRS_TEXT} TYPE ngrambf_v1(2, 16384, 2, 0) GRANULARITY 1"
TAG_INDEX = "mapValues({map}) TYPE bloom_filter(0.01) GRANULARITY 1"

# By name. An index whose definition changes gets a new name, so that parts written before are not misread.
INDEXES: dict[str, str] = {
    "timestamp_minmax": "timestamp TYPE minmax GRANULARITY 1",
    "block_id_bloom": "block_id TYPE bloom_filter(0.001) GRANULARITY 1",
    "message_words": WORDS_INDEX,
    "fingerprint_bloom": "fingerprint TYPE bloom_filter(0.01) GRANULARITY 1",
    "trace_id_bloom": "trace_id TYPE bloom_filter(0.01) GRANULARITY 1",
    **{f"{name}_values": TAG_INDEX.format(map=name) for name in map(column_name, range(SHARDS))},
}

LATER_INDEXES: dict[str, str] = {"message_pairs": PAIRS_INDEX}
"""Those of a later migration."""

REBUILT_ROLLUP = "rollup_rebuilt"
"""The table where an epoch is counted anew before it takes the place of the old counts."""

REBUILT_COUNTS = "counts_rebuilt"
"""The same for `counts`."""

KEPT_EVENTS = "events_kept"
"""The table where the events of an epoch that stay are written, before they take the place of all."""

FENCE = "closed_"
"""Starts the name of the constraint on `events` that refuses the rows of closed epochs; the highest of them follows."""

NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,47}", re.ASCII)


def namespace_database(namespace: str) -> str:
    """The database of a namespace. A name that could not be one is a NeveError."""
    if not NAMESPACE.fullmatch(namespace):
        raise NeveError(
            f"cannot use namespace: {namespace!r}",
            "use up to 48 lower-case letters, digits and _, starting with a letter",
        )
    return f"{SYSTEM_DATABASE}_{namespace}"


def _column(name: str, type_: str) -> str:
    codec = f" CODEC({CODECS[name]})" if name in CODECS else ""
    return f"`{name}` {type_}{codec}"


def events_table(database: str) -> str:
    """The table of events as migration 1 makes it; `choose_events_table` does the rest.

    A partition is an ingest epoch; the sort key prunes by service, then time.
    """
    columns = ",\n  ".join(_column(name, type_) for name, type_ in EVENT_COLUMNS)
    return f"""CREATE TABLE IF NOT EXISTS {database}.events (
  {columns},
  INDEX timestamp_minmax timestamp TYPE minmax GRANULARITY 1,
  INDEX block_id_bloom block_id TYPE bloom_filter(0.001) GRANULARITY 1
) ENGINE = MergeTree PARTITION BY epoch ORDER BY (service, timestamp)
SETTINGS {GRANULES}, {PART_SHAPE},
  {DURABLE}, {DEDUPLICATED}, {NOT_SPARSE}"""


def fenced_epochs(create_table: str) -> list[int]:
    """The epochs whose fences stand, read from the table's own definition."""
    return [int(one) for one in re.findall(rf"CONSTRAINT `?{FENCE}(\d+)`? CHECK", create_table)]


def fences(create_table: str) -> list[str]:
    """The names of the constraints that are fences."""
    return [f"{FENCE}{epoch}" for epoch in fenced_epochs(create_table)]


def choose_events_table(database: str) -> list[str]:
    """What makes of the first table of events the one of docs/decisions/005.

    Parts that are there stay as they are, and are searched without the new indexes until a merge has built them.
    """
    added = ", ".join(f"ADD INDEX IF NOT EXISTS {name} {index}" for name, index in INDEXES.items())
    events = f"{database}.events"
    return [f"ALTER TABLE {events} {added}, MODIFY SETTING {STRING_SIZES}"]


def add_later_indexes(database: str) -> list[str]:
    """Parts that are there are searched without these until a merge has built them."""
    added = ", ".join(f"ADD INDEX IF NOT EXISTS {name} {index}" for name, index in LATER_INDEXES.items())
    return [f"ALTER TABLE {database}.events {added}"]


def templates_table(database: str) -> str:
    """Template text by fingerprint; storing the same one again changes nothing."""
    return f"""CREATE TABLE IF NOT EXISTS {database}.templates (
  fingerprint UInt64, template String, rules_version UInt16
) ENGINE = ReplacingMergeTree(rules_version) ORDER BY fingerprint
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def patterns_table(database: str) -> str:
    """The pattern of each fingerprint, as learnt last; `alias`: the number was a pattern's id that leads here now."""
    return f"""CREATE TABLE IF NOT EXISTS {database}.patterns (
  fingerprint UInt64, pattern UInt64, template String, name String, rule String, alias UInt8, version UInt64
) ENGINE = ReplacingMergeTree(version) ORDER BY fingerprint
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def current_patterns(database: str) -> str:
    """The rows of `patterns` that count, as a subquery. It is small: a row a template."""
    columns = ", ".join(
        f"argMax({name}, version) AS {name}" for name in ("pattern", "template", "name", "rule", "alias")
    )
    return f"(SELECT fingerprint, {columns} FROM {database}.patterns GROUP BY fingerprint)"


def seen_table(database: str) -> str:
    """First and last time of each fingerprint; aggregate again when reading."""
    return f"""CREATE TABLE IF NOT EXISTS {database}.seen (
  fingerprint UInt64,
  first_seen SimpleAggregateFunction(min, {TIMESTAMP_TYPE}),
  last_seen SimpleAggregateFunction(max, {TIMESTAMP_TYPE})
) ENGINE = AggregatingMergeTree ORDER BY fingerprint
SETTINGS {DURABLE}, {DEDUPLICATED}, {NOT_SPARSE}"""


def rollup_table(database: str, name: str = "rollup") -> str:
    """Counts by minute, service, level and fingerprint; sum again when reading."""
    return f"""CREATE TABLE IF NOT EXISTS {database}.{name} (
  epoch UInt32, minute DateTime('UTC') CODEC(Delta(4), Default), service LowCardinality(String),
  level LowCardinality(String), fingerprint UInt64, count UInt64
) ENGINE = SummingMergeTree(count) PARTITION BY epoch ORDER BY (minute, service, level, fingerprint)
SETTINGS {DURABLE}, {DEDUPLICATED}, {NOT_SPARSE}"""


def counts_table(database: str, name: str = "counts") -> str:
    """Counts by minute, service and level, with their first and last event; aggregate again when reading.

    These are so few rows that a picture of everything is drawn from them at once. `minute` counts from 1970, and unlike
    a DateTime has a place for every time that an event can have.
    """
    return f"""CREATE TABLE IF NOT EXISTS {database}.{name} (
  epoch UInt32, minute Int32 CODEC(Delta(4), Default), service LowCardinality(String),
  level LowCardinality(String), count SimpleAggregateFunction(sum, UInt64),
  first SimpleAggregateFunction(min, Int64) CODEC(Delta(8), Default),
  last SimpleAggregateFunction(max, Int64) CODEC(Delta(8), Default)
) ENGINE = AggregatingMergeTree PARTITION BY epoch ORDER BY (minute, service, level)
SETTINGS {DURABLE}, {DEDUPLICATED}, {NOT_SPARSE}"""


def seen_select(database: str, where: str = "") -> str:
    """What `seen` holds of the events."""
    return (
        "SELECT fingerprint, min(timestamp) AS first_seen, max(timestamp) AS last_seen "
        f"FROM {database}.events {where} GROUP BY fingerprint"
    )


def rollup_select(database: str, where: str = "") -> str:
    """What `rollup` holds of the events."""
    return rollup_of(f"{database}.events {where}")


def rollup_of(events: str) -> str:
    """What `rollup` holds of these."""
    return (
        "SELECT epoch, toStartOfMinute(toDateTime(timestamp, 'UTC')) AS minute, service, level, fingerprint, "
        f"count() AS count FROM {events} GROUP BY epoch, minute, service, level, fingerprint"
    )


def counts_select(database: str, where: str = "") -> str:
    """What `counts` holds of the events."""
    return counts_of(f"{database}.events {where}")


def counts_of(events: str) -> str:
    """What `counts` holds of these."""
    minute = f"toInt32(intDiv({NANOS} - positiveModulo({NANOS}, {MINUTE_NANOS}), {MINUTE_NANOS}))"
    return (
        f"SELECT epoch, {minute} AS minute, service, level, count() AS count, min({NANOS}) AS first, "
        f"max({NANOS}) AS last FROM {events} GROUP BY epoch, minute, service, level"
    )


def seen_view(database: str) -> str:
    """Feeds `seen` from each insert."""
    select = seen_select(database)
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.seen_view TO {database}.seen AS {select}"


def rollup_view(database: str) -> str:
    """Feeds `rollup` from each insert."""
    select = rollup_select(database)
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.rollup_view TO {database}.rollup AS {select}"


def counts_view(database: str) -> str:
    """Feeds `counts` from each insert."""
    select = counts_select(database)
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.counts_view TO {database}.counts AS {select}"


def count_by_minute(database: str) -> list[str]:
    """What makes `counts`, and fills it from the events that are there: from nothing, should it run again.

    Rows that arrive meanwhile may be counted twice. Queries use the counts of an epoch only where they add up to its
    events, and when it closes they are counted anew where they do not.
    """
    return [
        counts_table(database),
        counts_table(database, REBUILT_COUNTS),
        counts_view(database),
        f"TRUNCATE TABLE {database}.counts",
        f"INSERT INTO {database}.counts {counts_select(database)} SETTINGS max_partitions_per_insert_block = 0",
    ]


def views_of_owner(database: str) -> list[str]:
    """Views that count what comes run as who owns the tables: whoever inserts needs no right to read."""
    return [
        f"ALTER TABLE {database}.{view} MODIFY SQL SECURITY DEFINER DEFINER = CURRENT_USER"
        for view in ("seen_view", "rollup_view", "counts_view")
    ]


# --- what belongs to no namespace ---------------------------------------------------------------------------


def migrations_table() -> str:
    """Which migrations were applied; scope is a namespace, or empty for the system's own."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.migrations (
  scope String, version UInt32, name String, applied_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY (scope, version)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def epochs_table() -> str:
    """Ingest epochs that were opened; rows are only ever added, so that an id is never used again."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.epochs (
  namespace String, epoch UInt32, opened_at DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY (namespace, epoch)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def epochs_opener_column() -> str:
    """Who opened an epoch, so that two who open at one moment see one another."""
    return f"ALTER TABLE {SYSTEM_DATABASE}.epochs ADD COLUMN IF NOT EXISTS opener String"


def epoch_states_table() -> str:
    """What became of epochs: `closed` (this one and all below take no row any more), `dropped` (left the hot tier)."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.epoch_states (
  namespace String, epoch UInt32, state Enum8('closed' = 1, 'dropped' = 2), at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY (namespace, epoch, state)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def inserters_table() -> str:
    """What each registration of an inserter said last of each namespace: the row of the highest version holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.inserters (
  namespace String, inserter String, registration String, kind LowCardinality(String), host String,
  version UInt64, stamp UInt32, low UInt32, released UInt8,
  said_at DateTime64(3, 'UTC'), lease_until DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(version) ORDER BY (namespace, inserter, registration)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def evictions_table() -> str:
    """Registrations that were taken out; rows are only ever added."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.evictions (
  registration String, inserter String, at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree ORDER BY registration
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def leases_table() -> str:
    """Who has which lease: the row of a holder's highest version holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.leases (
  name String, holder String, host String, version UInt64, released UInt8, until DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(version) ORDER BY (name, holder)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def snapshots_table() -> str:
    """Which snapshots of cold tables queries may read: the row of the highest sequence that was said last holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.snapshots (
  namespace String, sequence Int64, said_at DateTime64(6, 'UTC'), snapshot_id Int64, metadata String, record String,
  low Nullable(Int64), high Nullable(Int64), rows UInt64, location String
) ENGINE = ReplacingMergeTree(sequence) ORDER BY namespace
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def deletions_table() -> str:
    """What is to be gone (storage/deletions.py): the row of the highest version holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.deletions (
  namespace String, id String, version UInt64, said_at DateTime64(3, 'UTC'), said String
) ENGINE = ReplacingMergeTree(version) ORDER BY (namespace, id)
TTL toDateTime(said_at) + INTERVAL 60 DAY
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def deletions_kept() -> str:
    """Those are forgotten by `deletions.forget` alone: what is on the way has no end that can be known beforehand."""
    return f"ALTER TABLE {SYSTEM_DATABASE}.deletions MODIFY TTL toDateTime(said_at) + INTERVAL 30 YEAR"


def waiting_table() -> str:
    """The oldest event that each inserter keeps, by its time: the row that was said last holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.waiting (
  namespace String, inserter String, oldest Int64, said_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(said_at) ORDER BY (namespace, inserter)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def epoch_states_thawed() -> str:
    """Another state: what was cold is copied to this epoch of the hot tier."""
    return (
        f"ALTER TABLE {SYSTEM_DATABASE}.epoch_states "
        "MODIFY COLUMN state Enum8('closed' = 1, 'dropped' = 2, 'thawed' = 3)"
    )


def thaws_table() -> str:
    """What goes back to the hot tier (storage/thawing.py): the row of the highest version holds."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.thaws (
  namespace String, epoch UInt32, version UInt64, said String
) ENGINE = ReplacingMergeTree(version) ORDER BY (namespace, epoch)
SETTINGS {DURABLE}, {NOT_SPARSE}"""


DOCUMENTS = ("keys", "key_uses", "roles", "namespaces")
"""Tables of small documents by name (storage/documents.py)."""

LATER_DOCUMENTS = ("saved", "links", "alerts", "alert_states")
"""Those of a later migration."""


def documents_table(name: str) -> str:
    """What was said last of each name: the row of the highest version holds. Forgotten after `until`."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.{name} (
  name String, version UInt64, said_at DateTime64(3, 'UTC'), until DateTime('UTC'), said String
) ENGINE = ReplacingMergeTree(version) ORDER BY name
TTL until
SETTINGS {DURABLE}, {NOT_SPARSE}"""


def alert_deliveries_table() -> str:
    """Every try to tell a webhook something (storage/alerts.py), for a month; rows are only ever added."""
    return f"""CREATE TABLE IF NOT EXISTS {SYSTEM_DATABASE}.alert_deliveries (
  alert String, at DateTime64(3, 'UTC'), said String
) ENGINE = MergeTree ORDER BY (alert, at)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS {DURABLE}, {NOT_SPARSE}"""
