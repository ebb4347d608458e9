"""Range aggregations: one statement each, which counts lines into windows of time.

At a step's time t a range [5m] is about t-5m < time <= t. Steps and ranges are cut into buckets of their greatest
common width; the server aggregates each bucket once, and then puts the buckets of each window together. So a line is
read once, however many windows it is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from query.errors import RequestInvalid
from query.events import clean
from query.logql import ast
from query.logql.asking import split
from query.logql.labels import SAME, STREAM, unsupported
from query.logql.layers import Lines, stream_labels
from query.logql.pipeline import Stages, checked, number_of
from query.logql.vectors import Labels, Vector, labels_of
from query.plan import Plan
from query.running import Running
from query.sources import plan_source
from query.sql import Params
from query.times import MAX_NS, MIN_NS, SECOND

MAX_POINTS = 500_000  # values of one aggregation: as many as Python takes in some seconds
CONVERSIONS = {"": "number", "bytes": "bytes", "duration": "duration", "duration_seconds": "duration"}
NUMBERED = {
    "sum_over_time": "sum", "avg_over_time": "avg", "min_over_time": "min", "max_over_time": "max",
    "stddev_over_time": "stddevPopStable", "stdvar_over_time": "varPopStable", "rate": "sum",
    "first_over_time": "argMin", "last_over_time": "argMax",
}  # fmt: skip
PLACE = "(timestamp, block_id, row)"


@dataclass(frozen=True)
class Steps:
    """The moments that a query is answered for: `count` of them, from `start` on. Nanoseconds."""

    start: int
    step: int
    count: int

    def millis(self, number: int) -> int:
        return (self.start + number * self.step) // 1_000_000


@dataclass(frozen=True)
class Asked:
    """What a range aggregation is grouped by. `by` None: by all labels of a stream, and those that stages made.

    `also`: tags that somebody further out groups by.
    """

    by: tuple[str, ...] | None
    without: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def range_vector(
    node: ast.RangeAggregation, asked: Asked, steps: Steps, plan: Plan, running: Running
) -> Vector:
    """The series of an aggregation. QueryInvalid where a line cannot be what the query takes it for."""
    if node.function == "rate_counter":
        raise unsupported(plan.text, node.at, "rate_counter", "use rate of an unwrapped label")
    if node.function == "absent_over_time":
        return _absent(node, steps, plan, running)
    sql, params, asked, names = _statement(node, asked, steps, plan)
    rows = running.query(sql, params.values).rows
    if len(rows) > MAX_POINTS:
        raise RequestInvalid(
            f"maximum of values ({MAX_POINTS}) reached for a single query",
            "aggregate with sum by (…), narrow the selector, shorten the range or make the step longer",
        )
    made: Vector = {}
    seconds = node.range.width / SECOND if node.function in ("rate", "bytes_rate") else 1.0
    for row in rows:
        *groups, step, value, error = row
        labels = _labels(groups, names, asked)
        if error:
            raise _pipeline_error(str(clean(error)), labels)
        made.setdefault(labels, {})[step] = _value(node, float(value)) / seconds
    return made


def _value(node: ast.RangeAggregation, value: float) -> float:
    if node.function == "quantile_over_time" and node.parameter is not None and not 0 <= node.parameter <= 1:
        return -math.inf if node.parameter < 0 else math.inf
    return value


def _labels(groups: list[object], names: tuple[str, ...], asked: Asked) -> Labels:
    """Of a row: the array of a stream's labels, if all are asked for, and then one text for each name."""
    pairs: list[tuple[str, str]] = []
    if asked.by is None:
        whole, *groups = groups
        assert isinstance(whole, list)
        pairs = [(str(clean(name)), str(clean(value))) for name, value in whole]
    known = {name for name, _ in pairs}
    texts = [(name, str(clean(value))) for name, value in zip(names, groups, strict=True)]
    return labels_of((*pairs, *((name, value) for name, value in texts if name not in known)))


def _statement(
    node: ast.RangeAggregation, asked: Asked, steps: Steps, plan: Plan
) -> tuple[str, Params, Asked, tuple[str, ...]]:
    params = plan.params()
    width, origin = node.range.width, steps.start - node.range.offset - node.range.width
    lines, value = _lines(node, origin, steps, plan, params)
    if asked.by is None and not lines.layers:
        asked = replace(asked, by=_own(node, asked, lines))
    names = asked.by if asked.by is not None else asked.also
    keys = [f"toString({lines.label(name, params)})" for name in names]
    if asked.by is None:
        keys.insert(0, _whole(node, asked, lines, params))
    groups = [f"g{number}" for number in range(len(keys))]
    piece = math.gcd(width, steps.step) if steps.count > 1 else width
    made, merged = _aggregate(node, value, lines.line, params)
    error = lines.error if lines.error != "''" else ""
    columns = [*(f"{key} AS {group}" for key, group in zip(keys, groups, strict=True))]
    bucket = (
        f"intDiv(toUnixTimestamp64Nano(timestamp) - {params.add(origin, 'Int64')} + {params.add(piece - 1, 'Int64')}, "
        f"{params.add(piece, 'Int64')})"
    )
    columns += [f"{bucket} AS b", f"{made} AS s", f"{f'max({error})' if error else chr(39) * 2} AS e"]
    by = ", ".join((*groups, "b"))
    inner = f"SELECT {', '.join(columns)} FROM {lines.source}{lines.where()} GROUP BY {by}"
    outer = ", ".join((*groups, "k"))
    windows = _windows(width // piece, steps.step // piece if steps.count > 1 else 1, steps.count, params)
    sql = (
        f"SELECT {outer}, {merged} AS v, max(e) AS err FROM ({inner}) "
        f"ARRAY JOIN {windows} AS k GROUP BY {outer} LIMIT {params.add(MAX_POINTS + 1, 'UInt64')}"
    )
    return checked(sql, plan.text), params, asked, names


def _windows(width: int, step: int, count: int, params: Params) -> str:
    """The SQL of the windows that bucket `b` is in: those that begin before it and do not end before it."""
    wide, far = params.add(width, "Int64"), params.add(step, "Int64")
    first = f"greatest(toInt64(0), intDiv(b - {wide} + {far} - 1, {far}))"
    behind = f"least({params.add(count, 'Int64')}, intDiv(b - 1, {far}) + 1)"
    return f"range({first}, greatest({behind}, {first}))"


def _lines(
    node: ast.RangeAggregation, origin: int, steps: Steps, plan: Plan, params: Params
) -> tuple[Lines, str]:
    """The lines that are aggregated, and the SQL of a line's number; '' where lines are only counted."""
    condition, stages = split(node.range.query, plan.text)
    high = steps.start + (steps.count - 1) * steps.step - node.range.offset
    if not MIN_NS <= origin < high <= MAX_NS:
        raise unsupported(plan.text, node.at, "a range that goes before 1900 or past 2262")
    source = plan_source(replace(plan, condition=condition, low=origin + 1, high=high + 1), params)
    compiler = Stages(plan.text, params)
    lines = compiler.run(Lines(source.table, source.conditions), stages)
    unwrap = node.range.unwrap
    if unwrap is None:
        return lines, ""
    text = lines.label(unwrap.name, params)
    unit = CONVERSIONS[unwrap.conversion]
    number = number_of(text, unit)
    error = f"if(isNull({number}), 'SampleExtractionErr', '')"
    lines = lines.filtered(f"{text} != ''").failing(error)
    for one in unwrap.filters:
        lines = compiler.label_filter(lines, one.test)
    scale = " / 1e9" if unit == "duration" else ""
    return lines, f"ifNull({number}{scale}, 0)"


def _own(node: ast.RangeAggregation, asked: Asked, lines: Lines) -> tuple[str, ...]:
    """The labels of a line that no stage made any of: those of its stream, which are columns."""
    gone = {*asked.without, *(SAME.get(name, name) for name in asked.without)}
    gone |= {SAME.get(node.range.unwrap.name, node.range.unwrap.name)} if node.range.unwrap else set()
    own = (name for name in STREAM if name not in gone and (lines.kept is None or name in lines.kept))
    return tuple(dict.fromkeys((*own, *asked.also)))


def _whole(node: ast.RangeAggregation, asked: Asked, lines: Lines, params: Params) -> str:
    """All labels of a line but those that are left out. The unwrapped label is the sample, and no label any more."""
    gone = [*asked.without, *([node.range.unwrap.name] if node.range.unwrap else [])]
    if not gone:
        return stream_labels(params, lines)
    names = params.add(sorted({*gone, *(SAME.get(name, name) for name in gone)}), "Array(String)")
    return f"arrayFilter(kv -> NOT has({names}, kv.1), {stream_labels(params, lines)})"


def _aggregate(node: ast.RangeAggregation, value: str, line: str, params: Params) -> tuple[str, str]:
    """The SQL of a bucket's state, and of the value of some buckets together."""
    if node.function in ("bytes_over_time", "bytes_rate"):
        return f"sum(length({line}))", "sum(s)"
    if not value:
        return "count()", "sum(s)"
    if node.function == "quantile_over_time":
        level = params.add(min(max(node.parameter or 0.0, 0.0), 1.0), "Float64")
        return f"quantileExactInclusiveState({level})({value})", f"quantileExactInclusiveMerge({level})(s)"
    function = NUMBERED[node.function]
    arguments = f"{value}, {PLACE}" if function in ("argMin", "argMax") else value
    return f"{function}State({arguments})", f"{function}Merge(s)"


def _absent(node: ast.RangeAggregation, steps: Steps, plan: Plan, running: Running) -> Vector:
    """1 at each step that has no line, with the labels that the selector asks to be equal to something."""
    counted = replace(node, function="count_over_time", grouping=None)
    there = range_vector(counted, Asked(()), steps, plan, running).get((), {})
    names = [matcher.name for matcher in node.range.query.matchers]
    equal = [m for m in node.range.query.matchers if m.op == "=" and names.count(m.name) == 1]
    missing = {step: 1.0 for step in range(steps.count) if step not in there}
    return {labels_of((m.name, m.value) for m in equal): missing} if missing else {}


def _pipeline_error(kind: str, labels: Labels) -> RequestInvalid:
    shown = ", ".join(f'{name}="{value}"' for name, value in labels)
    return RequestInvalid(
        f"pipeline error: '{kind}' for series: '{{{shown}}}'.\n"
        f'Use a label filter to intentionally skip this error. (e.g | __error__!="{kind}").\n'
        'To skip all potential errors you can match empty errors.(e.g __error__="")\n'
        'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )'
    )
