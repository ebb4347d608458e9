"""What changed between two ranges of time, or two filters: patterns that are new, gone, more or fewer."""

from __future__ import annotations

from typing import Any

from query.events import hex_fingerprint
from query.members import pattern_of
from query.overview import aggregate
from query.patterns import counted, described
from query.plan import Plan
from query.running import Running
from query.sparklines import sparklines

CHANGES = ("new", "gone", "grown", "shrunk", "same")
BY_CHANCE = 10.83  # of G², which one pattern in a thousand exceeds though nothing has changed
NOTABLE = 1.5  # times as many: less is no news, however certain
Answer = dict[str, Any]


def compare(
    plan: Plan, running: Running, other: Plan, limit: int, change: str = "", points: int = 0
) -> Answer:
    """The patterns of both plans, those first whose count surprises most. `change`: only those of that kind.

    The second plan's counts are taken in proportion to the lengths of the ranges; where a range is open, as they are.
    """
    rows = _rows(plan, running, other, limit, change)
    here = [id_ for id_, n, *_ in rows if n]
    gone = [id_ for id_, n, *_ in rows if not n]
    texts = {**described(plan, running, here), **described(other, running, gone)}
    totals = rows[0][4:] if rows else (0, 0, *(0 for _ in CHANGES))
    answer: Answer = {
        "patterns": [_changed(texts[row[0]], row) for row in rows if row[0] in texts],
        "total_events": totals[0],
        "previous_total_events": totals[1],
        "counts": dict(zip(CHANGES, totals[2:], strict=True)),
    }
    if points:
        _add_sparklines(answer, plan, running, other, [row[0] for row in rows], points)
    return answer


def _rows(plan: Plan, running: Running, other: Plan, limit: int, change: str) -> list[tuple[Any, ...]]:
    """(pattern, count, count of the other plan, change); then on each both totals, and how many there are of each
    change."""
    params = plan.params()
    part = params.add(_part(plan, other), "Float64")
    both = (
        f"SELECT fingerprint AS f, n AS here, toUInt64(0) AS there FROM {counted(plan, running, params)} UNION ALL "
        f"SELECT fingerprint AS f, toUInt64(0) AS here, n AS there FROM {counted(other, running, params)}"
    )
    prints = f"SELECT f, sum(here) AS here, sum(there) AS there FROM ({both}) GROUP BY f"
    grouped = (
        f"SELECT id, sum(here) AS a, sum(there) AS b, (a + b) * {part} AS ea, (a + b) * (1 - {part}) AS eb, "
        "2 * (if(a = 0, 0, a * log(a / ea)) + if(b = 0, 0, b * log(b / eb))) AS surprise, "
        "(a / ea) / (b / eb) AS times, "
        f"multiIf(b = 0, 'new', a = 0, 'gone', surprise < {BY_CHANCE}, 'same', times >= {NOTABLE}, 'grown', "
        f"times <= 1 / {NOTABLE}, 'shrunk', 'same') AS change "
        f"FROM ({pattern_of(prints, plan.database, alone=plan.guarded)}) GROUP BY id"
    )
    kinds = ", ".join(f"countIf(change = '{kind}') OVER () AS n_{kind}" for kind in CHANGES)
    wanted = f"change = {params.add(change)}" if change else "1"
    sql = (
        f"SELECT id, a, b, change, all_a, all_b, {', '.join(f'n_{kind}' for kind in CHANGES)} FROM "
        f"(SELECT *, sum(a) OVER () AS all_a, sum(b) OVER () AS all_b, {kinds} FROM ({grouped})) WHERE {wanted} "
        f"ORDER BY change = 'same', surprise DESC, id LIMIT {params.add(limit, 'UInt64')}"
    )
    return aggregate(running, sql, params)


def _part(plan: Plan, other: Plan) -> float:
    """Which part of both ranges is the first one's."""
    if plan.seconds is None or other.seconds is None:
        return 0.5
    return plan.seconds / (plan.seconds + other.seconds)


def _changed(pattern: Answer, row: tuple[Any, ...]) -> Answer:
    _, count, before, change, total, total_before, *_ = row
    return {
        **pattern,
        "count": count,
        "share": count / total if total else 0,
        "previous_count": before,
        "previous_share": before / total_before if total_before else 0,
        "change": change,
    }


def _add_sparklines(
    answer: Answer, plan: Plan, running: Running, other: Plan, ids: list[int], points: int
) -> None:
    for prefix, one in (("", plan), ("previous_", other)):
        lines, scale = sparklines(one, running, ids, points)
        by_name = {hex_fingerprint(id_): line for id_, line in lines.items()}
        answer[f"{prefix}sparkline"] = scale
        for pattern in answer["patterns"]:
            pattern[f"{prefix}sparkline"] = by_name.get(pattern["fingerprint"], [])
