"""What tells some events from others: the values of fields that they have more often.

Which values to look at is learnt from a sample of each side, drawn by the events' ids, so that it is the same each
time. What is answered of them is counted over every event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from query import conditions as c
from query.ast import Extract, Query, Unpack
from query.events import clean
from query.leading import event_stage
from query.overview import aggregate
from query.pipes import Stage
from query.plan import Plan
from query.running import Running
from query.sql import Params

SAMPLE = 50_000  # events of each side
CANDIDATES = 2000  # values of the first side that the second is asked for
LONGEST = 256  # bytes of a value: a longer one is a text, and tells nothing apart
LEAST = 0.01  # of the first side's events have it, or it says little of them
SURE = 16  # of G²: of two thousand values hardly one exceeds it by chance
FEW = 3  # have it at least, where there are so many: else every id would tell its own event from the others
COLUMNS = ("level", "service", "host")
Pair = tuple[Any, Any]  # field and value, as they are stored: bytes where they are not UTF-8
Answer = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """Events to compare, how many there are, and each how many-th is in the sample."""

    plan: Plan
    events: int

    @property
    def every(self) -> int:
        return max(1, -(-self.events // SAMPLE))


def rest_of(plan: Plan) -> Plan:
    """All events of a plan's range, with the fields that its pipes take out of them: what is left of these is what the
    plan does not find."""
    taking = tuple(pipe for pipe in plan.query.pipes if isinstance(pipe, Extract | Unpack))
    return replace(plan, query=Query(plan.query.filter, taking), condition=c.Everything())


def differences(plan: Plan, running: Running, other: Plan | None, limit: int) -> Answer:
    """The values that a plan's events have more often than another's, or than the rest of its range has."""
    here = Side(plan, _count(plan, running))
    whole = Side(rest_of(plan) if other is None else other, 0)
    whole = replace(whole, events=_count(whole.plan, running))
    others = whole.events - here.events if other is None else whole.events
    pairs = _chosen(running, here, whole, limit) if here.events and others > 0 else []
    first = _exact(plan, running, pairs)
    second = _exact(whole.plan, running, pairs)
    found = []
    for pair, n, m in zip(pairs, first, second, strict=True):
        beyond = m - n if other is None else m
        found.append(_difference(pair, n, here.events, beyond, others))
    found = [one for one in found if one["share"] > one["other_share"] and one["surprise"] >= SURE]
    found.sort(key=lambda one: (-one["surprise"], one["field"], one["value"]))
    return {"differences": found, "total_events": here.events, "other_events": others}


def _difference(pair: Pair, n: int, total: int, m: int, others: int) -> Answer:
    name, value = pair
    return {
        "field": clean(name),
        "value": clean(value),
        "count": n,
        "share": n / total,
        "other_count": m,
        "other_share": m / others,
        "surprise": round(_surprise(n, total, m, others), 3),
    }


def _surprise(n: float, total: float, m: float, others: float) -> float:
    """G²: how unlikely it is that both sides have a value equally often."""
    part = (n + m) / (total + others)
    cells = (
        (n, total * part),
        (total - n, total * (1 - part)),
        (m, others * part),
        (others - m, others * (1 - part)),
    )
    return 2 * sum(seen * math.log(seen / expected) for seen, expected in cells if seen > 0 and expected > 0)


# --- which values ------------------------------------------------------------------------------------------


def _chosen(running: Running, here: Side, whole: Side, limit: int) -> list[Pair]:
    """The values that differ most between the samples."""
    first = _sampled(running, here, None)
    second = _sampled(running, whole, list(first)) if first else {}
    total, others = here.events / here.every, whole.events / whole.every
    least = max(total * LEAST, min(FEW, total))
    scored = []
    for pair, n in first.items():
        m = second.get(pair, 0)
        if n >= least and n / total > m / others:
            scored.append((-_surprise(min(n, total), total, min(m, others), others), repr(pair), pair))
    return [pair for *_, pair in sorted(scored)[:limit]]


def _sampled(running: Running, side: Side, wanted: list[Pair] | None) -> dict[Pair, int]:
    """Fields and values of a sample with their counts; the most common, or those that are wanted."""
    params = side.plan.params()
    stage = event_stage(side.plan, params)
    sample = f"cityHash64(block_id, row) % {params.add(side.every, 'UInt32')} = 0"
    where = " AND ".join((*stage.conditions, sample))
    pairs = _pairs(stage, params)
    kept = f"length(p.2) BETWEEN 1 AND {LONGEST}"
    if wanted is not None:
        names, values = ([pair[i] for pair in wanted] for i in (0, 1))
        kept += (
            f" AND (p.1, p.2) IN (SELECT k, v FROM (SELECT 1) ARRAY JOIN {params.add(names, 'Array(String)')} AS k, "
            f"{params.add(values, 'Array(String)')} AS v)"
        )
    sql = (
        f"SELECT p.1 AS k, p.2 AS v, count() AS n FROM (SELECT arrayJoin({pairs}) AS p FROM {stage.source} "
        f"WHERE {where}) WHERE {kept} GROUP BY k, v ORDER BY n DESC, k, v LIMIT {CANDIDATES}"
    )
    return {(k, v): n for k, v, n in aggregate(running, sql, params)}


def _pairs(stage: Stage, params: Params) -> str:
    """The SQL of an array: every field of an event with its value."""
    own = ", ".join(f"('{name}', toString({stage.scope.text(name, params)}))" for name in COLUMNS)
    return f"arrayConcat([{own}], {stage.scope.pairs(params)})"


# --- how many ----------------------------------------------------------------------------------------------


def _count(plan: Plan, running: Running) -> int:
    params = plan.params()
    stage = event_stage(plan, params)
    rows = aggregate(running, f"SELECT count() AS n FROM {stage.source}{stage.where()}", params)
    return int(rows[0][0]) if rows else 0


def _exact(plan: Plan, running: Running, pairs: list[Pair]) -> tuple[int, ...]:
    """How many events of a plan have each value."""
    if not pairs:
        return ()
    params = plan.params()
    stage = event_stage(plan, params)
    counts = ", ".join(
        f"countIf({stage.scope.text(clean(name), params)} = {params.add(value)}) AS n{i}"
        for i, (name, value) in enumerate(pairs)
    )
    rows = aggregate(running, f"SELECT {counts} FROM {stage.source}{stage.where()}", params)
    return tuple(rows[0]) if rows else (0,) * len(pairs)
