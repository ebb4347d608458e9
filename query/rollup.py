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
from query.sources import Source, cold_source, hot_sources, plan_source, range_sql
from query.sql import Params, compile_condition
from query.tiers import COLD, HOT
from query.times import SECOND
from storage.errors import QueryLimit, QueryTimeout
from storage.schema import MINUTE_NANOS, NANOS
from storage.shard_states import ClusterState
from storage.standing import hidden_by

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
    ends: tuple[int, int] | None = (
        None  # the first event and the last of what `counts` answer, if there is one
    )


def split(plan: Plan, running: Running, *, fingerprints: bool = False) -> Split | None:
    """How to answer a plan, or None where it must be answered from events alone.

    `fingerprints`: are they wanted, or is the filter about them? Then the larger table is asked.
    """
    fingerprints = fingerprints or _names_fingerprint(plan.whole)
    if plan.query.pipes or not is_known(plan.whole):
        return None
    low = None if plan.low is None else -(-plan.low // MINUTE_NANOS) * MINUTE_NANOS
    high = None if plan.high is None else plan.high // MINUTE_NANOS * MINUTE_NANOS
    if low is not None and high is not None and low >= high:
        return None
    inner = replace(plan, low=low, high=high)
    try:
        found = _exact(inner, running, fingerprints)
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return None
    return found if found.epochs or found.cold else None


def ends(plan: Plan, known: Split) -> tuple[int, int] | None:
    """The times of a plan's first event and its last at the open ends of its range, where the counts alone tell."""
    complete = not known.rest and (known.cold or COLD not in plan.tiers.read(plan.low, plan.high))
    return known.ends if complete else None


def source(plan: Plan, params: Params, known: Split, step: str = "") -> str:
    """A subquery of what a plan is about: `n` events at `at` <= time <= `until`, of a service, level and fingerprint.

    Of `counts` the two are the times of the first event and the last, of the rollup the ends of their minutes. `step`:
    what is bound as nanoseconds, whole minutes; no row has events of two steps.
    """
    inner = replace(plan, low=known.low, high=known.high)
    parts = [_counted(inner, params, known, step)]
    parts += [_rows(one, known) for one in _rest(inner, params, known)]
    parts += [_rows(plan_source(edge, params), known) for edge in _edges(plan, known)]
    return f"({' UNION ALL '.join(parts)})"


def note_tiers(plan: Plan, running: Running) -> None:
    """Say which tiers' events were counted, from wherever the counts were."""
    running.tiers.update(plan.tiers.read(plan.low, plan.high))


# --- which epochs ------------------------------------------------------------------------------------------


def _exact(plan: Plan, running: Running, fingerprints: bool) -> Split:
    """The epochs whose counts add up to the events that they have. The plan's range is of whole minutes."""
    params = plan.params()
    rows = running.query(_sums(plan, params, fingerprints), params.values).rows
    state, pinned = plan.tiers.state, plan.tiers.pinned
    exact, rest, cold = [], False, pinned is not None
    cold_events = 0
    ends: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # by tier: is it cold?
    for epoch, events, counted, rolled, outside, first, last, hidden in rows:
        is_cold = state is not None and state.reads_cold(epoch)
        fits = not fingerprints or (rolled == counted and not outside)
        if is_cold:
            cold, cold_events = cold and fits, cold_events + counted
        elif not events:
            continue
        elif fits and events == counted and not hidden:
            exact.append(epoch)
        else:
            rest = True
            continue
        if first is not None and not fingerprints:
            ends[is_cold].append((first, last))
    cold = cold and pinned is not None and pinned.rows == cold_events > 0
    found = ends[False] + (ends[True] if cold else [])
    outer = (min(first for first, _ in found), max(last for _, last in found)) if found else None
    return Split(plan.low, plan.high, tuple(exact), rest, cold, fingerprints, outer)


def _sums(plan: Plan, params: Params, fingerprints: bool) -> str:
    """By epoch: its events, those counted by minute and in the rollup, minutes that the rollup does not know, ends, and
    how many of the events are hidden by deletions."""
    database, kept = plan.database, plan.tiers.hot_condition()
    hot = f" WHERE {kept}" if kept else ""
    # The counts of all that is cold are many parts: they are added up only where the cold tier is asked about.
    asked = "" if COLD in plan.tiers.read(plan.low, plan.high) else hot
    of_plan = " AND ".join(_known_where(plan, params, fingerprints=False)) if not fingerprints else "0"
    sums = dict.fromkeys(("events", "counted", "rolled", "outside", "hidden"), "0")
    sums |= {"first": "NULL", "last": "NULL"}

    def part(table: str, where: str = "", **more: str) -> str:
        columns = ", ".join(f"{sql} AS {name}" for name, sql in {**sums, **more}.items())
        return f"SELECT epoch, {columns} FROM {database}.{table}{where} GROUP BY epoch"

    parts = [
        part("events", hot, events="toInt64(count())"),
        part(
            "counts",
            asked,
            counted="toInt64(sum(count))",
            outside=f"countIf(minute < 0 OR minute >= {LAST_MINUTE})",
            first=f"minOrNullIf(counts.first, {of_plan})",
            last=f"maxOrNullIf(counts.last, {of_plan})",
        ),
        *([part("rollup", asked, rolled="toInt64(sum(count))")] if fingerprints else []),
    ]
    if (gone := hidden_by(plan.tiers.standing)) is not None:
        params.values.update(gone.values)
        where = f"{hot} AND" if hot else " WHERE"
        parts.append(part("events", f"{where} {gone.among} AND {gone.where}", hidden="toInt64(count())"))
    return (
        "SELECT epoch AS e, sum(events) AS n, sum(counted) AS by_minute, sum(rolled) AS by_print, "
        "sum(outside) AS unknown, min(first) AS earliest, max(last) AS latest, sum(hidden) AS gone "
        f"FROM ({' UNION ALL '.join(parts)}) GROUP BY e ORDER BY e"
    )


# --- the parts ---------------------------------------------------------------------------------------------


def _counted(plan: Plan, params: Params, known: Split, step: str) -> str:
    """Whole minutes from the counts. Each shard adds up its own: not every minute of it comes over the network."""
    if known.fingerprints:
        at = f"toInt64(toUnixTimestamp(minute)) * {SECOND}"
        name, until = "rollup", f"{at} + {MINUTE_NANOS - 1}"
    else:
        name, at, until = "counts", "counts.first", "counts.last"
    wanted = [f"epoch IN {params.add(list(known.epochs), 'Array(UInt32)')}"]
    if known.cold:
        wanted.append(f"NOT ({plan.tiers.hot_condition()})")
    where = [f"({' OR '.join(wanted)})", *_known_where(plan, params, fingerprints=known.fingerprints)]
    more = ", fingerprint" if known.fingerprints else ""
    given = f"FROM {plan.database}.{name} WHERE {' AND '.join(where)}"
    if not isinstance(plan.tiers.state, ClusterState):  # of one server it would be work for nothing
        return f"SELECT {at} AS at, {until} AS until, service, level, {name}.count AS n{more} {given}"
    groups = f"service, level{more}{f', {at} - positiveModulo({at}, {step})' if step else ''}"
    columns = f"min({at}) AS at, max({until}) AS until, service, level, sum({name}.count) AS n{more}"
    return f"SELECT {columns} {given} GROUP BY {groups}"


def _known_where(plan: Plan, params: Params, *, fingerprints: bool) -> list[str]:
    """A plan's filter and range of whole minutes, as conditions on `counts`, or on the rollup."""
    where = [compile_condition(plan.whole, params)]
    for op, at in ((">=", plan.low), ("<", plan.high)):
        if at is None:
            continue
        minute = at // MINUTE_NANOS
        if fingerprints:
            seconds = params.add(max(0, min(minute, LAST_MINUTE)) * 60, "UInt32")
            where.append(f"minute {op} toDateTime({seconds}, 'UTC')")
        else:
            where.append(f"minute {op} {params.add(minute, 'Int64')}")
    return where


def _rest(plan: Plan, params: Params, known: Split) -> list[Source]:
    """Whole minutes of what the counts do not add up for."""
    tiers = plan.tiers.read(plan.low, plan.high)
    found = []
    if known.rest and HOT in tiers:
        others = f"epoch NOT IN {params.add(list(known.epochs), 'Array(UInt32)')}"
        found += hot_sources(plan, params, f"{others} AND {range_sql(plan, params)}")
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


def is_known(condition: c.Condition, *, fingerprints: bool = True) -> bool:
    """Do the counts know which events it holds for? `fingerprints`: those of the larger table."""
    match condition:
        case c.AllOf(children) | c.AnyOf(children):
            return all(is_known(child, fingerprints=fingerprints) for child in children)
        case c.Negation(child):
            return is_known(child, fingerprints=fingerprints)
        case c.Everything():
            return True
        case c.FingerprintIs():
            return fingerprints
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
