"""Whatever the syntax tree says, its print says again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from query import ast
from query.errors import QueryInvalid, RequestInvalid
from query.parse import parse
from query.plan import make_plan
from query.tables import compile_table

NOW = 1_769_860_800_000_000_000


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_what_is_printed_parses_to_the_same_tree(
    data: st.DataObject, any_query: Callable[[st.DataObject], ast.Query]
) -> None:
    query = any_query(data)
    assert parse(str(query)) == query


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
@example("' OR 1=1 --")
@example('a\x00b:"\x00"')
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_query_or_an_error_with_a_place(text: str) -> None:
    try:
        query = parse(text)
    except QueryInvalid as error:
        assert error.position is not None
        line, column = error.position
        assert 1 <= line <= text.count("\n") + 1
        assert 1 <= column <= len(text) + 2
    else:
        assert parse(str(query)) == query


PIECES = [
    "a",
    "OR",
    "AND",
    "NOT",
    "-",
    "(",
    ")",
    '"',
    "'",
    "x:",
    ":",
    ">=",
    "5",
    "[",
    "1 TO 2",
    "]",
    "/",
    "|",
    " ",
]
PIECES += [
    "stats",
    "count()",
    "by",
    "bin(5m)",
    "top",
    "where",
    "n > 1",
    "sort",
    ",",
    "*",
    "\\",
    "as",
    "limit 5",
]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), gap=st.sampled_from(["", " "]))
@settings(max_examples=400, deadline=None)
def test_pieces_of_queries_never_break_the_parser(pieces: list[str], gap: str) -> None:
    text = gap.join(pieces)
    try:
        query = parse(text)
    except QueryInvalid as error:
        assert error.position is not None
    else:
        assert parse(str(query)) == query


@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_query_has_a_meaning_or_an_error(
    data: st.DataObject, any_query: Callable[[st.DataObject], ast.Query]
) -> None:
    try:
        compile_table(make_plan(str(any_query(data)), now=NOW, namespace="default"), 10)
    except (QueryInvalid, RequestInvalid) as error:
        assert error.position is None or error.position >= (1, 1)


MANY = "9" * 5000  # digits: what no number type holds


@pytest.mark.parametrize(
    "text",
    [
        f"a | limit {MANY}", f"a | top {MANY} b", f"a:>{MANY}", f"a:>{MANY}s", f"a:>{MANY}.{MANY}KiB", f"_time:{MANY}",
        f"_time:{MANY}s", f"_time:>now-{MANY}w", f"_time:{'0' * 5000}1", f"fingerprint:{MANY}", f"level:{MANY}",
        f"a | stats count() by bin({MANY}s)", f"a | stats count() by bin(b, {MANY})", f"a | histogram({MANY}h)",
        f"a | stats quantile(b, {MANY})", f"a | stats p{MANY}(b)", f"a:[{MANY} TO {MANY}s]", f"_time:2026-01-01T{MANY}",
        f"a | where b > {MANY}", f"a | stats count() as n | where n = {MANY}", f"a | extract '<{MANY}>'",
        "_time:१२s", "a:>१२", "a | limit १२",
    ],
)  # fmt: skip
def test_numbers_that_nothing_holds_are_no_fault(text: str) -> None:
    try:
        compile_table(make_plan(text, now=NOW, namespace="default"), 10)
    except (QueryInvalid, RequestInvalid) as error:
        assert len(error.message) < 400


@pytest.mark.parametrize(
    "text",
    ["(NOT " * 2000 + "a" + ")" * 2000, "a" * 20_000, "NOT " * 5000 + "a", "-" * 5000 + "a", "a " * 5000],
)
def test_huge_queries_are_refused(text: str) -> None:
    with pytest.raises(QueryInvalid, match="nested|terms|long"):
        parse(text)
