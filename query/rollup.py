"""What need not be counted again: how many events of a service and level, and of a fingerprint, each minute has.

Each INSERT feeds `counts` and `rollup` beside the events. An epoch is answered from them only where they add up to just
the events that it has now; that is asked for every query, and costs no row of events. Whole minutes of such epochs are
taken from there. What is left is read from the events: the ragged ends of the range, and epochs of which an INSERT is
under way, or ended in a way that nobody knows yet. The cold tier has the same events in the same minutes, so its epochs
are answered alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from query import conditions as c
from query.plan import Plan
from query.running import Running
from query.sources import Source, cold_source, hot_source, plan_source, range_sql
from query.sql import Params, compile_condition
from query.tiers import COLD, HOT
from query.times import SECOND
from storage.errors import QueryLimit, QueryTimeout
from storage.schema import MINUTE_NANOS, NANOS

COUNTED = ("service", "level")
LAST_MINUTE = (1 << 32) // 60 - 1  # the last whole one that the rollup's DateTime can say


@dataclass(frozen=True)
class Split:
    """Which part of a plan is known already: low <= time < high of `epochs`, and of the cold tier if `cold`."""

    low: int | None
    high: int | None
    epochs: tuple[int, ...]
    rest: bool  # are there other epochs in the hot tier?
    cold: bool
    fingerprints: bool


def split(plan: Plan, running: Running, *, fingerprints: bool = False) -> Split | None:
    """How to answer a plan, or None where it must be answered from events alone.

    `fingerprints`: are they wanted, or is the filter about them? Then the larger table is asked.
    """
    fingerprints = fingerprints or _names_fingerprint(plan.condition)
    if plan.query.pipes or not _is_known(plan.condition):
        return None
    low = None if plan.low is None else -(-plan.low // MINUTE_NANOS) * MINUTE_NANOS
    high = None if plan.high is None else plan.high // MINUTE_NANOS * MINUTE_NANOS
    if low is not None and high is not None and low >= high:
        return None
    try:
        exact, rest, cold = _exact(plan, running, fingerprints)
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return None
    return Split(low, high, exact, rest, cold, fingerprints) if exact or cold else None


def source(plan: Plan, params: Params, known: Split) -> str:
    """A subquery of what a plan is about: `n` events at `at` <= time <= `until`, with service, level and fingerprint.

    What is from the counts is of one minute, what is from events of one moment.
    """
    inner = replace(plan, low=known.low, high=known.high)
    parts = [_counted(inner, params, known)]
    parts += [_rows(one, known) for one in _rest(inner, params, known)]
    parts += [_rows(plan_source(edge, params), known) for edge in _edges(plan, known)]
    return f"({' UNION ALL '.join(parts)})"


def note_tiers(plan: Plan, running: Running) -> None:
    """Say which tiers' events were counted, from wherever the counts were."""
    running.tiers.update(plan.tiers.read(plan.low, plan.high))


# --- which epochs ------------------------------------------------------------------------------------------


def _exact(plan: Plan, running: Running, fingerprints: bool) -> tuple[tuple[int, ...], bool, bool]:
    """The hot epochs whose counts add up, whether there are others, and whether the cold tier's do."""
    database, kept = plan.database, plan.tiers.hot_condition()
    parts = [
        "SELECT epoch, count() AS n, toInt64(0) AS counted, toInt64(0) AS rolled, 0 AS beyond "
        f"FROM {database}.events{f' WHERE {kept}' if kept else ''} GROUP BY epoch",
        "SELECT epoch, 0 AS n, toInt64(sum(count)) AS counted, toInt64(0) AS rolled, "
        f"countIf(minute < 0 OR minute >= {LAST_MINUTE}) AS beyond FROM {database}.counts GROUP BY epoch",
    ]
    if fingerprints:
        parts.append(
            "SELECT epoch, 0 AS n, toInt64(0) AS counted, toInt64(sum(count)) AS rolled, 0 AS beyond "
            f"FROM {database}.rollup GROUP BY epoch"
        )
    sql = (
        "SELECT epoch AS e, toInt64(sum(n)) AS events, sum(counted) AS by_minute, sum(rolled) AS by_print, "
        f"sum(beyond) AS outside FROM ({' UNION ALL '.join(parts)}) GROUP BY e ORDER BY e"
    )
    rows = running.query(sql, {}).rows
    state = plan.tiers.state
    exact, rest = [], False
    cold_counted = cold_rolled = cold_beyond = 0
    for epoch, events, counted, rolled_up, beyond in rows:
        if state is not None and state.reads_cold(epoch):
            cold_counted, cold_rolled = cold_counted + counted, cold_rolled + rolled_up
            cold_beyond += beyond
        elif events == counted and (not fingerprints or (events == rolled_up and not beyond)):
            exact += [epoch] if events else []
        elif events:
            rest = True
    pinned = plan.tiers.pinned
    cold = pinned is not None and pinned.rows == cold_counted > 0
    if fingerprints:
        cold = cold and cold_rolled == cold_counted and not cold_beyond
    return tuple(exact), rest, cold


# --- the parts ---------------------------------------------------------------------------------------------


def _counted(plan: Plan, params: Params, known: Split) -> str:
    """Whole minutes from the counts."""
    if known.fingerprints:
        name, at = "rollup", f"toInt64(toUnixTimestamp(minute)) * {SECOND}"
    else:
        name, at = "counts", f"toInt64(minute) * {MINUTE_NANOS}"
    wanted = [f"epoch IN {params.add(list(known.epochs), 'Array(UInt32)')}"]
    if known.cold:
        wanted.append(f"NOT ({plan.tiers.hot_condition()})")
    where = [f"({' OR '.join(wanted)})", compile_condition(plan.condition, params)]
    where += [
        _minute(known, op, at_, params) for op, at_ in ((">=", plan.low), ("<", plan.high)) if at_ is not None
    ]
    columns = f"{at} AS at, {at} + {MINUTE_NANOS - 1} AS until, service, level, count AS n"
    more = ", fingerprint" if known.fingerprints else ""
    return f"SELECT {columns}{more} FROM {plan.database}.{name} WHERE {' AND '.join(where)}"


def _minute(known: Split, op: str, nanos: int, params: Params) -> str:
    minute = nanos // MINUTE_NANOS
    if not known.fingerprints:
        return f"minute {op} {params.add(minute, 'Int64')}"
    return f"minute {op} toDateTime({params.add(max(0, min(minute, LAST_MINUTE)) * 60, 'UInt32')}, 'UTC')"


def _rest(plan: Plan, params: Params, known: Split) -> list[Source]:
    """Whole minutes of what the counts do not add up for."""
    tiers = plan.tiers.read(plan.low, plan.high)
    found = []
    if known.rest and HOT in tiers:
        others = f"epoch NOT IN {params.add(list(known.epochs), 'Array(UInt32)')}"
        found.append(hot_source(plan, f"{others} AND {range_sql(plan, params)}"))
    if COLD in tiers and not known.cold:
        found.append(cold_source(plan, params, range_sql(plan, params), plan.low, plan.high))
    return found


def _edges(plan: Plan, known: Split) -> list[Plan]:
    """What lies before the first whole minute and behind the last."""
    edges = []
    if plan.low is not None and plan.low != known.low:
        edges.append(replace(plan, high=known.low))
    if plan.high is not None and plan.high != known.high:
        edges.append(replace(plan, low=known.high))
    return edges


def _rows(events: Source, known: Split) -> str:
    more = ", fingerprint" if known.fingerprints else ""
    columns = f"{NANOS} AS at, {NANOS} AS until, service, level, toUInt64(1) AS n"
    return f"SELECT {columns}{more} FROM {events}"


# --- which filters -----------------------------------------------------------------------------------------


def _is_known(condition: c.Condition) -> bool:
    """Do the counts know which events it holds for?"""
    match condition:
        case c.AllOf(children) | c.AnyOf(children):
            return all(map(_is_known, children))
        case c.Negation(child):
            return _is_known(child)
        case c.Everything() | c.FingerprintIs():
            return True
        case c.IsIn(field) | c.LooksLike(field) | c.Matches(field) | c.Present(field) | c.NumberIs(field):
            return _is_counted(field)
        case c.TextIs(field):
            return _is_counted(field)
    return False


def _is_counted(field: c.FieldRef) -> bool:
    return isinstance(field, c.Column) and field.name in COUNTED


def _names_fingerprint(condition: c.Condition) -> bool:
    match condition:
        case c.AllOf(children) | c.AnyOf(children):
            return any(map(_names_fingerprint, children))
        case c.Negation(child):
            return _names_fingerprint(child)
    return isinstance(condition, c.FingerprintIs)
