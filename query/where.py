"""`where` over the columns of a table: `n > 10 and service = api`."""

from __future__ import annotations

from collections.abc import Callable

from query import ast
from query.aggregates import Expression, number_of
from query.analyze import LEVEL_NAMES, NUMBER
from query.conditions import Kind
from query.levels import level_of, levels_where
from query.sql import Params
from query.times import parse_instant

Resolve = Callable[[ast.Match], Expression]


def compile_where(node: ast.Filter, resolve: Resolve, params: Params, now: int) -> str:
    """The SQL of a condition. ValueError, "message; hint", for a value that does not fit its column."""
    if isinstance(node, ast.Match):
        assert isinstance(node.test, ast.Compare)
        return f"ifNull({_compare(resolve(node), node.test, params, now)}, 0)"
    if isinstance(node, ast.Not):
        return f"NOT ({compile_where(node.child, resolve, params, now)})"
    operator = " AND " if isinstance(node, ast.And) else " OR "
    return "(" + operator.join(compile_where(child, resolve, params, now) for child in node.children) + ")"


def _compare(column: Expression, test: ast.Compare, params: Params, now: int) -> str:
    """One comparison; NULL where the column holds nothing to compare."""
    op, value = test.op, test.value
    if column.kind is Kind.TIME:
        return f"{column.sql} {op} {params.add(parse_instant(value, now), 'Int64')}"
    if column.kind is Kind.NUMBER:
        if not NUMBER.fullmatch(value):
            raise ValueError(f"cannot compare a number with {value[:40]!r}; use a number")
        return f"{column.sql} {op} {params.add(float(value), 'Float64')}"
    if op in ("=", "!="):
        return f"{column.sql} {op} {params.add(value)}"
    if column.kind is Kind.LEVEL:
        level = level_of(value)
        if level is None:
            raise ValueError(f"there is no level {value[:40]!r}; levels are {LEVEL_NAMES}")
        return f"{column.sql} IN {params.add(list(levels_where(op, level)), 'Array(String)')}"
    if NUMBER.fullmatch(value):
        return f"{number_of(column)} {op} {params.add(float(value), 'Float64')}"
    return f"({column.sql} != '' AND {column.sql} {op} {params.add(value)})"
