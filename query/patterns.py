"""The shapes of messages, counted over every event: fingerprints, put together by what was learnt of them."""

from __future__ import annotations

from typing import Any

import lexer
from query.events import clean, hex_fingerprint
from query.overview import aggregate
from query.plan import Plan
from query.running import Running
from query.sources import plan_source
from query.sql import Params
from query.times import to_rfc3339
from storage.schema import current_patterns

MOST_SERVICES = 100
Answer = dict[str, Any]


def patterns(plan: Plan, running: Running, limit: int, compare: Plan | None) -> Answer:
    """The patterns, most common first; with a range to compare, the counts there too."""
    rows, total, distinct = _rows(plan, running, limit)
    ids = [row[0] for row in rows]
    previous = _counts_of(compare, running, ids) if compare else None
    return {
        "patterns": [_pattern(row, total, previous) for row in rows],
        "total_events": total,
        "total_patterns": distinct,
    }


def pattern_of(fingerprints: str, database: str) -> str:
    """A subquery's rows with what is known of their column `f`: `id`, `text` and `name` of its pattern.

    A fingerprint that is too new to have a pattern is its own.
    """
    texts = f"(SELECT fingerprint, any(template) AS template FROM {database}.templates GROUP BY fingerprint)"
    return (
        "SELECT counted.*, if(k.template = '', f, k.pattern) AS id, "
        "if(k.template = '', t.template, k.template) AS text, k.name AS name "
        f"FROM ({fingerprints}) AS counted "
        f"LEFT JOIN {current_patterns(database)} AS k ON f = k.fingerprint LEFT JOIN {texts} AS t ON f = t.fingerprint"
    )


def _rows(plan: Plan, running: Running, limit: int) -> tuple[list[tuple[Any, ...]], int, int]:
    params = Params(plan.database)
    counted = (
        "SELECT fingerprint AS f, count() AS n, min(message) AS sample, "
        "min(toUnixTimestamp64Nano(timestamp)) AS first, max(toUnixTimestamp64Nano(timestamp)) AS last, "
        f"arrayFilter(x -> x != '', groupUniqArray({MOST_SERVICES})(toString(service))) AS services "
        f"FROM {plan_source(plan, params)} GROUP BY f"
    )
    grouped = (
        "SELECT id, any(text) AS template, any(name) AS called, sum(n) AS count, argMax(sample, (n, f)) AS example, "
        "min(first) AS first_seen, max(last) AS last_seen, count() AS members, "
        f"arraySort(groupUniqArrayArray({MOST_SERVICES})(services)) AS served "
        f"FROM ({pattern_of(counted, plan.database)}) GROUP BY id"
    )
    sql = (
        "SELECT id, template, called, count, example, first_seen, last_seen, members, served, "
        f"sum(count) OVER () AS total, count() OVER () AS patterns FROM ({grouped}) "
        f"ORDER BY count DESC, id ASC LIMIT {params.add(limit, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    return (rows, rows[0][-2], rows[0][-1]) if rows else ([], 0, 0)


def _counts_of(plan: Plan, running: Running, ids: list[int]) -> dict[int, int]:
    params = Params(plan.database)
    wanted = params.add(ids, "Array(UInt64)")
    counted = f"SELECT fingerprint AS f, count() AS n FROM {plan_source(plan, params)} GROUP BY f"
    sql = (
        f"SELECT id, sum(n) AS count FROM ({pattern_of(counted, plan.database)}) "
        f"WHERE id IN {wanted} GROUP BY id"
    )
    return dict(aggregate(running, sql, params)) if ids else {}


def _pattern(row: tuple[Any, ...], total: int, previous: dict[int, int] | None) -> Answer:
    id_, template, name, count, sample, first, last, members, services = row[:9]
    if not template:
        template = lexer.template(sample if isinstance(sample, bytes) else sample.encode())
    return {
        "fingerprint": hex_fingerprint(id_),
        "name": clean(name) or None,
        "template": clean(template),
        "count": count,
        "share": count / total,
        "sample": clean(sample),
        "first_seen": to_rfc3339(first),
        "last_seen": to_rfc3339(last),
        "services": [clean(service) for service in services],
        "previous_count": None if previous is None else previous.get(id_, 0),
        "fingerprints": members,
    }
