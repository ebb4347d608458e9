"""A log query → its lines, each with the labels that clients show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from query.events import clean, event_columns
from query.logql import ast
from query.logql.labels import COLUMN_LABELS, SAME, STREAM, sanitized
from query.logql.layers import Lines
from query.logql.pipeline import Stages, checked
from query.plan import Plan
from query.running import Running
from query.search import ORDERS, Statement, bounds, in_range, search
from query.sources import page_sources
from query.sql import compile_condition
from query.windows import Window

PAGE = 5_000  # lines that are read at once where only some of them are given
FIELDS = 12  # of `event_columns`; the line, what stages made, and the error come behind


@dataclass(frozen=True)
class Line:
    """One line. `stream` tells which stream it is of; `metadata` came with it; `parsed` is what the query made."""

    timestamp: int
    text: str
    stream: tuple[tuple[str, str], ...]
    metadata: dict[str, str]
    parsed: dict[str, str]
    id: tuple[str, int]


def lines(plan: Plan, stages: tuple[ast.Stage, ...], running: Running, interval: int = 0) -> list[Line]:
    """The first `plan.limit` lines in the plan's order, at least `interval` nanoseconds apart."""
    statement, kept = _statement(plan, stages)
    if not interval:
        return [line_of(row, kept) for row in search(plan, running, statement).rows]
    return list(_apart(plan, running, statement, kept, interval))


def _apart(
    plan: Plan, running: Running, statement: Statement, kept: frozenset[str] | None, interval: int
) -> Iterator[Line]:
    last: int | None = None
    left, asked = plan.limit, replace(plan, limit=PAGE)
    while True:
        page = search(asked, running, statement)
        for row in page.rows:
            if last is None or abs(row[0] - last) >= interval:
                last, left = row[0], left - 1
                yield line_of(row, kept)
                if not left:
                    return
        if page.next_cursor is None or running.limits_hit:
            return
        asked = replace(asked.with_cursor(page.next_cursor), tiers=plan.tiers)


def check(plan: Plan, stages: tuple[ast.Stage, ...]) -> None:
    """QueryInvalid for stages that are not supported."""
    _statement(plan, stages)


def _statement(plan: Plan, stages: tuple[ast.Stage, ...]) -> tuple[Statement, frozenset[str] | None]:
    """What makes the SQL of a window, and which of the labels that events come with are left."""
    kept = Stages(plan.text, plan.params()).run(Lines("", ()), stages).kept

    def statement(asked: Plan, window: Window, limit: int | None) -> tuple[str, dict[str, object]]:
        params = asked.params()
        where = " AND ".join((compile_condition(asked.condition, params), *in_range(asked, window, params)))
        sources = page_sources(asked, params, where, *bounds(asked, window))
        order = ORDERS[asked.newest]
        bound = f" LIMIT {params.add(limit, 'UInt64')}" if limit is not None else ""
        parts = []
        for source in sources:
            found = Stages(asked.text, params).run(Lines(source.table, source.conditions), stages)
            made = f"{found.line} AS line, {found.made(params)} AS made, {found.error} AS err"
            rows = f"SELECT {event_columns(source.tier)}, {made} FROM {found.source}{found.where()}"
            parts.append(f"{rows} ORDER BY {order['table']}{bound}")
        if len(parts) == 1:
            return checked(parts[0], asked.text), params.values
        both = " UNION ALL ".join(f"SELECT * FROM ({part})" for part in parts)
        return checked(f"SELECT * FROM ({both}) ORDER BY {order['answer']}{bound}", asked.text), params.values

    return statement, kept


def line_of(row: tuple[Any, ...], kept: frozenset[str] | None = None) -> Line:
    """A row of events, with or without what stages made of it."""
    timestamp, level, service, host, message, _, trace_id, span_id, tags, block, number, _ = row[:FIELDS]
    text, made, error = row[FIELDS:] if len(row) > FIELDS else (message, {}, "")
    own = {"level": level, "service_name": service, "host": host, "trace_id": trace_id, "span_id": span_id}
    columns = {name: str(clean(value)) for name, value in own.items() if value}
    metadata: dict[str, str] = {}
    for key, value in sorted(
        tags.items(), key=lambda item: str(clean(item[0])) != sanitized(str(clean(item[0])))
    ):
        if value:
            metadata.setdefault(sanitized(str(clean(key))), str(clean(value)))
    metadata |= {name: columns[name] for name in COLUMN_LABELS if name in columns and name not in STREAM}
    stream = {name: columns[name] for name in STREAM if name in columns}
    if "level" in stream:
        metadata["detected_level"] = stream["level"]
    if kept is not None:
        stream = {name: value for name, value in stream.items() if name in kept}
        metadata = {name: value for name, value in metadata.items() if SAME.get(name, name) in kept}
    parsed = {}
    for name, value in made.items():
        label = sanitized(str(clean(name)))
        stream.pop(SAME.get(label, label), None)
        metadata.pop(label, None)
        if label == "level":
            metadata.pop("detected_level", None)
        if value:
            parsed[label] = str(clean(value))
    if error:
        parsed["__error__"] = str(clean(error))
    return Line(timestamp, str(clean(text)), tuple(sorted(stream.items())), metadata, parsed, (block, number))
