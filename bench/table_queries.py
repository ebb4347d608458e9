"""The searches that tables are compared by, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.processes import cost
from bench.table_variants import PLAIN_TAG, Variant
from query.sql import MAX_HINTS, Params, compile_exact_words
from query.words import WordPattern
from storage.hot import Hot
from storage.tags import column_of

ALWAYS = {"use_query_condition_cache": 0}
ROWS = "timestamp, level, service, host, message, fingerprint"
NEWEST = "ORDER BY timestamp DESC, block_id DESC, row DESC"


@dataclass(frozen=True)
class Probes:
    """What is looked for: words that are given, values that the events have."""

    needle: str
    phrase: str
    word: str
    regex: str
    service: str
    request_id: str
    user_id: str
    region: str
    fingerprint: int
    low: int  # a stretch of time: nanoseconds since 1970, low <= timestamp < high
    high: int


def find_probes(hot: Hot, table: str, shards: int, needle: str, phrase: str, word: str, regex: str) -> Probes:
    """Values of a filled table: one that is unique, one that a row in 20,000 has, the most common one, and so on."""

    def one(expression: str, order: str) -> Any:
        sql = f"SELECT {expression} AS v, count() AS n FROM {table} GROUP BY v ORDER BY {order}, v LIMIT 1"
        return hot.scalars(sql)[0]

    def tag(key: str) -> str:
        return f"{column_of(key, shards)}['{key}']"

    nanos = "toUnixTimestamp64Nano(timestamp)"
    rows, first, last = hot.query(
        f"SELECT count() AS n, min({nanos}) AS first, max({nanos}) AS last FROM {table}"
    ).rows[0]
    middle = (first + last) // 2
    return Probes(
        needle, phrase, word, regex,
        service=one("service", "n DESC"),
        request_id=one(tag("request_id"), "cityHash64(v)"),
        user_id=one(tag("user_id"), f"abs(n - {rows} / 20000)"),
        region=one(tag("region"), "n DESC"),
        fingerprint=one("fingerprint", f"abs(n - {rows} / 1000)"),
        low=middle, high=middle + (last - first) // 72,
    )  # fmt: skip


@dataclass(frozen=True)
class Asker:
    """Writes statements in the forms that a table understands."""

    table: str
    variant: Variant
    params: Params

    def tag(self, key: str) -> str:
        """The value of a tag."""
        return f"{column_of(key, self.variant.shards)}[{self.params.add(key)}]"

    def tag_is(self, key: str, value: str) -> str:
        """That a tag has a value."""
        column = column_of(key, self.variant.shards)
        bound = {name: self.params.add(text) for name, text in
                 (("key", key), ("value", value), ("item", f"{key}={value}"))}  # fmt: skip
        longest = self.variant.longest_item
        unindexed = longest is not None and len(f"{key}={value}".encode()) > longest
        return (PLAIN_TAG if unindexed else self.variant.tag_form).format(map=column, **bound)

    def words(self, text: str) -> str:
        """That a message holds a phrase, exactly as Neve asks it."""
        pattern = WordPattern.of((text,))
        exact, form = compile_exact_words(pattern, self.params), self.variant.words_form
        tokens = [self.params.add(token) for token in pattern.tokens()[:MAX_HINTS]]
        if "{tokens}" in form:
            return f"{form.format(tokens='[' + ', '.join(tokens) + ']')} AND {exact}"
        return " AND ".join([*(form.format(token=token) for token in tokens if form), exact])

    def rows(self, where: str) -> str:
        """A page of the newest rows."""
        return f"SELECT {ROWS} FROM {self.table} WHERE {where} {NEWEST} LIMIT 101"

    def events(self, where: str) -> str:
        """A page of the newest events, whole."""
        maps = ", ".join(self.variant.maps)
        tags = f"mapConcat({maps})" if len(self.variant.maps) > 1 else maps
        return f"SELECT {ROWS}, {tags} AS tags FROM {self.table} WHERE {where} {NEWEST} LIMIT 101"

    def count(self, where: str) -> str:
        return f"SELECT count() AS n FROM {self.table} WHERE {where}"

    def top(self, key: str) -> str:
        value = self.tag(key)
        return f"SELECT {value} AS v, count() AS n FROM {self.table} WHERE v != '' GROUP BY v ORDER BY n DESC LIMIT 10"

    def during(self, probes: Probes) -> str:
        low, high = (self.params.add(at, "Int64") for at in (probes.low, probes.high))
        at = "fromUnixTimestamp64Nano({}, 'UTC')"
        return f"timestamp >= {at.format(low)} AND timestamp < {at.format(high)}"

    def latest(self, probes: Probes) -> str:
        return self.rows(f"service = {self.params.add(probes.service)} AND {self.words(probes.word)}")

    def by_minute(self) -> str:
        return (
            f"SELECT toStartOfMinute(timestamp) AS m, level, count() AS n FROM {self.table} GROUP BY m, level"
        )

    def status_is_500(self) -> str:
        return self.count(f"toFloat64OrNull({self.tag('status')}) >= 500")


Query = Callable[[Asker, Probes], str]
TAG_QUERIES: Mapping[str, Query] = {
    "tag_unique": lambda a, p: a.rows(a.tag_is("request_id", p.request_id)),
    "tag_1_in_20000": lambda a, p: a.rows(a.tag_is("user_id", p.user_id)),
    "tag_1_in_20000_whole": lambda a, p: a.events(a.tag_is("user_id", p.user_id)),
    "tag_1_in_20000_count": lambda a, p: a.count(a.tag_is("user_id", p.user_id)),
    "tag_common_count": lambda a, p: a.count(a.tag_is("region", p.region)),
    "tag_range_count": lambda a, _p: a.status_is_500(),
    "top_pod": lambda a, _p: a.top("pod"),
    "top_user_id": lambda a, _p: a.top("user_id"),
}
QUERIES: Mapping[str, Query] = {
    "needle": lambda a, p: a.rows(a.words(p.needle)),
    "phrase_count": lambda a, p: a.count(a.words(p.phrase)),
    **TAG_QUERIES,
    "latest_100": lambda a, p: a.latest(p),
    "latest_100_whole": lambda a, p: a.events(f"service = {a.params.add(p.service)} AND {a.words(p.word)}"),
    "word_for_a_while": lambda a, p: a.count(f"{a.during(p)} AND {a.words(p.word)}"),
    "count_by_minute": lambda a, _p: a.by_minute(),
    "regex_count": lambda a, p: a.count(f"match(message, {a.params.add(p.regex)})"),
    "fingerprint_count": lambda a, p: a.count(f"fingerprint = {a.params.add(p.fingerprint, 'UInt64')}"),
}


def ask(
    hot: Hot, pid: int, asker: Asker, probes: Probes, queries: Mapping[str, Query], times: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds, the server's CPU milliseconds and bytes read of each query, all caches warm but the one
    of conditions, which is off."""
    found = {}
    for name, query in queries.items():
        params = Params()
        sql = query(Asker(asker.table, asker.variant, params), probes)
        hot.query(sql, params.values, ALWAYS)
        took, before = [], cost(pid).cpu
        for _ in range(times):
            begun = time.perf_counter()
            result = hot.query(sql, params.values, ALWAYS)
            took.append((time.perf_counter() - begun) * 1000)
        cpu = (cost(pid).cpu - before) / times * 1000
        found[name] = {"median_ms": median(took), "cpu_ms": cpu, "bytes_read": result.bytes_read,
                       "answer": _answer(result.rows)}  # fmt: skip
    return found


def _answer(rows: list[tuple[Any, ...]]) -> int:
    """A count, or how many rows there are: the same for every table, or it is not to be trusted."""
    return int(rows[0][0]) if len(rows) == 1 and len(rows[0]) == 1 else len(rows)
