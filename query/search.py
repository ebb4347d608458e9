"""Search for events: a page of them, or all of them as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from query.asking import Again
from query.events import event_of, position_of
from query.limits import AT_ONCE, EAGER, STREAMED, Share
from query.plan import FIRST_ID, LAST_ID, Plan, Position
from query.running import Running
from query.sources import page_sql
from query.sql import Params, compile_condition, nanos
from query.windows import EVEN, Window, hot_alone, near_and_far, windows
from storage.errors import QueryLimit, QueryTimeout

STREAM_ROWS = 1000  # that are made into text at once
ORDERS = {
    newest: {
        "table": f"timestamp {way}, block_id {way}, row {way}",
        "answer": f"ts {way}, block {way}, r {way}",
    }
    for newest, way in ((True, "DESC"), (False, "ASC"))
}


Statement = Callable[[Plan, Window, int | None], tuple[str, dict[str, object]]]
"""The SQL of a window of a plan, up to so many rows, and its parameters. Rows begin as those of `event_columns`."""

BY_TIME = {
    newest: {"table": f"timestamp {way}", "answer": f"ts {way}"}
    for newest, way in ((True, "DESC"), (False, "ASC"))
}
"""The server stops reading when it has the first events by time, but not when it has those by time and id."""


@dataclass(frozen=True)
class Page:
    """Events in order, and where the next page starts; None when this is the last."""

    rows: list[tuple[Any, ...]]
    next_cursor: str | None

    def events(self) -> list[dict[str, Any]]:
        return [event_of(row) for row in self.rows]


def search(plan: Plan, running: Running, statement: Statement | None = None) -> Page:
    """The next `plan.limit` events. A limit of the query ends it early, with the events that are certain.

    `statement` makes the SQL of one window, where not all events of the plan are wanted, or more of each.
    """
    wanted = plan.limit + 1  # one more tells whether there is another page
    certain: Position | None = None
    rows: list[tuple[Any, ...]] = []
    try:
        rows, left = _at_once(plan, running, wanted, statement)
        if left is not None and left.high != plan.high:
            certain = _behind(plan, Window(left.high, plan.high))
        for window in windows(left, running) if left is not None and len(rows) < wanted else ():
            if plan.tiers.read(*bounds(plan, window)):
                rows += _first(plan, running, window, wanted - len(rows), statement)
            if len(rows) >= wanted:
                break
            certain = _behind(plan, window)
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
        return Page(rows, plan.cursor(certain) if certain else None)
    if len(rows) < wanted:
        return Page(rows, None)
    return Page(rows[:-1], plan.cursor(position_of(rows[-2])) if plan.limit else None)


def _at_once(
    plan: Plan, running: Running, wanted: int, statement: Statement | None
) -> tuple[list[tuple[Any, ...]], Plan | None]:
    """What one statement over all that is hot alone finds, and what is left of the plan; None: nothing.

    Where that takes too long, all is left: step by step there is at least something at the end of the time.
    """
    window = hot_alone(plan)
    if window is None:
        return [], plan
    rows: list[tuple[Any, ...]] = []
    if plan.tiers.read(*bounds(plan, window)):
        try:
            for part in near_and_far(plan, running, window, wanted):
                if len(rows) < wanted:
                    rows += _first(plan, running, part, wanted - len(rows), statement, AT_ONCE)
        except (QueryTimeout, QueryLimit):
            return [], plan
    return rows, None if window.low == plan.low else replace(plan, high=window.low)


def _first(
    plan: Plan,
    running: Running,
    window: Window,
    wanted: int,
    statement: Statement | None,
    at_most: Share | None = None,
) -> list[tuple[Any, ...]]:
    """The first `wanted` rows of a window: asked by time alone and one more, which tells whether that was exact."""
    if statement is not None:
        sql, params = statement(plan, window, wanted)
        return running.query(sql, params, at_most=at_most).rows
    sql, params = window_sql(plan, window, wanted + 1, BY_TIME)
    more = {} if plan.reads_in_order else EAGER
    rows = running.query(sql, params, more=more, at_most=at_most).rows
    rows.sort(key=_place, reverse=plan.newest)
    if len(rows) <= wanted:
        return rows
    last = rows[wanted][0]
    if rows[wanted - 1][0] != last:
        return rows[:wanted]
    # More events than fit have the last one's time: their ids decide, but nothing behind that time is looked at again.
    tight = Window(last, window.high) if plan.newest else Window(window.low, last + 1)
    sql, params = window_sql(plan, tight, wanted)
    return running.query(sql, params, at_most=at_most).rows


def _place(row: tuple[Any, ...]) -> tuple[int, str, int]:
    at = position_of(row)
    return at.timestamp, at.block_id, at.row


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
            for rows in _window_rows(plan, running, window, left):
                for start in range(0, len(rows), STREAM_ROWS):
                    yield [event_of(row) for row in rows[start : start + STREAM_ROWS]]
                left = None if left is None else left - len(rows)
            if left == 0:
                return
    except (QueryTimeout, QueryLimit) as error:
        running.note(error)
    except Again:
        running.note_broken()  # what was given is in order, and all until there


def _window_rows(
    plan: Plan, running: Running, window: Window, limit: int | None
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of one window as they come. What is where is asked for each, since a stream may outlive any grace."""
    while True:
        settled = running.settle(plan)
        if not settled.tiers.read(*bounds(plan, window)):
            return
        sql, params = window_sql(settled, window, limit)
        given = False
        try:
            with running.stream(
                sql, params, more=STREAMED
            ) as blocks:  # from here on the server holds what it reads
                if running.missed(settled):
                    continue
                for rows in blocks:
                    given = True
                    yield rows
                return
        except Again:
            if given:
                raise


def window_sql(
    plan: Plan, window: Window, limit: int | None, orders: Mapping[bool, Mapping[str, str]] = ORDERS
) -> tuple[str, dict[str, object]]:
    """The statement for one window, with its parameters. `orders`: by whether the newest come first."""
    params = plan.params()
    where = [compile_condition(plan.condition, params), *in_range(plan, window, params)]
    bound = f" LIMIT {params.add(limit, 'UInt64')}" if limit is not None else ""
    order = orders[plan.newest]
    sql = page_sql(plan, params, " AND ".join(where), *bounds(plan, window), order, bound)
    return sql, params.values


def in_range(plan: Plan, window: Window, params: Params) -> list[str]:
    """The SQL of what a window, and the cursor, ask of an event's time and place."""
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


def bounds(plan: Plan, window: Window) -> tuple[int | None, int | None]:
    """The times that a window has events of, behind the cursor."""
    if plan.after is None:
        return window.low, window.high
    if plan.newest:
        at = plan.after.timestamp + 1
        return window.low, at if window.high is None else min(at, window.high)
    at = plan.after.timestamp
    return at if window.low is None else max(at, window.low), window.high
