"""A request → a plan: which namespace, which range of time, which events, in which order and how many."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, replace
from typing import Any

from query import ast
from query import conditions as c
from query.analyze import Analyzer
from query.errors import RequestInvalid
from query.parse import parse
from query.sql import Params
from query.tiers import HOT_ALONE, Tiers
from query.times import SECOND, BadTime, parse_instant
from storage.errors import NeveError
from storage.schema import namespace_database

DEFAULT_LIMIT = 100
SERVICE, TRACE = c.Column("service"), c.Column("trace_id")
MAX_LIMIT = 10_000
ORDERS = ("newest", "oldest")
FIRST_ID = ("00" * 16, 0)
LAST_ID = ("ff" * 16, (1 << 32) - 1)
EVERYTHING = c.Everything()


@dataclass(frozen=True)
class Position:
    """A place between events in the order (timestamp, block_id, row): the event itself is behind it."""

    timestamp: int  # nanoseconds since 1970
    block_id: str  # 32 hexadecimal digits
    row: int


@dataclass(frozen=True)
class Plan:
    """What to ask the tiers. Times are nanoseconds since 1970, low <= timestamp < high; None is open.

    `guard`: events that it does not find do not exist for who asks (query/guards.py). `sources.py` adds it wherever
    events are read from.
    """

    text: str
    query: ast.Query
    namespace: str
    now: int
    condition: c.Condition
    low: int | None
    high: int | None
    guard: c.Condition
    newest: bool = True
    limit: int = DEFAULT_LIMIT
    after: Position | None = None
    tiers: Tiers = HOT_ALONE  # chosen when the query begins to run
    tags: tuple[str, ...] | None = None  # that events are shown with; None: all

    @property
    def database(self) -> str:
        return namespace_database(self.namespace)

    @property
    def parts(self) -> tuple[c.Condition, ...]:
        """What every event found must meet, each; that it exists for who asks is among it."""
        return self.whole.conditions if isinstance(self.whole, c.AllOf) else (self.whole,)

    @property
    def asks_values(self) -> bool:
        """Does it ask for a value of what has an index of values? Then few granules are left to read."""
        return any(
            isinstance(p, c.FingerprintIs) or (isinstance(p, c.IsIn) and _has_values(p)) for p in self.parts
        )

    @property
    def reads_in_order(self) -> bool:
        """Is it about one service? Its events lie in the order of time, so reading stops where the page is full."""
        one = any(isinstance(p, c.IsIn) and p.field == SERVICE and len(p.values) == 1 for p in self.parts)
        return one and not self.asks_values

    @property
    def guarded(self) -> bool:
        """Are there events that do not exist for who asks? Then nothing that was counted over all may be shown."""
        return not isinstance(self.guard, c.Everything)

    @property
    def whole(self) -> c.Condition:
        """What an event must meet: the guard, and what was asked."""
        return c.all_of((self.guard, self.condition))

    def params(self) -> Params:
        """For a statement of this plan. Patterns were learnt from all events: behind a guard none is known."""
        return Params("" if self.guarded else self.database)

    @property
    def seconds(self) -> float | None:
        """The length of the range, None when an end is open."""
        if self.low is None or self.high is None:
            return None
        return max(self.high - self.low, 1) / SECOND

    def analyzer(self) -> Analyzer:
        return Analyzer(self.text, self.now)

    def signature(self) -> int:
        """Tells cursors of one query from those of another."""
        return zlib.crc32(
            f"{self.namespace}\0{self.newest}\0{self.query.filter}".encode("utf-8", "surrogatepass")
        )

    def cursor(self, position: Position) -> str:
        """A cursor for the events behind a position: opaque to users, and pins the range against a moving now."""
        state = [
            1,
            self.signature(),
            self.low,
            self.high,
            position.timestamp,
            position.block_id,
            position.row,
        ]
        return (
            base64.urlsafe_b64encode(json.dumps(state, separators=(",", ":")).encode()).decode().rstrip("=")
        )

    def with_cursor(self, cursor: str) -> Plan:
        """The plan of the next page. RequestInvalid for a cursor that is not of this query."""
        version, signature, low, high, *place = _decode(cursor)
        if version != 1 or signature != self.signature():
            raise RequestInvalid("cannot use cursor: it is of another query", "start again without it")
        timestamp, block_id, row = place
        return replace(self, low=low, high=high, after=Position(timestamp, block_id, row))


def _has_values(part: c.IsIn) -> bool:
    known = isinstance(part.field, c.Tag) or part.field == TRACE
    return known and bool(part.values) and "" not in part.values


def _decode(cursor: str) -> list[Any]:
    wrong = RequestInvalid(
        "cannot read cursor", "give next_cursor of the last page as it is, or start without"
    )
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        state = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise wrong from None
    if not isinstance(state, list) or len(state) != 7 or not _is_state(state):
        raise wrong
    return state


def _is_state(state: list[Any]) -> bool:
    *numbers, block_id, row = state
    low, high = numbers[2:4]
    whole = (*numbers[:2], low or 0, high or 0, numbers[4], row)
    if not all(type(n) is int and abs(n) < 1 << 63 for n in whole) or not 0 <= row < 1 << 32:
        return False
    return isinstance(block_id, str) and len(block_id) == 32 and set(block_id) <= set("0123456789abcdef")


def make_plan(
    text: str, *, now: int, namespace: str, from_: str = "", to: str = "", order: str = "newest",
    limit: int = DEFAULT_LIMIT, cursor: str = "", guard: c.Condition = EVERYTHING,
) -> Plan:  # fmt: skip
    """The plan of a request; QueryInvalid or RequestInvalid where it makes no sense.

    Within this floor a `guard` is always given; a test looks.
    """
    check_namespace(namespace)
    if order not in ORDERS:
        raise RequestInvalid(f"cannot use order: {order[:40]!r}", "use newest or oldest")
    low, high = time_range(from_, to, now)
    query = parse(text)
    condition, low, high = _take_times(Analyzer(text, now).condition(query.filter), low, high)
    plan = Plan(text, query, namespace, now, condition, low, high, guard, order == "newest", limit)
    return plan.with_cursor(cursor) if cursor else plan


def check_namespace(namespace: str) -> None:
    """RequestInvalid for a name that no namespace can have."""
    try:
        namespace_database(namespace)
    except NeveError as error:
        raise RequestInvalid(error.message[:120], error.hint) from None


def time_range(from_: str, to: str, now: int) -> tuple[int | None, int | None]:
    """The range that a request names."""
    low = instant("from", from_, now) if from_ else None
    high = instant("to", to, now) if to else None
    if low is not None and high is not None and low > high:
        raise RequestInvalid("cannot use time range: 'from' is later than 'to'", "exchange them")
    return low, high


def instant(name: str, text: str, now: int) -> int:
    """The moment that a parameter names, in nanoseconds since 1970."""
    try:
        return parse_instant(text, now)
    except BadTime as error:
        message, _, hint = str(error).partition("; ")
        raise RequestInvalid(f"cannot use {name!r}: {message}", hint) from None


def _take_times(
    condition: c.Condition, low: int | None, high: int | None
) -> tuple[c.Condition, int | None, int | None]:
    """Times that every event must meet become the range, so that `_time:15m` prunes as `from` does."""
    parts = condition.conditions if isinstance(condition, c.AllOf) else (condition,)
    kept = []
    for part in parts:
        if isinstance(part, c.TimeIn):
            low = part.low if low is None else low if part.low is None else max(low, part.low)
            high = part.high if high is None else high if part.high is None else min(high, part.high)
        else:
            kept.append(part)
    return c.all_of(tuple(kept)), low, high
