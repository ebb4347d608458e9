"""Search for events: a page of them, or all of them as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from query.events import event_columns, event_of, position_of
from query.limits import STREAMED
from query.plan import FIRST_ID, LAST_ID, Plan, Position
from query.running import Running
from query.sql import Params, compile_condition, nanos
from query.windows import EVEN, Window, windows
from storage.errors import QueryLimit, QueryTimeout

TIER = "'hot'"
NEWEST = "timestamp DESC, block_id DESC, row DESC"
STREAM_ROWS = 1000  # that are made into text at once
OLDEST = "timestamp ASC, block_id ASC, row ASC"


@dataclass(frozen=True)
class Page:
    """Events in order, and where the next page starts; None when this is the last."""

    rows: list[tuple[Any, ...]]
    next_cursor: str | None

    def events(self) -> list[dict[str, Any]]:
        return [event_of(row) for row in self.rows]


def search(plan: Plan, running: Running) -> Page:
    """The next `plan.limit` events. A limit of the query ends it early, with the events that are certain."""
    rows: list[tuple[Any, ...]] = []
    wanted = plan.limit + 1  # one more tells whether there is another page
    certain: Position | None = None
    try:
        for window in windows(plan, running):
            sql, params = window_sql(plan, window, wanted - len(rows))
            rows += running.query(sql, params).rows
            if len(rows) >= wanted:
                return Page(rows[:-1], plan.cursor(position_of(rows[-2])) if plan.limit else None)
            certain = _behind(plan, window)
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return Page(rows, plan.cursor(certain) if certain else None)
    return Page(rows, None)


def _behind(plan: Plan, window: Window) -> Position | None:
    """The place behind a window that was searched whole."""
    if plan.newest:
        return None if window.low is None else Position(window.low, *FIRST_ID)
    return None if window.high is None else Position(window.high - 1, *LAST_ID)


def stream(plan: Plan, running: Running, limit: int | None) -> Iterator[list[dict[str, Any]]]:
    """Events in order, in lists, up to `limit`. A limit of the query ends it early and is noted."""
    left = limit
    try:
        for window in windows(plan, running, EVEN):
            sql, params = window_sql(plan, window, left)
            with running.stream(sql, params, more=STREAMED) as blocks:
                for rows in blocks:
                    for start in range(0, len(rows), STREAM_ROWS):
                        yield [event_of(row) for row in rows[start : start + STREAM_ROWS]]
                    left = None if left is None else left - len(rows)
            if left == 0:
                return
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)


def window_sql(plan: Plan, window: Window, limit: int | None) -> tuple[str, dict[str, object]]:
    """The statement for one window, with its parameters."""
    params = Params(plan.database)
    where = [compile_condition(plan.condition, params), *_range(plan, window, params)]
    bound = f" LIMIT {params.add(limit, 'UInt64')}" if limit is not None else ""
    sql = (
        f"SELECT {event_columns(TIER)} FROM {plan.database}.events WHERE {' AND '.join(where)} "
        f"ORDER BY {NEWEST if plan.newest else OLDEST}{bound}"
    )
    return sql, params.values


def _range(plan: Plan, window: Window, params: Params) -> list[str]:
    tests = [f"timestamp >= {nanos(window.low, params)}"] if window.low is not None else []
    tests += [f"timestamp < {nanos(window.high, params)}"] if window.high is not None else []
    return [*tests, _behind_cursor(plan, params)] if plan.after else tests


def _behind_cursor(plan: Plan, params: Params) -> str:
    """`timestamp` alone prunes; the tuple decides among equal timestamps."""
    assert plan.after is not None
    op = "<" if plan.newest else ">"
    at = nanos(plan.after.timestamp, params)
    block = f"toFixedString(unhex({params.add(plan.after.block_id)}), 16)"
    behind = f"(block_id, row) {op} ({block}, {params.add(plan.after.row, 'UInt32')})"
    return f"(timestamp {op} {at} OR (timestamp = {at} AND {behind}))"


def range_sql(plan: Plan, params: Params) -> str:
    """The WHERE clause of everything that a plan is about, without its cursor."""
    whole = replace(plan, after=None)
    tests = [compile_condition(plan.condition, params), *_range(whole, Window(plan.low, plan.high), params)]
    return " AND ".join(tests)
