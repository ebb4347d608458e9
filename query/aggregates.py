"""The functions of `stats`, one line of SQL each, over expressions that may be absent ('' or NULL)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from query import ast
from query.conditions import Kind
from query.sql import Params
from query.times import BadTime, parse_duration

FUNCTIONS = "count, sum, avg, min, max, p50 … p99, quantile, rate, uniq, any, first, last"
PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
EVENT_ORDER = "(timestamp, block_id, row)"
WIDTH = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Expression:
    """SQL and how its values compare. Times are nanoseconds since 1970 (Int64)."""

    sql: str
    kind: Kind


def present(value: Expression) -> str:
    """Whether a value is there."""
    return f"{value.sql} != ''" if value.kind in (Kind.TEXT, Kind.LEVEL) else f"isNotNull({value.sql})"


def number_of(value: Expression) -> str:
    """The value as a number, NULL where it is none."""
    return f"toFloat64OrNull({value.sql})" if value.kind in (Kind.TEXT, Kind.LEVEL) else value.sql


def aggregate(
    call: ast.Call, fields: list[Expression], params: Params, *, events: bool, seconds: float | None
) -> Expression:
    """The SQL of one call. ValueError, "message; hint", where it is used wrongly."""
    function = call.function
    percentile = PERCENTILE.fullmatch(function)
    if percentile:
        _takes(call, fields, 1)
        return _quantile(fields[0], float(percentile[1]) / 100, params)
    if function == "quantile":
        _takes(call, fields, 1, level=True)
        level = float(call.level or "nan")
        if not 0 <= level <= 1:
            raise ValueError(
                "the second argument of quantile is between 0 and 1; write quantile(latency_ms, 0.95)"
            )
        return _quantile(fields[0], level, params)
    if function == "count":
        _takes(call, fields, 0, 1)
        return Expression(f"countIf({present(fields[0])})" if fields else "count()", Kind.NUMBER)
    if function == "rate":
        return _rate(call, fields, params, seconds)
    if function == "uniq":
        _takes(call, fields, 1, 2, 3, 4, 5, 6, 7, 8)
        return _uniq(fields)
    made = ONE_FIELD.get(function)
    if made is None:
        raise ValueError(f"there is no function {function[:40]!r}; functions are {FUNCTIONS}")
    _takes(call, fields, 1)
    if function in ("first", "last") and not events:
        raise ValueError(f"{function} needs events; put it before the pipe that makes a table")
    return made(fields[0])


def _takes(call: ast.Call, fields: list[Expression], *counts: int, level: bool = False) -> None:
    if len(fields) in counts and (call.level is not None) == level:
        return
    example = "quantile(latency_ms, 0.95)" if level else f"{call.function}({'' if 0 in counts else 'field'})"
    raise ValueError(f"{call.function} takes other arguments; write {example}")


def _quantile(value: Expression, level: float, params: Params) -> Expression:
    """Exact, between neighbours in proportion, as spreadsheets and numpy have it."""
    bound = params.add(level, "Float64")
    return Expression(f"quantileExactInclusiveOrNull({bound})({number_of(value)})", Kind.NUMBER)


def _rate(call: ast.Call, fields: list[Expression], params: Params, seconds: float | None) -> Expression:
    _takes(call, fields, 0)
    if seconds is None:
        raise ValueError("rate needs a range of time; give from and to, _time:15m, or group by bin(1m)")
    return Expression(f"count() / {params.add(seconds, 'Float64')}", Kind.NUMBER)


def _uniq(fields: list[Expression]) -> Expression:
    there = " OR ".join(present(value) for value in fields)
    values = ", ".join(value.sql for value in fields)
    return Expression(f"uniqCombined64If({values}, {there})", Kind.NUMBER)


def _numeric(name: str) -> Callable[[Expression], Expression]:
    """An aggregate of numbers; of times only where that means something."""

    def made(value: Expression) -> Expression:
        if value.kind is Kind.TIME and name not in ("min", "max"):
            raise ValueError(f"{name} of a time means nothing; use min or max")
        kind = Kind.TIME if value.kind is Kind.TIME else Kind.NUMBER
        return Expression(f"{name}OrNull({number_of(value)})", kind)

    return made


def _any(value: Expression) -> Expression:
    return Expression(f"anyIf({value.sql}, {present(value)})", value.kind)


def _first(value: Expression) -> Expression:
    return Expression(f"argMinIf({value.sql}, {EVENT_ORDER}, {present(value)})", value.kind)


def _last(value: Expression) -> Expression:
    return Expression(f"argMaxIf({value.sql}, {EVENT_ORDER}, {present(value)})", value.kind)


ONE_FIELD: dict[str, Callable[[Expression], Expression]] = {
    "sum": _numeric("sum"), "avg": _numeric("avg"), "min": _numeric("min"), "max": _numeric("max"),
    "any": _any, "first": _first, "last": _last,
}  # fmt: skip


def bin_of(value: Expression, width: str, params: Params) -> Expression:
    """The lower edge of the bin that a value is in. ValueError for a width that does not fit the value."""
    if value.kind is Kind.TIME:
        try:
            bound = params.add(parse_duration(width), "Int64")
        except BadTime as error:
            raise ValueError(str(error).partition(";")[0]) from None
        return Expression(f"{value.sql} - positiveModulo({value.sql}, {bound})", Kind.TIME)
    if not WIDTH.fullmatch(width) or float(width) <= 0:
        raise ValueError(f"cannot use width: {width[:40]}")
    bound = params.add(float(width), "Float64")
    return Expression(f"floor({number_of(value)} / {bound}) * {bound}", Kind.NUMBER)
