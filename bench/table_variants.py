"""The tables that are compared: the table of events as it is, and the same with one thing done otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage import schema
from storage.tags import SHARDS, column_name

PLAIN_INDEXES = ("timestamp_minmax", "block_id_bloom", "fingerprint_bloom", "trace_id_bloom")
PLAIN_TAG = "{map}[{key}] = {value}"
ITEMS = "arrayMap((k, v) -> concat(k, '=', v), mapKeys({map}), mapValues({map}))"
LONGEST_ITEM = 32
SHORT_ITEMS = f"arrayFilter(item -> length(item) <= {LONGEST_ITEM}, {ITEMS})"
TEXT = "TYPE text(tokenizer = 'array', posting_list_codec = 'bitpacking')"


def granules_of(rows: int, kib: int) -> str:
    """Granules of so many rows, and compressed blocks that end with one once they hold so much."""
    return f"index_granularity = {rows}, min_compress_block_size = {kib << 10}"


def words_index_of(kib: int) -> str:
    """The bloom filter of words, of so much a granule."""
    return schema.WORDS_INDEX.replace("tokenbf_v1(8192,", f"tokenbf_v1({kib << 10},")


@dataclass(frozen=True)
class Variant:
    """A table, and the forms of filters that its indexes understand. Where nothing is said: the table as it is.

    Items (key=value) longer than `longest_item` bytes are not in the index, and are asked for without it.
    `tag_form` holds {map}, {key}, {value} and {item} (key=value). `words_form` holds {token}, once for each word of
    a phrase, or {tokens}; it is added to the exact test. Empty: no index to ask.
    """

    name: str
    order: str = "service, timestamp"
    shards: int = SHARDS
    codecs: Mapping[str, str] = field(default_factory=dict)  # by column; `tags` are all maps
    granules: str = schema.GRANULES
    words_index: str = schema.WORDS_INDEX
    words_form: str = f"indexHint(hasToken({schema.WORDS_TEXT}, {{token}}))"
    pairs_index: str = schema.PAIRS_INDEX
    tag_index: str = schema.TAG_INDEX  # one for each map, which is {map}
    tag_form: str = PLAIN_TAG
    longest_item: int | None = None
    part_shape: str = schema.PART_SHAPE
    string_sizes: str = schema.STRING_SIZES
    more_settings: str = ""
    insert_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def maps(self) -> list[str]:
        return [column_name(shard) for shard in range(self.shards)]

    def ddl(self, table: str) -> str:
        """The statement that makes the table."""
        lines = ",\n  ".join([*map(self._column, self._columns()), *self._indexes()])
        settings = [
            self.granules, self.part_shape, schema.DURABLE, schema.NOT_SPARSE,
            self.string_sizes, self.more_settings,
        ]  # fmt: skip
        return (
            f"CREATE TABLE {table} (\n  {lines}\n) ENGINE = MergeTree PARTITION BY epoch ORDER BY ({self.order}) "
            f"SETTINGS {', '.join(filter(None, settings))}"
        )

    def _columns(self) -> list[tuple[str, str]]:
        plain = [column for column in schema.EVENT_COLUMNS if not column[0].startswith("tags_")]
        return plain + [(name, schema.TAGS_TYPE) for name in self.maps]

    def _column(self, column: tuple[str, str]) -> str:
        name, type_ = column
        known = schema.CODECS.get(name, "")
        codec = self.codecs.get("tags" if name.startswith("tags_") else name, known)
        return f"`{name}` {type_}" + (f" CODEC({codec})" if codec else "")

    def _indexes(self) -> list[str]:
        found = [f"INDEX {name} {schema.INDEXES[name]}" for name in PLAIN_INDEXES]
        if self.words_index:
            found.append(f"INDEX message_words {self.words_index}")
        if self.pairs_index:
            found.append(f"INDEX message_pairs {self.pairs_index}")
        if self.tag_index:
            found += [f"INDEX {name}_values {self.tag_index.format(map=name)}" for name in self.maps]
        return found


AS_IT_IS = Variant("neve")
UNINDEXED = replace(AS_IT_IS, words_index="", words_form="", pairs_index="", tag_index="")
AT_MERGE = {"materialize_skip_indexes_on_insert": 0}
MESSAGE_TEXT = "lower(message) TYPE text(tokenizer = 'splitByNonAlpha')"
DIRECT = "hasAllTokens(lower(message), {tokens})"
BUCKETED = "map_serialization_version = 'with_buckets', map_buckets_strategy = 'constant', " \
    f"map_buckets_min_avg_size = 0, max_buckets_in_map = {SHARDS}"  # fmt: skip


def _named(name: str, **changes: Any) -> Variant:
    return replace(AS_IT_IS, name=name, **changes)


VARIANTS: tuple[Variant, ...] = (
    AS_IT_IS,
    replace(UNINDEXED, name="unindexed"),
    _named("sizes-in-maps-apart", string_sizes=""),
    # --- the sort key
    _named("by-time", order="timestamp"),
    _named("by-fingerprint", order="fingerprint, timestamp"),
    _named("by-service-fingerprint", order="service, fingerprint, timestamp"),
    _named("by-service-hour-fingerprint", order="service, toStartOfHour(timestamp), fingerprint, timestamp"),
    # --- tags
    _named("8-shards", shards=8),
    _named("16-shards", shards=16),
    _named("62-shards", shards=62),
    _named("items-bloom", tag_index=f"{ITEMS} TYPE bloom_filter(0.01) GRANULARITY 1",
           tag_form=f"{{map}}[{{key}}] = {{value}} AND indexHint(has({ITEMS}, {{item}}))"),
    _named("items-text", tag_index=f"{ITEMS} {TEXT}", tag_form=f"has({ITEMS}, {{item}})"),
    _named("short-items-text-at-merge", tag_index=f"{SHORT_ITEMS} {TEXT}",
           tag_form=f"has({SHORT_ITEMS}, {{item}})", longest_item=LONGEST_ITEM, insert_settings=AT_MERGE),
    # --- words
    _named("words-bloom-of-tokens", words_index="tokens(lower(message)) TYPE bloom_filter(0.01) GRANULARITY 1",
           words_form="indexHint(has(tokens(lower(message)), {token}))"),
    _named("message-text", words_index=MESSAGE_TEXT, words_form=DIRECT),
    _named("message-text-at-merge", words_index=MESSAGE_TEXT, words_form=DIRECT,
           insert_settings={"exclude_materialize_skip_indexes_on_insert": "message_words"}),
    _named("no-pairs", pairs_index=""),
    # --- granules, codecs, parts
    _named("granules-of-8192", granules="index_granularity = 8192", words_index=words_index_of(32)),
    _named("granules-of-4096", granules=granules_of(4096, 16), words_index=words_index_of(16)),
    _named("blocks-of-64-kib", granules="index_granularity = 2048"),
    _named("blocks-of-8-kib", granules=granules_of(2048, 8)),
    _named("granules-of-1024", granules=granules_of(1024, 8), words_index=words_index_of(4)),
    _named("message-lz4", codecs={"message": "LZ4"}),
    _named("zstd-at-insert", codecs={"message": "ZSTD(1)", "tags": "ZSTD(1)"}),
    _named("other-number-codecs", codecs={"timestamp": "DoubleDelta, Default", "row": "T64, Default"}),
    _named("frames-of-128-kib", more_settings="max_compress_block_size = 131072"),
    _named("wide-at-insert", part_shape="min_rows_for_wide_part = 0, min_bytes_for_wide_part = 0"),
    _named("compact-when-merged", part_shape="min_level_for_wide_part = 1000"),
)  # fmt: skip

TAG_VARIANTS: tuple[Variant, ...] = (
    replace(UNINDEXED, name="one-map", shards=1),
    replace(UNINDEXED, name="bucketed-map", shards=1, more_settings=BUCKETED),
    replace(UNINDEXED, name="sharded-maps"),
    replace(UNINDEXED, name="sharded-maps-bloom", tag_index=schema.TAG_INDEX),
    replace(UNINDEXED, name="items-index", shards=1, tag_index=f"{ITEMS} {TEXT}", tag_form=f"has({ITEMS}, {{item}})"),
    replace(UNINDEXED, name="sharded-items-index", tag_index=f"{ITEMS} {TEXT}", tag_form=f"has({ITEMS}, {{item}})"),
)  # fmt: skip
