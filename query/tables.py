"""A query with pipes → a table of columns and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from query import conditions as c
from query.asking import Again
from query.conditions import Kind
from query.events import EVENT_FIELDS, clean, event_of
from query.limits import EAGER, STREAMED
from query.pipes import NEWEST_FIRST, Column, Compiler, Stage
from query.plan import Plan
from query.running import Running
from query.sources import plan_source
from query.times import to_rfc3339
from storage.errors import QueryLimit, QueryTimeout

TYPES = {Kind.TEXT: "string", Kind.LEVEL: "string", Kind.TIME: "time", Kind.NUMBER: "number"}


@dataclass(frozen=True)
class Table:
    """Columns as the API shows them, and rows of JSON values."""

    columns: list[dict[str, Any]]
    rows: list[list[Any]]


@dataclass(frozen=True)
class TableQuery:
    """The one statement of a piped query."""

    sql: str
    params: dict[str, object]
    stage: Stage


def compile_table(plan: Plan, limit: int | None) -> TableQuery:
    """The statement for the first `limit` rows, None for all. QueryInvalid where a pipe makes no sense."""
    params = plan.params()
    compiler = Compiler(plan.text, plan.analyzer(), params, plan.database, plan.seconds)
    source = plan_source(plan, params)
    order = () if plan.newest else tuple(type(term)(term.sql) for term in NEWEST_FIRST)
    events = Stage(0, source.table, source.conditions, order=order)
    stage = compiler.run(events, plan.query.pipes)
    selected = (
        stage.scope.event_columns(source.tier, params) if stage.columns is None else _selected(stage.columns)
    )
    bound = "" if limit is None else f" LIMIT {params.add(limit, 'UInt64')}"
    sql = f"SELECT {selected} FROM {stage.source}{stage.where()}{stage.order_by()}{bound}"
    return TableQuery(sql, params.values, stage)


def _selected(columns: tuple[Column, ...]) -> str:
    return ", ".join(column.expression.sql for column in columns)


def run_table(plan: Plan, running: Running, max_rows: int, limit: int | None) -> Table:
    """The rows of a piped query: those that `limit` asks for, or up to `max_rows`, with a label when there are more."""
    wanted = max_rows + 1 if limit is None else limit
    asked = compile_table(plan, wanted)
    try:
        more = {} if plan.reads_in_order else EAGER
        rows = running.query(asked.sql, asked.params, partial=True, more=more).rows
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        rows = []
    if limit is None and len(rows) > max_rows:
        rows.pop()
        running.hit("result_rows")
    return Table(_columns(asked.stage), _rows(asked.stage, rows))


def stream_table(plan: Plan, running: Running, limit: int | None) -> Iterator[Table]:
    """The table in pieces: first its columns without a row, then rows as they come, up to `limit`.

    A limit of the query ends it early and is noted.
    """
    columns: list[dict[str, Any]] | None = None
    while True:
        settled = running.settle(plan)
        asked = compile_table(settled, limit)
        if columns is None:
            columns = _columns(asked.stage)
            yield Table(columns, [])
        given = False
        try:
            with running.stream(asked.sql, asked.params, partial=True, more=STREAMED) as blocks:
                if running.missed(settled):  # from here on the server holds what it reads
                    continue
                for rows in blocks:
                    given = True
                    yield Table(columns, _rows(asked.stage, rows))
            return
        except Again:
            if given:
                running.note_broken()
                return
        except (QueryTimeout, QueryLimit) as error:
            running.note(error)
            return


def _columns(stage: Stage) -> list[dict[str, Any]]:
    if stage.columns is None:
        types = {"timestamp": "time", "tags": "tags"}
        return [{"name": name, "type": types.get(name, "string")} for name in EVENT_FIELDS]
    return [
        {
            "name": col.name,
            "type": TYPES[col.expression.kind],
            **({"approximate": True} if col.approximate else {}),
        }
        for col in stage.columns
    ]


def _rows(stage: Stage, rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    if stage.columns is None:
        return [[event[name] for name in EVENT_FIELDS] for event in map(event_of, rows)]
    kinds = [column.expression.kind for column in stage.columns]
    return [[_value(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows]


def _value(value: Any, kind: c.Kind) -> Any:
    """A JSON value. What JSON has no number for is null."""
    if kind is Kind.TIME:
        return None if value is None else to_rfc3339(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    return clean(value)
