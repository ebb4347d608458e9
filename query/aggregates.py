"""The functions of `stats`, one line of SQL each, over expressions that may be absent ('' or NULL)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from query import ast
from query.conditions import Expression, Kind
from query.quantities import COUNT, parse_quantity
from query.sql import Params, number_of, present
from query.times import BadTime, parse_duration

FUNCTIONS = "count, sum, avg, min, max, p50 … p99, quantile, rate, uniq, any, first, last"
PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")
EVENT_ORDER = ", (timestamp, block_id, row)"


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
        return Expression(f"countIf({present(fields[0])})" if fields else "count()", Kind.NUMBER, COUNT)
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
    if value.kind is Kind.TIME:
        raise ValueError("a percentile of a time means nothing; use min or max")
    return Expression(f"quantileExactInclusiveOrNull({bound})({number_of(value)})", Kind.NUMBER, value.unit)


def _rate(call: ast.Call, fields: list[Expression], params: Params, seconds: float | None) -> Expression:
    _takes(call, fields, 0)
    if seconds is None:
        raise ValueError("rate needs a range of time; give from and to, _time:15m, or group by bin(1m)")
    return Expression(f"count() / {params.add(seconds, 'Float64')}", Kind.NUMBER, COUNT)


def _uniq(fields: list[Expression]) -> Expression:
    there = " OR ".join(present(value) for value in fields)
    values = ", ".join(value.sql for value in fields)
    together = f"tuple({values})" if len(fields) > 1 else values  # else one NULL among them would not count
    return Expression(f"uniqCombined64If({together}, {there})", Kind.NUMBER, COUNT)


def _numeric(name: str) -> Callable[[Expression], Expression]:
    """An aggregate of numbers; of times only where that means something."""

    def made(value: Expression) -> Expression:
        if value.kind is Kind.TIME and name not in ("min", "max"):
            raise ValueError(f"{name} of a time means nothing; use min or max")
        kind = Kind.TIME if value.kind is Kind.TIME else Kind.NUMBER
        return Expression(f"{name}OrNull({number_of(value)})", kind, value.unit)

    return made


def _picking(function: str, order: str = "") -> Callable[[Expression], Expression]:
    """An aggregate that gives one of the values that are there; none gives '' or NULL."""

    def made(value: Expression) -> Expression:
        or_null = "" if value.kind in (Kind.TEXT, Kind.LEVEL) else "OrNull"
        return replace(value, sql=f"{function}{or_null}If({value.sql}{order}, {present(value)})")

    return made


ONE_FIELD: dict[str, Callable[[Expression], Expression]] = {
    "sum": _numeric("sum"), "avg": _numeric("avg"), "min": _numeric("min"), "max": _numeric("max"),
    "any": _picking("any"), "first": _picking("argMin", EVENT_ORDER), "last": _picking("argMax", EVENT_ORDER),
}  # fmt: skip


def bin_of(value: Expression, width: str, params: Params) -> Expression:
    """The lower edge of the bin that a value is in. ValueError for a width that does not fit the value."""
    if not width:
        raise ValueError("expected a width")
    if value.kind is Kind.TIME:
        try:
            bound = params.add(parse_duration(width), "Int64")
        except BadTime as error:
            raise ValueError(str(error).partition(";")[0]) from None
        return Expression(f"{value.sql} - positiveModulo({value.sql}, {bound})", Kind.TIME)
    asked = parse_quantity(width)
    if asked is None or asked.number <= 0:
        raise ValueError(f"cannot use width: {width[:40]}")
    bound = params.add(asked.within(value.unit), "Float64")
    # Zero is added so that -0 is 0, which would be two groups.
    return Expression(f"floor({number_of(value)} / {bound}) * {bound} + 0.", Kind.NUMBER, value.unit)
