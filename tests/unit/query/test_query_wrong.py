"""Wrong queries: the place and the words of each error, and that no error shows the inside of Neve."""

from __future__ import annotations

import re

import pytest

from query.errors import QueryInvalid
from query.plan import make_plan
from query.tables import compile_table

NOW = 1_769_860_800_000_000_000
WRONG = [
    ("status:", 8, "expected a value right after 'status:'"),
    ("a status: 500", 10, "expected a value right after 'status:'"),
    ('"abc', 1, "quoted text is not closed"),
    ("' OR 1=1 --", 1, "quoted text is not closed"),
    ("(a", 3, r"expected '\)'"),
    ("a)", 2, r"'\)' without a '\('"),
    ("()", 2, "expected a search term"),
    ("a OR", 5, "expected a search term after 'OR'"),
    ("OR a", 1, "expected a search term before 'OR'"),
    ("a AND AND b", 7, "expected a search term before 'AND'"),
    ("NOT", 4, "expected a search term after 'NOT'"),
    ("a - b", 3, "expected a search term right after '-'"),
    ("--", 2, "expected a search term right after '-'"),
    ("a | foo", 5, "expected a pipe after '|', found 'foo'".replace("|", r"\|")),
    ("a |", 4, "expected a pipe"),
    ("a | stats", 10, "expected a name after 'stats'"),
    ("a | stats count() by", 21, "expected a name after 'by'"),
    ("a | sort", 9, "expected a name"),
    ("a | limit x", 11, "expected a whole number"),
    ("a | top x y", 11, "found 'y'"),
    ("a | where n", 12, "expected a comparison"),
    ("a | where service:api", 18, "expected a comparison"),
    ("| stats p95(x", 14, r"expected '\)'"),
    ("x:[1 TO", 8, "expected a value or"),
    ("x:[1 5]", 6, "expected TO"),
    ("x:>", 4, "expected a value after"),
    ("x:!5", 3, "expected a value"),
    ("x:()", 4, "expected a value"),
    ("x:(a AND b)", 6, "found 'AND'"),
    ("x:(a b)", 6, "found 'b'"),
    ("http://x/y", 6, "expected a value after 'http:'"),
    ("C:\\foo", 3, "expected a value after 'C:'"),
    ("foo::bar", 5, "expected a value"),
    ('msg="a b"', 5, "expected a space between text and quote"),
    ("foo(bar)", 4, r"expected a space before '\('"),
    ("/a(b", 1, "cannot read regex"),
    ('""', 1, "expected words between the quotes"),
    ("level:loud", 1, "there is no level 'loud'"),
    ("a level:>=loud", 3, "there is no level 'loud'"),
    ("timestamp:yesterday", 1, "cannot read time: yesterday"),
    ("_time:[2026-02-30 TO now]", 1, "cannot read time: 2026-02-30"),
    ("_time:/x/", 1, "expected a time"),
    ("fingerprint:12", 1, "expected a fingerprint"),
    ("fingerprint:>=0123456789abcdef", 1, "expected a fingerprint"),
    ("| stats nope(x)", 9, "there is no function 'nope'"),
    ("| stats sum()", 9, "sum takes other arguments"),
    ("| stats quantile(x)", 9, "quantile takes other arguments"),
    ("| stats quantile(x, 2)", 9, "between 0 and 1"),
    ("| stats sum(timestamp)", 9, "sum of a time means nothing"),
    ("| stats rate()", 9, "rate needs a range of time"),
    ("| stats count() by bin(5)", 20, "cannot read duration|cannot use width"),
    ("| stats count() by bin(x, 5m)", 20, "cannot use width"),
    ("| stats count() as n, sum(x) as n", 3, "two columns are named 'n'"),
    ("| stats count() as n | sort m", 24, "there is no column 'm'"),
    ("| stats count() as n | where n > x", 24, "cannot compare a number with 'x'"),
    ("| stats count() | stats first(a)", 25, "there is no column 'a'"),
    ("| stats count() | patterns", 19, "patterns needs events"),
    ("| extract 'a <b>'", 3, "cannot extract fields"),
    ("| unpack json", 3, "cannot unpack fields"),
]
INSIDE = re.compile(
    r"SELECT |FROM |\bWHERE\b|Traceback|site-packages|/work|\.py\b|lark|clickhouse|tags_\d|\{p\d"
)


def error_of(text: str) -> QueryInvalid:
    with pytest.raises(QueryInvalid) as raised:
        compile_table(make_plan(text, now=NOW, namespace="default"), 10)
    return raised.value


@pytest.mark.parametrize(("text", "column", "message"), WRONG)
def test_a_wrong_query_is_told_where_and_why(text: str, column: int, message: str) -> None:
    error = error_of(text)
    assert error.position == (1, column)
    assert re.search(message, error.message)
    assert error.message.startswith(f"line 1, column {column}: ")
    excerpt, caret = error.hint.split("\n")[-2:]
    assert excerpt == text
    assert caret == " " * (column - 1) + "^"


@pytest.mark.parametrize("text", [text for text, *_ in WRONG])
def test_an_error_shows_nothing_of_the_inside(text: str) -> None:
    said = str(error_of(text).to_json()).replace(repr(text)[1:-1], "")
    assert not INSIDE.search(said)


def test_the_place_counts_lines() -> None:
    error = error_of("error\n  status:")
    assert error.position == (2, 10)
    assert error.hint.endswith("  status:\n         ^")


@pytest.mark.parametrize(
    "text", ["zqx", '"zqx y"', "zqx*", "/zqx/", "zqx:zqx", "zqx:>=zqx", "* | stats sum(zqx) as zqx by zqxk"]
)
def test_nothing_that_was_typed_is_in_the_sql(text: str) -> None:
    assert "zqx" not in compile_table(make_plan(text, now=NOW, namespace="default"), 10).sql
