"""The SQL that stands where `events` would: the hot table, a snapshot of the cold one, or both under one name.

Each branch has the whole filter, and the cold one also what Parquet has bounds and bloom filters of, in the columns of
the cold table: so partitions, files and row groups are ruled out.

Of a cluster one shard reads the cold tier; where there is much to read, each shard a part of its files (decision 030).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from query import conditions as c
from query.events import event_columns, some_tags
from query.plan import Plan
from query.sql import Params, compile_condition, members_of, nanos
from query.tiers import COLD, HOT
from storage.cold_columns import TEXTS
from storage.matching import Matching
from storage.schema import EVENT_COLUMNS
from storage.spreading import PART, TABLE, on_each, own_table
from storage.standing import hidden_by

COLUMNS = ", ".join(name for name, _ in EVENT_COLUMNS)
APART_EVENTS = 8_000_000
"""From so many cold events on, by the length of the range, each shard reads a part. Each has to plan the snapshot."""
NARROW, NARROWER = ("service", "host", "trace_id", "span_id"), 16
"""A filter by one of these leaves about one row group of so many to read: the table is sorted so, or has indexes."""


@dataclass(frozen=True)
class Source:
    """What a SELECT is from: `FROM {table} WHERE {conditions}`, and the SQL of the tier that a row is of."""

    table: str
    conditions: tuple[str, ...]
    tier: str

    def __str__(self) -> str:
        return f"{self.table} WHERE {' AND '.join(self.conditions)}" if self.conditions else self.table


def events_source(
    plan: Plan,
    params: Params,
    where: str,
    low: int | None,
    high: int | None,
    cold_where: tuple[str, ...] = (),
) -> Source:
    """The events that meet `where`, which has `low` and `high` in it already.

    `cold_where`: what follows from it for a row `cold` of the cold table.
    """
    tiers = plan.tiers.read(low, high)
    if _is_apart(plan, low, high, narrow=bool(cold_where)):
        found = hot_sources(plan, params, where, own=True) if HOT in tiers else []
        found.append(cold_source(plan, params, where, low, high, (*cold_where, PART)))
        if (apart := _on_each(found)) is not None:
            return apart
    found = hot_sources(plan, params, where) if HOT in tiers or COLD not in tiers else []
    found += [cold_source(plan, params, where, low, high, cold_where)] if COLD in tiers else []
    return found[0] if len(found) == 1 else Source(f"({_together(found)})", (), "tier")


def page_sources(plan: Plan, params: Params, where: str, low: int | None, high: int | None) -> list[Source]:
    """As `events_source`, for who sorts and cuts each: so the hot table need not make the other events whole."""
    tiers = plan.tiers.read(low, high)
    found = hot_sources(plan, params, where) if HOT in tiers or COLD not in tiers else []
    if COLD not in tiers:
        return found
    apart = None
    if _is_apart(plan, low, high):
        apart = _on_each([cold_source(plan, params, where, low, high, (PART,))])
    return [*found, apart or cold_source(plan, params, where, low, high)]


def _together(sources: list[Source]) -> str:
    return " UNION ALL ".join(f"SELECT {COLUMNS}, {one.tier} AS tier FROM {one}" for one in sources)


def _is_apart(plan: Plan, low: int | None, high: int | None, *, narrow: bool = False) -> bool:
    """Is there enough to read in the cold tier for all shards? `narrow`: most of its row groups are ruled out."""
    pinned = plan.tiers.pinned
    if not plan.tiers.apart or pinned is None:
        return False
    least = APART_EVENTS * NARROWER if narrow or any(map(_is_narrow, plan.parts)) else APART_EVENTS
    return pinned.about(low, high) >= least


def _is_narrow(part: c.Condition) -> bool:
    return isinstance(part, c.IsIn) and isinstance(part.field, c.Column) and part.field.name in NARROW


def _on_each(sources: list[Source]) -> Source | None:
    """These sources on each shard; None where they ask tables that all shards have to be asked for."""
    select = _together(sources)
    return None if TABLE.search(select) else Source(on_each(select), (), "tier")


def page_sql(
    plan: Plan,
    params: Params,
    where: str,
    low: int | None,
    high: int | None,
    order: Mapping[str, str],
    bound: str,
) -> str:
    """Whole events in order. Each tier gives its own first ones: so it need not make the others whole.

    `order`: the ORDER BY over columns of the table, and over those of the answer; `bound`: the LIMIT, if any.
    """
    sources = page_sources(plan, params, where, low, high)
    tags = some_tags(plan.tags, params)
    parts = [
        f"SELECT {event_columns(one.tier, tags=tags)} FROM {one} ORDER BY {order['table']}{bound}"
        for one in sources
    ]
    if len(parts) == 1:
        return parts[0]
    both = " UNION ALL ".join(f"SELECT * FROM ({part})" for part in parts)
    return f"SELECT * FROM ({both}) ORDER BY {order['answer']}{bound}"


def hot_sources(plan: Plan, params: Params, where: str, *, own: bool = False) -> list[Source]:
    """The events of the hot tier alone: two parts where some may be hidden, of which only one is looked at for that.

    `own`: those of the shard that the statement runs on.
    """
    kept = plan.tiers.hot_condition()
    conditions = (*((kept,) if kept else ()), *_guard(plan, params), where)
    hidden = hidden_by(plan.tiers.standing)
    parts = [conditions]
    if hidden is not None:
        params.values.update(hidden.values)
        parts = [
            (*conditions, f"NOT {hidden.among}"),
            (*conditions, hidden.among, f"NOT {hidden.where}"),
        ]
    table = own_table(plan.database, "events") if own else f"{plan.database}.events"
    return [Source(table, part, f"'{HOT}'") for part in parts]


def cold_source(
    plan: Plan,
    params: Params,
    where: str,
    low: int | None,
    high: int | None,
    more: tuple[str, ...] = (),
) -> Source:
    """The events of the cold tier alone."""
    pinned = plan.tiers.pinned
    assert pinned is not None
    params.values.update(pinned.parameters)
    rows = pinned.select(pinned.columns(), low, high, [*_bounded(plan.whole, params), *more])
    return Source(f"({rows})", (*_guard(plan, params), where), f"'{COLD}'")


def _guard(plan: Plan, params: Params) -> tuple[str, ...]:
    """What keeps events away that do not exist for who asks: here, so that no path can forget it."""
    return (compile_condition(plan.guard, params),) if plan.guarded else ()


def _bounded(condition: c.Condition, params: Params) -> list[str]:
    """What every event found must meet and the cold table has bounds of.

    A text that is not UTF-8 is stored there in other words too, but no value that is UTF-8 equals it.
    """
    parts = condition.conditions if isinstance(condition, c.AllOf) else (condition,)
    found = []
    for part in parts:
        if isinstance(part, c.IsIn) and isinstance(part.field, c.Column) and part.field.name in TEXTS:
            found.append(f"cold.{part.field.name} IN {params.add(list(part.values), 'Array(String)')}")
        elif isinstance(part, c.FingerprintIs):
            members = members_of(params.add(part.fingerprint, "UInt64"), params.database)
            found.append(f"cold.fingerprint IN (SELECT reinterpretAsInt64(f) FROM ({members}))")
    return found


def range_sql(plan: Plan, params: Params) -> str:
    """The WHERE clause of everything that a plan is about, without its cursor."""
    tests = [compile_condition(plan.condition, params)]
    tests += [f"timestamp >= {nanos(plan.low, params)}"] if plan.low is not None else []
    tests += [f"timestamp < {nanos(plan.high, params)}"] if plan.high is not None else []
    return " AND ".join(tests)


def plan_source(plan: Plan, params: Params, more: str = "") -> Source:
    """Everything that a plan is about, without its cursor; `more`: a further condition."""
    where = range_sql(plan, params)
    return events_source(plan, params, f"{where} AND {more}" if more else where, plan.low, plan.high)


def matching(plan: Plan) -> Matching:
    """The events that a plan is about, for who deletes them: an administrator, for whom all exist."""
    assert not plan.guarded
    params = plan.params()
    where = range_sql(plan, params)
    bounds = tuple(_bounded(plan.condition, params))
    return Matching(where, params.values, plan.low, plan.high, bounds)
