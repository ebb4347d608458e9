"""How many events of a pattern there were, by time: a few numbers for each, to draw beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from query import rollup
from query.leading import event_stage
from query.members import pattern_of
from query.overview import aggregate, bucket_width, extent
from query.plan import Plan
from query.running import Running
from query.times import to_rfc3339
from storage.schema import MINUTE_NANOS, NANOS

MOST_POINTS = 200
Sparklines = dict[int, list[int]]


def sparklines(
    plan: Plan, running: Running, ids: list[int], points: int
) -> tuple[Sparklines, dict[str, Any] | None]:
    """Counts by pattern, oldest first, about `points` of each; and where the first begins and how long each is."""
    known = rollup.split(plan, running, fingerprints=True)
    bounds = extent(plan, running, known) if ids else None
    if bounds is None:
        return {}, None
    low, high = bounds
    width = bucket_width(high - low, points)
    first = low - low % width
    length = len(range(first, high, width))
    found: Sparklines = {id_: [0] * length for id_ in ids}
    for id_, start, n in _counts(replace(plan, low=low, high=high), plan, running, known, ids, width):
        found[id_][(start - first) // width] = n
    return found, {"start": to_rfc3339(first), "interval_ms": width / 1_000_000}


def _counts(
    bounded: Plan, plan: Plan, running: Running, known: rollup.Split | None, ids: list[int], width: int
) -> list[tuple[Any, ...]]:
    """(pattern, start, events); `known` is of the plan, whose range may be open."""
    params = plan.params()
    bound, wanted = params.add(width, "Int64"), params.add(ids, "Array(UInt64)")
    if known is None or width % MINUTE_NANOS:
        stage = event_stage(bounded, params)
        columns = f"fingerprint, {NANOS} AS at, toUInt64(1) AS n"
        source = f"(SELECT {columns} FROM {stage.source}{stage.where()})"
    else:
        rollup.note_tiers(plan, running)
        source = rollup.source(plan, params, known, bound)
    counted = (
        f"SELECT fingerprint AS f, at - positiveModulo(at, {bound}) AS start, sum(n) AS n "
        f"FROM {source} GROUP BY f, start"
    )
    sql = (
        f"SELECT id, start, sum(n) AS events FROM ({pattern_of(counted, plan.database, alone=plan.guarded)}) "
        f"WHERE id IN {wanted} GROUP BY id, start"
    )
    return aggregate(running, sql, params)
