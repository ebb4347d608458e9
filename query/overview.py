"""Answers about many events at once: histogram, fields and their values, and the lines around one event."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from query import conditions as c
from query.analyze import COLUMNS, field_ref
from query.conditions import Kind
from query.errors import NotFound, RequestInvalid
from query.events import clean, event_columns, event_of, position_of
from query.plan import Plan
from query.running import Running
from query.search import TIER, range_sql, search
from query.sql import Params, text_of
from query.times import SECOND, to_rfc3339
from storage.errors import QueryLimit, QueryTimeout
from storage.tags import SHARDS, column_name

NICE_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
NICE_NANOS = tuple(10**power * step for power in range(9) for step in (1, 2, 5))
MAX_GROUPS = 50  # of a histogram: more colours than this tell nothing apart
OTHER = "(other)"
EVENT_ID = re.compile(r"([0-9a-f]{32})-(\d{1,10})")
Stats = dict[str, Any]


# --- histogram ---------------------------------------------------------------------------------------------


def histogram(plan: Plan, running: Running, buckets: int, by: str | None) -> Stats:
    """Counts by time, every bucket of the range, also the empty ones; `by` splits them by a field's values."""
    bounds = _extent(plan, running)
    if bounds is None:
        return {"buckets": [], "interval_ms": None}
    low, high = bounds
    width = bucket_width(high - low, buckets)
    counts = _bucket_counts(replace(plan, low=low, high=high), running, width, by)
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


def _extent(plan: Plan, running: Running) -> tuple[int, int] | None:
    """The range to show: as asked, and where that is open, from the first event found to the last."""
    if plan.low is not None and plan.high is not None:
        return (plan.low, plan.high) if plan.high > plan.low else None
    params = Params(plan.database)
    sql = (
        "SELECT min(toUnixTimestamp64Nano(timestamp)) AS low, max(toUnixTimestamp64Nano(timestamp)) AS high, "
        f"count() AS n FROM {plan.database}.events WHERE {range_sql(plan, params)}"
    )
    rows = aggregate(running, sql, params)
    if not rows or rows[0][2] == 0:
        return None
    low, high, _ = rows[0]
    return plan.low if plan.low is not None else low, plan.high if plan.high is not None else high + 1


def _bucket_counts(plan: Plan, running: Running, width: int, by: str | None) -> dict[int, dict[str, int]]:
    params = Params(plan.database)
    bound = params.add(width, "Int64")
    nanos = "toUnixTimestamp64Nano(timestamp)"
    group = text_of(field_ref(by), params) if by else "''"
    sql = (
        f"SELECT {nanos} - positiveModulo({nanos}, {bound}) AS start, {group} AS value, count() AS n "
        f"FROM {plan.database}.events WHERE {range_sql(plan, params)} GROUP BY start, value"
    )
    counts: dict[int, dict[str, int]] = {}
    rows = aggregate(running, sql, params)
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
    params = Params(plan.database)
    where = range_sql(plan, params)
    texts = ("level", "service", "host", "message", "trace_id", "span_id")
    counts = ", ".join(f"countIf({name} != '') AS n_{name}" for name in texts)
    totals = aggregate(
        running, f"SELECT count() AS n, {counts} FROM {plan.database}.events WHERE {where}", params
    )
    total, *present = totals[0] if totals else (0, *(0 for _ in texts))
    by_column = {"timestamp": total, "fingerprint": total, **dict(zip(texts, present, strict=True))}
    names = [name for name in COLUMNS if name in by_column]
    found = [_field(name, COLUMNS[name].kind.value, by_column[name]) for name in names if by_column[name]]
    return {"fields": found + _tag_fields(plan, running, limit)}


def _field(name: str, type_: str, count: int) -> Stats:
    return {"name": name, "kind": "column" if name in COLUMNS else "tag", "type": type_, "count": count}


def _tag_fields(plan: Plan, running: Running, limit: int) -> list[Stats]:
    params = Params(plan.database)
    keys = ", ".join(f"mapKeys({column_name(shard)})" for shard in range(SHARDS))
    sql = (
        f"SELECT arrayJoin(arrayConcat({keys})) AS key, count() AS n FROM {plan.database}.events "
        f"WHERE {range_sql(plan, params)} GROUP BY key ORDER BY n DESC, key ASC LIMIT {params.add(limit, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    return [{"name": clean(key), "kind": "tag", "type": Kind.TEXT.value, "count": n} for key, n in rows]


def values(plan: Plan, running: Running, name: str, limit: int) -> Stats:
    """The most common values of a field, with counts and how many events have it."""
    ref = field_ref(name)
    if ref.kind is Kind.TIME:
        raise RequestInvalid(f"cannot list values of {name}: it is a time", "ask for the histogram")
    params = Params(plan.database)
    value = text_of(ref, params)
    shown = "lower(leftPad(hex(fingerprint), 16, '0'))" if ref.kind is Kind.FINGERPRINT else value
    there = "" if ref.kind is Kind.FINGERPRINT else f" AND {value} != ''"
    sql = (
        "SELECT v, n, sum(n) OVER () AS events, count() OVER () AS distinct FROM ("
        f"SELECT {shown} AS v, count() AS n FROM {plan.database}.events "
        f"WHERE {range_sql(plan, params)}{there} GROUP BY v) "
        f"ORDER BY n DESC, v ASC LIMIT {params.add(limit, 'UInt64')}"
    )
    rows = aggregate(running, sql, params)
    events, distinct = rows[0][2:] if rows else (0, 0)
    found = [{"value": clean(v), "count": n} for v, n, *_ in rows]
    return {"field": name, "values": found, "events": events, "distinct": distinct}


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
    sql = (
        f"SELECT {event_columns(TIER)} FROM {plan.database}.events "
        "WHERE block_id = toFixedString(unhex({p0:String}), 16) AND row = {p1:UInt32} LIMIT 1"
    )
    rows = running.query(sql, {"p0": parts[1], "p1": int(parts[2])}).rows
    if not rows:
        raise NotFound(f"cannot find event: {id_}", "it may have been deleted, or be in another namespace")
    return rows[0]


def aggregate(running: Running, sql: str, params: Params) -> list[tuple[Any, ...]]:
    """Rows of an aggregate; at a limit what was counted until then, which is noted."""
    try:
        return running.query(sql, params.values, partial=True).rows
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return []
