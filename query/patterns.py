"""The shapes of messages, counted over every event: fingerprints, put together by what was learnt of them.

First they are counted, from the rollup where it can be; then the few minutes where the patterns of the answer came up
first and last are looked into, for the exact times and a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lexer
from query import rollup
from query.events import clean, hex_fingerprint
from query.leading import event_stage
from query.members import pattern_of, patterns_since
from query.overview import aggregate
from query.plan import EVERYTHING, Plan
from query.running import Running
from query.sources import plan_source
from query.sql import Params, nanos
from query.times import to_rfc3339
from storage.schema import MINUTE_NANOS, NANOS

MOST_SERVICES = 100
MOST_RANGES = 64  # of time, when looking for first and last events: each is compared with every granule
Answer = dict[str, Any]


@dataclass(frozen=True)
class Ends:
    """First and last event of a fingerprint, and the message of the last."""

    first: int
    last: int
    sample: str | bytes


def patterns(
    plan: Plan, running: Running, limit: int, compare: Plan | None, since: int | None = None
) -> tuple[Answer, list[int]]:
    """The patterns, most common first, and their ids. `compare`: count them there too. `since`: only those that are
    new since then."""

    def new(params: Params) -> str:
        return "1" if since is None else f"id IN ({_new(plan, params, since)})"

    rows, total, distinct = _rows(plan, running, limit, new)
    ids = [row[0] for row in rows]
    ends = _ends(plan, running, rows) if rows else {}
    previous = _counts_of(compare, running, ids) if compare else None
    answer = {
        "patterns": [_pattern(row, ends, total, previous) for row in rows],
        "total_events": total,
        "total_patterns": distinct,
    }
    return answer, ids


def described(plan: Plan, running: Running, ids: list[int]) -> dict[int, Answer]:
    """What `patterns` says of some patterns, by their ids."""
    if not ids:
        return {}
    rows, total, _ = _rows(
        plan, running, len(ids), lambda params: f"id IN {params.add(ids, 'Array(UInt64)')}"
    )
    ends = _ends(plan, running, rows) if rows else {}
    return {row[0]: _pattern(row, ends, total, None) for row in rows}


def _rows(
    plan: Plan, running: Running, limit: int, chosen: Callable[[Params], str]
) -> tuple[list[tuple[Any, ...]], int, int]:
    """The patterns that `chosen`, a condition on `id`, holds for; how many events there are in all, and patterns."""
    params = plan.params()
    services = f"arrayFilter(x -> x != '', groupUniqArray({MOST_SERVICES})(toString(service))) AS services"
    prints = (
        f"SELECT fingerprint AS f, sum(n) AS n, min(at) AS first, max(until) AS last, {services} "
        f"FROM {counted(plan, running, params)} GROUP BY f"
    )
    grouped = (
        "SELECT id, any(text) AS template, any(name) AS called, sum(n) AS count, "
        "min(first) AS first_seen, max(last) AS last_seen, count() AS members, "
        f"arraySort(groupUniqArrayArray({MOST_SERVICES})(services)) AS served, "
        # Those that may have been the first or the last: `first` and `last` are within a minute.
        f"arrayFilter(x -> x.2 < min(first) + {MINUTE_NANOS} OR x.3 > max(last) - {MINUTE_NANOS}, "
        "groupArray((f, first, last))) AS outermost "
        f"FROM ({pattern_of(prints, plan.database, alone=plan.guarded)}) GROUP BY id"
    )
    sql = (
        "SELECT id, template, called, count, first_seen, last_seen, members, served, outermost, total, patterns, "
        f"{chosen(params)} AS is_chosen FROM "
        f"(SELECT *, sum(count) OVER () AS total, count() OVER () AS patterns FROM ({grouped})) "
        f"ORDER BY is_chosen DESC, count DESC, id ASC LIMIT {params.add(limit, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    if not rows:
        return [], 0, 0
    *_, total, distinct, _ = rows[0]
    return [row for row in rows if row[-1]], total, distinct


def _new(plan: Plan, params: Params, since: int) -> str:
    """The ids of patterns that were never seen before a moment, by who asks."""
    moment = nanos(since, params)
    if not plan.guarded:
        return patterns_since(moment, plan.database)
    ever = plan_source(replace(plan, condition=EVERYTHING, low=None, high=None), params)
    return f"SELECT fingerprint AS f FROM {ever} GROUP BY f HAVING min(timestamp) >= {moment}"


def counted(plan: Plan, running: Running, params: Params) -> str:
    """A subquery of `n` events of a fingerprint and a service, at `at` <= time <= `until`, less than a minute apart."""
    known = rollup.split(plan, running, fingerprints=True)
    if known is not None:
        rollup.note_tiers(plan, running)
        return rollup.source(plan, params, known)
    stage = event_stage(plan, params)
    service = stage.scope.text("service", params)
    return (
        f"(SELECT fingerprint, {service} AS service, toUInt64(1) AS n, {NANOS} AS at, {NANOS} AS until "
        f"FROM {stage.source}{stage.where()})"
    )


def _ends(plan: Plan, running: Running, rows: list[tuple[Any, ...]]) -> dict[int, Ends]:
    """The first and the last event of every fingerprint that may have its pattern's."""
    params = plan.params()
    looked = {(f, at // MINUTE_NANOS) for row in rows for f, first, last in row[8] for at in (first, last)}
    ranges = _ranges({minute for _, minute in looked})
    narrowed = replace(plan, low=_latest(plan.low, ranges[0][0]), high=_earliest(plan.high, ranges[-1][1]))
    stage = event_stage(narrowed, params)
    prints, minutes = zip(*sorted(looked), strict=True)
    wanted = (
        f"(fingerprint, intDiv({NANOS} - positiveModulo({NANOS}, {MINUTE_NANOS}), {MINUTE_NANOS})) IN "
        f"(SELECT f, m FROM (SELECT 1) ARRAY JOIN {params.add(list(prints), 'Array(UInt64)')} AS f, "
        f"{params.add(list(minutes), 'Array(Int64)')} AS m)"
    )
    there = " OR ".join(  # what an index is asked by
        f"timestamp >= {nanos(low, params)} AND timestamp < {nanos(high, params)}" for low, high in ranges
    )
    sql = (
        f"SELECT fingerprint AS f, min({NANOS}) AS first, max({NANOS}) AS last, "
        f"argMax(message, ({NANOS}, message)) AS sample FROM {stage.source} "
        f"WHERE {' AND '.join((*stage.conditions, f'({there})', wanted))} GROUP BY f"
    )
    return {f: Ends(*ends) for f, *ends in aggregate(running, sql, params)}


def _ranges(minutes: set[int]) -> list[tuple[int, int]]:
    """At most MOST_RANGES ranges of time that have these minutes in them, in order."""
    found = [[minute, minute + 1] for minute in sorted(minutes)]
    while len(found) > 1:
        gap, where = min((found[i + 1][0] - found[i][1], i) for i in range(len(found) - 1))
        if gap > 0 and len(found) <= MOST_RANGES:
            break
        found[where : where + 2] = [[found[where][0], found[where + 1][1]]]
    return [(low * MINUTE_NANOS, high * MINUTE_NANOS) for low, high in found]


def _latest(one: int | None, other: int) -> int:
    return other if one is None else max(one, other)


def _earliest(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def _counts_of(plan: Plan, running: Running, ids: list[int]) -> dict[int, int]:
    if not ids:
        return {}
    params = plan.params()
    wanted = params.add(ids, "Array(UInt64)")
    prints = f"SELECT fingerprint AS f, sum(n) AS n FROM {counted(plan, running, params)} GROUP BY f"
    sql = (
        f"SELECT id, sum(n) AS count FROM ({pattern_of(prints, plan.database, alone=plan.guarded)}) "
        f"WHERE id IN {wanted} GROUP BY id"
    )
    return dict(aggregate(running, sql, params))


def _pattern(
    row: tuple[Any, ...], ends: dict[int, Ends], total: int, previous: dict[int, int] | None
) -> Answer:
    id_, template, name, count, first, last, members, services, outermost = row[:9]
    found = [ends[f] for f, *_ in outermost if f in ends]
    # Where the second look broke off, the answer is incomplete, and says so: it has the minutes.
    sample: str | bytes = ""
    if found:
        first = min(one.first for one in found)
        latest = max(found, key=lambda one: (one.last, _bytes(one.sample)))
        last, sample = latest.last, latest.sample
    if not template:
        template = lexer.template(_bytes(sample))
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


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
