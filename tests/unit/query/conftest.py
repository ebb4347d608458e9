"""Strategies that make any query the language can say."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from query import ast

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WORD = st.text("abzAZ09_é用ж.-", min_size=1, max_size=5)
TEXTS = st.one_of(
    WORD, ANY_TEXT, st.sampled_from(["OR", "AND", "NOT", "TO", "by", "a b", '"', "\\", "*", "/x/", "-5", ""])
)
NAMES = st.one_of(
    WORD.filter(bool),
    ANY_TEXT.filter(bool),
    st.sampled_from(["by", "as", "a.b-c", "x y", "1st", "level", "OR"]),
)


def _regex(pattern: str) -> bool:
    """Patterns as the parser makes them: no escaped slash, no line break, no lone backslash at the end."""
    pairs = re.sub(r"\\[^\n]", "", pattern)
    return (
        bool(pattern)
        and "\n" not in pattern
        and "\\" not in pairs
        and not re.search(r"(?<!\\)(\\\\)*\\/", pattern)
    )


REGEXES = st.text("ab/\\.*()[]|^$ é\"'", min_size=1, max_size=8).filter(_regex).map(ast.Regex)
PARTS = TEXTS.filter(bool)
GLOBS = st.builds(
    lambda first, inner, last: ast.Glob((first, *inner, last)), TEXTS, st.lists(PARTS, max_size=2), TEXTS
)
COMPARES = st.builds(ast.Compare, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), TEXTS)
ENDS = st.none() | TEXTS
RANGES = st.builds(ast.Range, ENDS, ENDS, st.booleans(), st.booleans())
ONE_TEST = st.one_of(TEXTS.map(ast.Text), GLOBS, REGEXES, COMPARES, RANGES)
TESTS = st.one_of(
    ONE_TEST, st.lists(ONE_TEST, min_size=1, max_size=3).map(lambda tests: ast.OneOf(tuple(tests)))
)
MATCHES = st.one_of(
    st.one_of(TEXTS.map(ast.Text), GLOBS, REGEXES).map(lambda test: ast.Match(None, test)),
    st.builds(ast.Match, NAMES, TESTS),
)


def _grow(children: st.SearchStrategy[ast.Filter]) -> st.SearchStrategy[ast.Filter]:
    some = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.one_of(children.map(ast.Not), some.map(ast.And), some.map(ast.Or))


FILTERS: st.SearchStrategy[ast.Filter] = st.recursive(MATCHES, _grow, max_leaves=6)
CONDITIONS: st.SearchStrategy[ast.Filter] = st.recursive(
    st.builds(ast.Match, NAMES, COMPARES), _grow, max_leaves=4
)
ALIASES = st.none() | NAMES
NAME_LISTS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
FUNCTIONS = st.sampled_from(["count", "sum", "p95", "uniq", "any", "rate"])
CALLS = st.one_of(
    st.builds(ast.Call, FUNCTIONS, st.lists(NAMES, max_size=2).map(tuple), st.none(), ALIASES),
    st.builds(
        ast.Call, st.just("quantile"), NAMES.map(lambda n: (n,)), st.sampled_from(["0.5", "1"]), ALIASES
    ),
)
WIDTHS = st.sampled_from(["5m", "100ms", "1.5h", "1d", "1h30m", "3µs"])
KEYS = st.one_of(
    NAMES.map(ast.Key),
    st.builds(ast.Key, NAMES, st.none(), NAMES),
    st.builds(ast.Key, st.none(), WIDTHS, ALIASES),
    st.builds(ast.Key, NAMES, st.sampled_from(["5m", "100", "0.5", "10KiB", "1MB"]), ALIASES),
)
COUNTS = st.integers(0, 10_000)
SORT_KEYS = st.lists(st.builds(ast.SortKey, NAMES, st.booleans()), min_size=1, max_size=3).map(tuple)
PATTERNS = st.sampled_from(["took <ms:number>ms", "<a>", r"\<<_>, \"<b:quoted> <c:ip>", "<a:word><b>"])
PIPES = st.one_of(
    st.builds(
        ast.Stats, st.lists(CALLS, min_size=1, max_size=3).map(tuple), st.lists(KEYS, max_size=2).map(tuple)
    ),
    st.builds(ast.Top, COUNTS, NAME_LISTS, st.booleans()),
    st.builds(ast.Uniq, NAME_LISTS),
    st.builds(ast.Where, CONDITIONS),
    st.builds(ast.Sort, SORT_KEYS),
    st.builds(ast.Fields, NAME_LISTS),
    st.builds(ast.Limit, COUNTS),
    st.just(ast.Patterns()),
    st.builds(ast.Histogram, WIDTHS, st.one_of(st.just(()), NAME_LISTS)),
    st.builds(ast.Extract, TEXTS | PATTERNS, st.none() | NAMES),
    st.builds(ast.Unpack, st.sampled_from(["json", "logfmt"]), st.none() | NAMES),
)
QUERIES = st.builds(ast.Query, FILTERS, st.lists(PIPES, max_size=3).map(tuple))


@pytest.fixture(scope="session")
def any_query() -> Callable[[st.DataObject], ast.Query]:
    """Draw any query."""
    return lambda data: data.draw(QUERIES)


@pytest.fixture(scope="session")
def any_filter() -> Callable[[st.DataObject], ast.Filter]:
    """Draw any filter."""
    return lambda data: data.draw(FILTERS)
