"""What clients ask to know what there is: labels and their values, series, volumes, patterns, fields of lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from query import overview
from query.events import clean
from query.learning import Learner
from query.logql.labels import COLUMN_LABELS, SAME, STREAM, sanitized
from query.logql.layers import Lines, own_label, stream_labels
from query.logql.lines import Line
from query.logql.ranges import Steps
from query.members import pattern_of
from query.plan import Plan
from query.quantities import DURATION, parse_quantity
from query.running import Running
from query.sources import plan_source
from query.sql import Params
from query.times import SECOND

MOST_LABELS = 1_000
MOST_VALUES = 10_000
MOST_SERIES = 10_000
MOST_PATTERNS = 300
_PLACE = re.compile(r"(?:<\*>)+")
Rows = list[tuple[Any, ...]]


def label_names(plan: Plan, running: Running) -> list[str]:
    """The labels of the events of a plan: of streams, and names of tags; of very many the most common ones."""
    found = overview.fields(plan, running, MOST_LABELS)["fields"]
    labels = {column: label for label, column in COLUMN_LABELS.items()}
    names = [labels.get(one["name"]) if one["kind"] == "column" else sanitized(one["name"]) for one in found]
    return sorted({name for name in names if name})


def label_values(plan: Plan, running: Running, name: str) -> list[str]:
    """The values of a label, in order."""
    params = plan.params()
    value = own_label(name, params)
    rows = _query(plan, running, params, f"SELECT DISTINCT toString({value}) AS v FROM {{source}} AND v != '' "
                  f"ORDER BY v LIMIT {params.add(MOST_VALUES, 'UInt64')}")  # fmt: skip
    return [str(clean(value)) for (value,) in rows]


def series(plans: Iterable[tuple[Plan, tuple[str, ...]]], running: Running) -> list[dict[str, str]]:
    """The streams that have events; of each also the labels that its selector names."""
    found: dict[tuple[tuple[str, str], ...], None] = {}
    for plan, names in plans:
        for labels, *_ in _streams(plan, running, names):
            found[labels] = None
    return [dict(labels) for labels in sorted(found)]


def stats(plan: Plan, running: Running) -> dict[str, int]:
    """How many streams, lines and bytes a selector is about. Neve has no chunks: one is said for each stream."""
    params = plan.params()
    streams = f"uniqExact(({', '.join(STREAM.values())}))"
    rows = _query(
        plan,
        running,
        params,
        f"SELECT count() AS n, sum(length(message)) AS b, {streams} AS s FROM {{source}}",
    )
    entries, size, count = rows[0] if rows else (0, 0, 0)
    return {"streams": count, "chunks": count, "bytes": size, "entries": entries}


def volume(
    plan: Plan, running: Running, steps: Steps | None, by: tuple[str, ...], names_only: bool, limit: int
) -> list[Any]:
    """Bytes by the labels in `by`, largest first: (labels, {step: bytes}). `names_only`: by the labels' names."""
    params = plan.params()
    keys = [own_label(name, params) for name in by]
    at = "0"
    if steps is not None:  # as of a range [step]: what lies behind a step's time belongs to the next one
        origin = params.add(steps.start - steps.step, "Int64")
        width = params.add(steps.step, "Int64")
        at = f"intDiv(toUnixTimestamp64Nano(timestamp) - {origin} - 1, {width})"
    columns = [f"toString({key}) AS g{number}" for number, key in enumerate(keys)]
    groups = ", ".join(["k", *(f"g{number}" for number in range(len(keys)))])
    sql = f"SELECT {', '.join([f'{at} AS k', *columns])}, sum(length(message)) AS b FROM {{source}} GROUP BY {groups}"
    rows = _query(plan, running, params, sql)
    found: dict[tuple[tuple[str, str], ...], dict[int, int]] = {}
    for step, *values, size in rows:
        present = [(name, str(clean(value))) for name, value in zip(by, values, strict=True) if value]
        for labels in [((name, ""),) for name, _ in present] if names_only else [tuple(sorted(present))]:
            counts = found.setdefault(tuple(labels), {})
            counts[step] = counts.get(step, 0) + size
    ranked = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return ranked[:limit]


def detected_labels(plan: Plan, running: Running) -> list[dict[str, Any]]:
    """The labels of streams, with how many values each has."""
    params = plan.params()
    counts = ", ".join(f"uniqExactIf({column}, {column} != '') AS n_{column}" for column in STREAM.values())
    rows = _query(plan, running, params, f"SELECT {counts} FROM {{source}}")
    return [
        {"label": label, "cardinality": count}
        for label, count in zip(STREAM, rows[0] if rows else (), strict=False)
        if count
    ]


def patterns(plan: Plan, running: Running, learner: Learner, steps: Steps) -> list[dict[str, Any]]:
    """The shapes of lines, most common first, and how many there were by step. A variable is written `<_>`."""
    learner.refresh(plan.namespace)
    params = plan.params()
    width = params.add(steps.step, "Int64")
    at = f"intDiv(toUnixTimestamp64Nano(timestamp), {width}) * {width}"
    source = plan_source(plan, params)
    counted = (
        f"SELECT fingerprint AS f, {at} AS at, count() AS n, any(level) AS l FROM {source} GROUP BY f, at"
    )
    known = pattern_of(counted, plan.database, alone=plan.guarded)
    sql = f"SELECT id, any(text) AS template, at, sum(n) AS events, any(l) AS level FROM ({known}) GROUP BY id, at"
    found: dict[int, tuple[str, str, dict[int, int]]] = {}
    for id_, template, start, events, level in overview.aggregate(running, sql, params):
        counts = found.setdefault(id_, (str(clean(template)), str(clean(level)), {}))[2]
        counts[start // SECOND] = events
    ranked = sorted(found.values(), key=lambda one: (-sum(one[2].values()), one[0]))
    return [
        {"pattern": _PLACE.sub("<_>", text), **({"level": level} if level else {}),
         "samples": [[at, count] for at, count in sorted(counts.items())]}
        for text, level, counts in ranked[:MOST_PATTERNS] if text
    ]  # fmt: skip


# --- fields of lines -------------------------------------------------------------------------------------


def detected_fields(lines: list[Line], parsers: tuple[str, ...], limit: int) -> list[dict[str, Any]]:
    """The labels beside those of the stream in some lines: what type each has, and how many values were seen."""
    values: dict[str, set[str]] = {}
    made: set[str] = set()
    for line in lines:
        made |= line.parsed.keys()
        for name, value in {**line.metadata, **line.parsed}.items():
            values.setdefault(name, set()).add(value)
    ranked = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "label": name,
            "type": _type(found),
            "cardinality": len(found),
            "parsers": list(parsers) if name in made else None,
        }
        for name, found in ranked[:limit]
    ]


def detected_values(lines: list[Line], name: str, limit: int) -> list[str]:
    """The values of one field in some lines."""
    label = SAME.get(name, name)
    found = {
        {**line.metadata, **dict(line.stream), **line.parsed}.get(name) or dict(line.stream).get(label)
        for line in lines
    }
    return sorted(value for value in found if value)[:limit]


def _type(values: set[str]) -> str:
    kinds = {_kind(value) for value in values}
    if kinds == {"int", "float"}:
        return "float"
    return kinds.pop() if len(kinds) == 1 else "string"


def _kind(value: str) -> str:
    if re.fullmatch(r"[+-]?\d+", value, re.ASCII):
        return "int"
    if value in ("true", "false"):
        return "boolean"
    quantity = parse_quantity(value)
    if quantity is None:
        return "string"
    return "float" if quantity.kind is None else "duration" if quantity.kind == DURATION else "bytes"


# --- statements ------------------------------------------------------------------------------------------


def _query(plan: Plan, running: Running, params: Params, sql: str) -> Rows:
    """Rows of a statement over a plan's events; `{source}` in it ends in a WHERE clause."""
    source = plan_source(plan, params)
    where = source if source.conditions else f"{source} WHERE 1"
    return overview.aggregate(running, sql.replace("{source}", str(where)), params)


def _streams(
    plan: Plan, running: Running, names: tuple[str, ...]
) -> list[tuple[tuple[tuple[str, str], ...], int]]:
    """Streams with the labels in `names`, and how many events each has."""
    params = plan.params()
    keys = [f"toString({own_label(name, params)}) AS g{number}" for number, name in enumerate(names)]
    groups = ", ".join(["l", *(f"g{number}" for number in range(len(names)))])
    selected = ", ".join([f"{stream_labels(params, Lines('', ()))} AS l", *keys])
    rows = _query(plan, running, params, f"SELECT {selected}, count() AS n FROM {{source}} GROUP BY {groups} "
                  f"ORDER BY n DESC LIMIT {params.add(MOST_SERIES, 'UInt64')}")  # fmt: skip
    found = []
    for labels, *values, count in rows:
        pairs = {str(clean(name)): str(clean(value)) for name, value in labels}
        pairs |= {name: str(clean(value)) for name, value in zip(names, values, strict=True) if value}
        found.append((tuple(sorted(pairs.items())), count))
    return found
