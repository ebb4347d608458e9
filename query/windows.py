"""The windows of a search: its range of time cut so that the first holds few events and the next ever more.

They are for the cold tier, for streams, and for what the hot tier cannot answer at once: the server by itself reads
the newest granules first, and those alone of which an index says that they may hold what is looked for.

A search for the newest 100 then reads the newest minutes only, and a search that finds nothing has read the range
once, in a few steps. The cuts come from the rollup, which knows how many events (of a service, level and fingerprint
that the filter asks for) each minute has. The rollup is only a guide: windows cover the whole range without gaps, so
that a rollup that is off costs time, never events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from query import conditions as c
from query.plan import Plan
from query.running import Running
from query.sql import compile_condition
from query.times import SECOND

FIRST_EVENTS = 100_000  # a window this small is read in some ten milliseconds, whatever the filter
GROWING = tuple(FIRST_EVENTS * 8**step for step in range(6))  # up to some 3 billion events
EVEN = tuple(FIRST_EVENTS * (step + 1) for step in range(32))  # for streams: each window is sorted in memory
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
    low, high = whole.low, whole.high
    edges, total = _edges(plan, running, low, high, sizes)
    while True:
        for edge in edges:
            yield Window(edge, high) if plan.newest else Window(low, edge)
            low, high = (low, edge) if plan.newest else (edge, high)
        if total <= sizes[-1] or not edges:
            break
        edges, total = _edges(plan, running, low, high, sizes)
    if total:
        yield Window(low, high)


def _edges(
    plan: Plan, running: Running, low: int | None, high: int | None, sizes: tuple[int, ...]
) -> tuple[list[int], int]:
    """Cuts within a range, in the order of the search, and how many events the rollup counts in it.

    About as many events as a size says are before each cut. Sizes that the range does not have make none.
    """
    params = plan.params()
    where = [
        f"minute {op} toDateTime({params.add(_minute(at), 'UInt32')}, 'UTC')" for op, at in _ends(low, high)
    ]
    where += [compile_condition(test, params) for test in _guides(plan.whole)]
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    direction, pick = ("DESC", "minIf") if plan.newest else ("ASC", "maxIf")
    picks = ", ".join(
        f"{pick}(toInt64(toUnixTimestamp(minute)), before < {params.add(size, 'UInt64')}) AS e{step}"
        for step, size in enumerate(sizes)
    )
    minutes = f"SELECT minute, sum(count) AS n FROM {plan.database}.rollup{clause} GROUP BY minute"
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


def _guides(condition: c.Condition) -> list[c.Condition]:
    """What every event found must meet and the rollup knows."""
    parts = condition.conditions if isinstance(condition, c.AllOf) else (condition,)
    return [part for part in parts if isinstance(part, c.FingerprintIs) or _is_guided(part)]


def _is_guided(part: c.Condition) -> bool:
    if not isinstance(part, c.IsIn | c.LooksLike | c.Present):
        return False
    return isinstance(part.field, c.Column) and part.field.name in GUIDED
