"""Answers about many events at once: histogram, fields and their values, and the lines around one event."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from query import conditions as c
from query import rollup
from query.analyze import COLUMNS, field_ref
from query.conditions import Kind
from query.errors import NotFound, RequestInvalid
from query.events import TEXTS, clean, event_columns, event_of, position_of
from query.leading import event_stage
from query.limits import EAGER
from query.plan import Plan
from query.running import Running
from query.search import search
from query.sources import events_source, plan_source
from query.sql import Params, expression_of, nanos, present
from query.tiers import COLD
from query.times import SECOND, to_rfc3339
from storage.errors import QueryLimit, QueryTimeout
from storage.schema import MINUTE_NANOS, NANOS
from storage.tags import SHARDS, column_name

NICE_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
NICE_NANOS = tuple(10**power * step for power in range(9) for step in (1, 2, 5))
MAX_GROUPS = 50  # of a histogram: more colours than this tell nothing apart
OTHER = "(other)"
SMALL = ("level", "service", "host")
EVENT_ID = re.compile(r"([0-9a-f]{32})-(\d{1,10})")
Stats = dict[str, Any]


# --- histogram ---------------------------------------------------------------------------------------------


def histogram(plan: Plan, running: Running, buckets: int, by: str | None) -> Stats:
    """Counts by time, every bucket of the range, also the empty ones; `by` splits them by a field's values."""
    known = rollup.split(plan, running) if by is None or by in rollup.COUNTED else None
    bounds = extent(plan, running, known)
    if bounds is None:
        return {"buckets": [], "interval_ms": None}
    low, high = bounds
    width = bucket_width(high - low, buckets)
    if known is None or width % MINUTE_NANOS:
        counts = _bucket_counts(replace(plan, low=low, high=high), running, width, by)
    else:
        counts = _known_counts(plan, running, known, width, by)
    starts = range(low - low % width, high, width)
    rows = [_bucket(start, counts.get(start, {}), by) for start in starts]
    return {"buckets": rows, "interval_ms": width / 1_000_000}


def bucket_width(span: int, buckets: int) -> int:
    """Nanoseconds of a bucket: a width that people read clocks by, so that at most `buckets` + 1 cover the span."""
    least = -(-span // buckets)
    widths = [*NICE_NANOS, *(seconds * SECOND for seconds in NICE_SECONDS)]
    fitting = next((width for width in widths if width >= least), None)
    day = 86_400 * SECOND
    return fitting if fitting is not None else -(-least // day) * day


def extent(plan: Plan, running: Running, known: rollup.Split | None) -> tuple[int, int] | None:
    """The range to show: as asked, and where that is open, from the first event found to the last."""
    if plan.low is not None and plan.high is not None:
        return (plan.low, plan.high) if plan.high > plan.low else None
    if known is not None and (outer := rollup.ends(plan, known)):
        return _within(plan, *outer)
    looked: list[tuple[int, int]] = []
    if known is not None:
        params = plan.params()
        sql = f"SELECT min(at) AS low, max(until) AS high, sum(n) AS n FROM {rollup.source(plan, params, known)}"
        rows = aggregate(running, sql, params)
        if not rows or rows[0][2] == 0:
            return None
        low, high, _ = rows[0]
        if not known.fingerprints:
            return _within(plan, low, high)
        # The rollup knows the minutes; these are looked into.
        low, high = (at // MINUTE_NANOS * MINUTE_NANOS for at in (low, high))
        looked = [(low, low + MINUTE_NANOS)] if plan.low is None else []
        looked += [(high, high + MINUTE_NANOS)] if plan.high is None else []
    return _ends(plan, running, looked)


def _within(plan: Plan, first: int, last: int) -> tuple[int, int]:
    return plan.low if plan.low is not None else first, plan.high if plan.high is not None else last + 1


def _ends(plan: Plan, running: Running, looked: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The first and the last event; `looked`: they are within one of these ranges of time, if any are given."""
    if looked:
        low, high = looked[0][0], looked[-1][1]
        narrowed = replace(
            plan,
            low=low if plan.low is None else max(low, plan.low),
            high=high if plan.high is None else min(high, plan.high),
        )
    else:
        narrowed = plan
    params = plan.params()
    stage = event_stage(narrowed, params)
    there = [
        f"timestamp >= {nanos(low, params)} AND timestamp < {nanos(high, params)}" for low, high in looked
    ]
    tests = [*stage.conditions, *([f"({' OR '.join(there)})"] if there else [])]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    sql = f"SELECT min({NANOS}) AS low, max({NANOS}) AS high, count() AS n FROM {stage.source}{where}"
    rows = aggregate(running, sql, params)
    if not rows or rows[0][2] == 0:
        return None
    return _within(plan, *rows[0][:2])


def _bucket_counts(plan: Plan, running: Running, width: int, by: str | None) -> dict[int, dict[str, int]]:
    """From events."""
    params = plan.params()
    bound = params.add(width, "Int64")
    stage = event_stage(plan, params)
    group = stage.scope.text(by, params) if by else "''"
    sql = (
        f"SELECT {NANOS} - positiveModulo({NANOS}, {bound}) AS start, {group} AS value, count() AS n "
        f"FROM {stage.source}{stage.where()} GROUP BY start, value"
    )
    return _by_start(aggregate(running, sql, params))


def _known_counts(
    plan: Plan, running: Running, known: rollup.Split, width: int, by: str | None
) -> dict[int, dict[str, int]]:
    """From the counts by minute; a bucket is some of these."""
    params = plan.params()
    bound, group = params.add(width, "Int64"), by or "''"
    rollup.note_tiers(plan, running)
    sql = (
        f"SELECT at - positiveModulo(at, {bound}) AS start, {group} AS value, sum(n) AS events "
        f"FROM {rollup.source(plan, params, known, bound)} GROUP BY start, value"
    )
    return _by_start(aggregate(running, sql, params))


def _by_start(rows: list[tuple[Any, ...]]) -> dict[int, dict[str, int]]:
    counts: dict[int, dict[str, int]] = {}
    kept = _largest_groups(rows)
    for start, value, n in rows:
        name = clean(value) if value in kept else OTHER
        bucket = counts.setdefault(start, {})
        bucket[name] = bucket.get(name, 0) + n
    return counts


def _largest_groups(rows: list[tuple[Any, ...]]) -> set[Any]:
    totals: dict[Any, int] = {}
    for _, value, n in rows:
        totals[value] = totals.get(value, 0) + n
    return set(sorted(totals, key=lambda value: -totals[value])[:MAX_GROUPS])


def _bucket(start: int, counts: dict[str, int], by: str | None) -> Stats:
    bucket: Stats = {"start": to_rfc3339(start), "count": sum(counts.values())}
    if by:
        bucket["groups"] = counts
    return bucket


# --- fields ------------------------------------------------------------------------------------------------


def fields(plan: Plan, running: Running, limit: int) -> Stats:
    """The fields that the events of a plan have, with how many have each: columns first, then tags by count."""
    params = plan.params()
    stage = event_stage(plan, params)
    counts = ", ".join(f"countIf({stage.scope.text(name, params)} != '') AS n_{name}" for name in TEXTS)
    sql = f"SELECT count() AS n, {counts} FROM {stage.source}{stage.where()}"
    totals = aggregate(running, sql, params)
    total, *present = totals[0] if totals else (0, *(0 for _ in TEXTS))
    by_column = {"timestamp": total, "fingerprint": total, **dict(zip(TEXTS, present, strict=True))}
    names = [name for name in COLUMNS if name in by_column]
    found = [_field(name, COLUMNS[name].kind.value, by_column[name]) for name in names if by_column[name]]
    return {"fields": found + _tag_fields(plan, running, limit)}


def _field(name: str, type_: str, count: int) -> Stats:
    return {"name": name, "kind": "column" if name in COLUMNS else "tag", "type": type_, "count": count}


def _tag_fields(plan: Plan, running: Running, limit: int) -> list[Stats]:
    params = plan.params()
    counted = _keys_by_map(plan, params) if _is_cheap(plan) else _keys_at_once(plan, params)
    sql = f"SELECT key, n FROM ({counted}) ORDER BY n DESC, key ASC LIMIT {params.add(limit, 'UInt64')}"
    rows = aggregate(running, sql, params)
    return [{"name": clean(key), "kind": "tag", "type": Kind.TEXT.value, "count": n} for key, n in rows]


def _keys_at_once(plan: Plan, params: Params) -> str:
    """A key is in one map only, but what pipes took out may have any name."""
    stage = event_stage(plan, params)
    keys = f"arrayJoin({stage.scope.keys(params)})"
    return f"SELECT {keys} AS key, count() AS n FROM {stage.source}{stage.where()} GROUP BY key"


def _keys_by_map(plan: Plan, params: Params) -> str:
    """The same, map by map: of each its keys alone are read, and counted by their numbers in the dictionary."""
    source = plan_source(plan, params)
    return " UNION ALL ".join(
        f"SELECT toString(key) AS key, n FROM "
        f"(SELECT arrayJoin({column_name(shard)}.keys) AS key, count() AS n FROM {source} GROUP BY key)"
        for shard in range(SHARDS)
    )


def _is_cheap(plan: Plan) -> bool:
    """Can the filter be asked for each map? It must read neither messages nor tags, and no Parquet."""
    return not plan.query.pipes and COLD not in plan.tiers.read(plan.low, plan.high) and _is_small(plan.whole)


def _is_small(condition: c.Condition) -> bool:
    match condition:
        case c.AllOf(children) | c.AnyOf(children):
            return all(map(_is_small, children))
        case c.Negation(child):
            return _is_small(child)
        case c.Everything() | c.FingerprintIs() | c.TimeIn(field=None):
            return True
        case c.IsIn(field) | c.LooksLike(field) | c.Present(field) | c.NumberIs(field) | c.TextIs(field):
            return isinstance(field, c.Column) and field.name in SMALL
    return False


def values(plan: Plan, running: Running, name: str, limit: int) -> Stats:
    """The most common values of a field, with counts and how many events have it."""
    if field_ref(name).kind is Kind.TIME:
        raise RequestInvalid(f"cannot list values of {name}: it is a time", "ask for the histogram")
    params = plan.params()
    sql = (
        "SELECT v, n, sum(n) OVER () AS events, count() OVER () AS distinct FROM ("
        f"{_values(plan, running, name, params)} GROUP BY v) "
        f"ORDER BY n DESC, v ASC LIMIT {params.add(limit, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    events, distinct = rows[0][2:] if rows else (0, 0)
    found = [{"value": clean(v), "count": n} for v, n, *_ in rows]
    return {"field": name, "values": found, "events": events, "distinct": distinct}


def _values(plan: Plan, running: Running, name: str, params: Params) -> str:
    """A SELECT of the values `v` with their counts `n`, but for its GROUP BY."""
    fingerprints = name == "fingerprint"
    known = None
    if fingerprints or name in rollup.COUNTED:
        known = rollup.split(plan, running, fingerprints=fingerprints)
    if known is None:
        stage = event_stage(plan, params)
        value = expression_of(stage.scope.field(name, params), params)
        there = " AND ".join((*stage.conditions, present(value)))
        return f"SELECT toString({value.sql}) AS v, count() AS n FROM {stage.source} WHERE {there}"
    rollup.note_tiers(plan, running)
    value = expression_of(field_ref(name), params)
    return (
        f"SELECT toString({value.sql}) AS v, sum(rolled.n) AS n "
        f"FROM {rollup.source(plan, params, known)} AS rolled WHERE {present(value)}"
    )


# --- context -----------------------------------------------------------------------------------------------


def context(plan: Plan, running: Running, id_: str, before: int, after: int) -> Stats:
    """The events of the same service and host around one, oldest first, with that one's place among them."""
    row = _event(plan, running, id_)
    same = c.all_of((c.IsIn(c.Column("service"), (row[2],)), c.IsIn(c.Column("host"), (row[3],))))
    around = replace(plan, condition=same, low=None, high=None, after=position_of(row))
    earlier = search(replace(around, newest=True, limit=before), running).events()[::-1] if before else []
    later = search(replace(around, newest=False, limit=after), running).events() if after else []
    return {"events": [*earlier, event_of(row), *later], "index": len(earlier)}


def _event(plan: Plan, running: Running, id_: str) -> tuple[Any, ...]:
    parts = EVENT_ID.fullmatch(id_)
    if not parts or int(parts[2]) >= 1 << 32:
        raise RequestInvalid(f"cannot read id: {id_[:60]}", "give an event's id as a search shows it")
    params = plan.params()
    block = f"toFixedString(unhex({params.add(parts[1])}), 16)"
    where = f"block_id = {block} AND row = {params.add(int(parts[2]), 'UInt32')}"
    found = events_source(plan, params, where, None, None, (f"cold.block_id = {block}",))
    rows = running.query(f"SELECT {event_columns(found.tier)} FROM {found} LIMIT 1", params.values).rows
    if not rows:
        raise NotFound(f"cannot find event: {id_}", "it may have been deleted, or be in another namespace")
    return rows[0]


def aggregate(running: Running, sql: str, params: Params) -> list[tuple[Any, ...]]:
    """Rows of an aggregate; at a limit what was counted until then, which is noted."""
    try:
        return running.query(sql, params.values, partial=True, more=EAGER).rows
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return []
