"""The windows of a search: its range of time cut so that the first holds few events and the next ever more.

They are for the cold tier, for streams, and for what the hot tier cannot answer at once: the server by itself reads
the newest granules first, and those alone of which an index says that they may hold what is looked for.

A search for the newest 100 then reads the newest minutes only, and a search that finds nothing has read the range
once, in a few steps. The cuts come from the counts by minute, which know how many events (of a service, level and
fingerprint that the filter asks for) each minute has. They are only a guide: windows cover the whole range without
gaps, so that counts that are off cost time, never events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from query import conditions as c
from query import rollup
from query.plan import SERVICE, Plan
from query.running import Running
from query.sql import compile_condition
from query.times import SECOND

FIRST_EVENTS = 100_000  # a window this small is read in some ten milliseconds, whatever the filter
GROWING = tuple(FIRST_EVENTS * 8**step for step in range(6))  # up to some 3 billion events
EVEN = tuple(FIRST_EVENTS * (step + 1) for step in range(32))  # for streams: each window is sorted in memory
NEAR_EVENTS = 1 << 18  # messages that a core looks at in some thirty milliseconds
MANY_EVENTS = 1 << 22  # fewer are looked at whole in the time that cutting takes
HORIZONS = (86_400 * SECOND, 30 * 86_400 * SECOND)  # how far back the guide looks, step by step
MINUTE = 60 * SECOND
LAST_MINUTE = (1 << 32) * SECOND  # what the rollup's DateTime can say
GUIDED = ("service", "level")


@dataclass(frozen=True)
class Window:
    """low <= timestamp < high, nanoseconds; None is open."""

    low: int | None
    high: int | None


def windows(plan: Plan, running: Running, sizes: tuple[int, ...] = GROWING) -> Iterator[Window]:
    """The windows of a plan's range, in the order of its search, made as they are asked for.

    `sizes`: about how many events the first window holds, the first two, and so on.
    """
    low, high = _bounds(plan)
    for step in _horizons(plan, low, high):
        whole = Window(low, high) if step == low else Window(step, high)
        found = False
        for window in _cut(plan, running, whole, sizes):
            found = True
            yield window
        if found and plan.newest:
            high = step
        if step == low and not found:
            yield whole


def hot_alone(plan: Plan) -> Window | None:
    """The part of a plan's range that comes first and that the cold tier has nothing of; None where there is none."""
    low, high = _bounds(plan)
    pinned = plan.tiers.pinned
    if pinned is None or not pinned.overlaps(low, high):
        return Window(plan.low, plan.high)
    if not plan.newest or pinned.high is None or (high is not None and pinned.high >= high):
        return None
    return Window(pinned.high, plan.high)


def near_and_far(plan: Plan, running: Running, window: Window, wanted: int) -> list[Window]:
    """A window whole, or cut in two where most pages are full before its events have all been looked at.

    That is so where there are many of them and nothing in the filter says which few may be meant. Where the counts know
    what the filter asks for, the nearer part has what is wanted; else it is what can be looked at in no time. For whom
    not all events exist it is whole: the counts are of all of them.
    """
    state = plan.tiers.state
    if plan.guarded or state is None or state.rows < MANY_EVENTS or plan.reads_in_order or plan.asks_values:
        return [window]
    low, high = _bounds(plan)
    low, high = (window.low, high) if plan.newest else (low, window.high)
    known = rollup.is_known(plan.whole, fingerprints=False)
    guides = [plan.whole] if known else [part for part in _guides(plan) if _is_service(part)]
    cuts, _ = _edges(plan, running, low, high, (wanted if known else NEAR_EVENTS,), guides)
    if not cuts:
        return [window]
    near, far = Window(cuts[0], window.high), Window(window.low, cuts[0])
    return [near, far] if plan.newest else [far, near]


def _is_service(part: c.Condition) -> bool:
    """The table's order rules out events of other services, and of nothing else that the counts know."""
    return _is_guided(part) and getattr(part, "field", None) == SERVICE


def _bounds(plan: Plan) -> tuple[int | None, int | None]:
    """The range that is left behind the cursor."""
    low, high = plan.low, plan.high
    if plan.after is None:
        return low, high
    if plan.newest:
        return low, plan.after.timestamp + 1
    return plan.after.timestamp, high


def _horizons(plan: Plan, low: int | None, high: int | None) -> list[int | None]:
    """How far back to look, step by step: the guide must not read a year to find the last minute."""
    if not plan.newest:
        return [low]
    top = min(plan.now, high) if high is not None else plan.now
    steps = [(top - horizon) // MINUTE * MINUTE for horizon in HORIZONS]
    return [*(step for step in steps if low is None or step > low), low]


def _cut(plan: Plan, running: Running, whole: Window, sizes: tuple[int, ...]) -> Iterator[Window]:
    """A range in windows; nothing where the guide knows of no events in it."""
    low, high, guides = whole.low, whole.high, _guides(plan)
    edges, total = _edges(plan, running, low, high, sizes, guides)
    while True:
        for edge in edges:
            yield Window(edge, high) if plan.newest else Window(low, edge)
            low, high = (low, edge) if plan.newest else (edge, high)
        if total <= sizes[-1] or not edges:
            break
        edges, total = _edges(plan, running, low, high, sizes, guides)
    if total:
        yield Window(low, high)


def _edges(
    plan: Plan,
    running: Running,
    low: int | None,
    high: int | None,
    sizes: tuple[int, ...],
    guides: Sequence[c.Condition],
) -> tuple[list[int], int]:
    """Cuts within a range, in the order of the search, and how many events that meet `guides` are counted in it.

    About as many events as a size says are before each cut. Sizes that the range does not have make none.
    """
    params = plan.params()
    where = [compile_condition(test, params) for test in guides]
    if any(isinstance(test, c.FingerprintIs) for test in guides):
        table, seconds = "rollup", "toUnixTimestamp(minute)"
        bounds = [
            (op, f"toDateTime({params.add(_minute(at), 'UInt32')}, 'UTC')") for op, at in _ends(low, high)
        ]
    else:  # the same with far fewer rows
        table, seconds = "counts", "toInt64(minute) * 60"
        bounds = [(op, params.add(at // MINUTE, "Int64")) for op, at in _ends(low, high)]
    where += [f"minute {op} {bound}" for op, bound in bounds]
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    direction, pick = ("DESC", "minIf") if plan.newest else ("ASC", "maxIf")
    picks = ", ".join(
        f"{pick}(toInt64({seconds}), before < {params.add(size, 'UInt64')}) AS e{step}"
        for step, size in enumerate(sizes)
    )
    minutes = f"SELECT minute, sum({table}.count) AS n FROM {plan.database}.{table}{clause} GROUP BY minute"
    running_total = (
        f"SELECT minute, n, sum(n) OVER (ORDER BY minute {direction}) - n AS before FROM ({minutes})"
    )
    row = running.query(f"SELECT {picks}, sum(n) AS total FROM ({running_total})", params.values).rows[0]
    total = row[-1]
    after = 0 if plan.newest else MINUTE
    cuts = {edge * SECOND + after for edge, size in zip(row, sizes, strict=False) if size < total}
    inside = [at for at in cuts if (low is None or at > low) and (high is None or at < high)]
    return sorted(inside, reverse=plan.newest), total


def _ends(low: int | None, high: int | None) -> list[tuple[str, int]]:
    return [*([(">=", low)] if low is not None else []), *([("<=", high - 1)] if high is not None else [])]


def _minute(nanos: int) -> int:
    """Seconds of the minute, within what DateTime can say."""
    return max(0, min(nanos, LAST_MINUTE - MINUTE)) // MINUTE * 60


def _guides(plan: Plan) -> list[c.Condition]:
    """What every event found must meet and the rollup knows."""
    return [part for part in plan.parts if isinstance(part, c.FingerprintIs) or _is_guided(part)]


def _is_guided(part: c.Condition) -> bool:
    if not isinstance(part, c.IsIn | c.LooksLike | c.Present):
        return False
    return isinstance(part.field, c.Column) and part.field.name in GUIDED
