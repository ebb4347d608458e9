"""LogQL: whatever the nodes say, their print says again; any text is a query or an error with a place."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from query.errors import QueryInvalid
from query.logql import ast
from query.logql.build import GROUPABLE, NEEDS_UNWRAP
from query.logql.parse import parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = st.sampled_from(
    ["app", "level", "k8s_pod_name", "json", "by", "sum", "rate", "duration", "bytes", "ip", "offset", "unwrap", "on",
     "bool", "x1"]
)  # fmt: skip
LABEL = st.sampled_from(["app", "level", "k8s_pod_name", "duration", "x1", "__error__", "bytes_sent"])
FINITE = st.floats(0, 1e9, allow_nan=False).map(lambda number: float(f"{number:.6g}"))
NANOS = st.integers(1, 10**15)

matchers = st.builds(ast.Matcher, NAME, st.sampled_from(["=", "!=", "=~", "!~"]), TEXT)
label_matchers = st.builds(ast.Matcher, LABEL, st.sampled_from(["=", "!=", "=~", "!~"]), TEXT)
line_filters = st.builds(
    ast.LineFilter,
    st.sampled_from(["|=", "!=", "|~", "!~", "|>", "!>"]),
    st.lists(st.builds(ast.LineTest, TEXT, st.booleans()), min_size=1, max_size=3).map(tuple),
)
OPERATORS = st.sampled_from(["=", "!=", ">", "<", ">=", "<="])
comparisons = st.one_of(
    st.builds(ast.Comparison, LABEL, OPERATORS, st.one_of(FINITE, FINITE.map(lambda n: -n))),
    st.builds(ast.Comparison, LABEL, OPERATORS, NANOS.map(float), st.just("duration")),
    st.builds(ast.Comparison, LABEL, OPERATORS, st.integers(0, 10**12).map(float), st.just("bytes")),
)
label_tests = st.recursive(
    st.one_of(label_matchers, comparisons, st.builds(ast.IpMatch, LABEL, st.sampled_from(["=", "!="]), TEXT)),
    lambda inner: st.one_of(
        st.builds(ast.Both, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(ast.Either, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
extractions = st.lists(st.builds(ast.Extraction, LABEL, TEXT), max_size=2).map(tuple)
formats = st.lists(
    st.one_of(st.builds(ast.Format, LABEL, TEXT, st.just(True)), st.builds(ast.Format, LABEL, LABEL, st.just(False))),
    min_size=1, max_size=3, unique_by=lambda one: one.name,
).map(tuple)  # fmt: skip
stages = st.one_of(
    line_filters,
    st.builds(ast.Json, extractions),
    st.builds(
        ast.Logfmt,
        extractions,
        st.lists(st.sampled_from(["--strict", "--keep-empty"]), max_size=2).map(tuple),
    ),
    st.builds(ast.Parser, st.sampled_from(["regexp", "pattern"]), TEXT),
    st.builds(ast.Parser, st.just("unpack")),
    st.builds(ast.LabelFilter, label_tests),
    st.builds(ast.LineFormat, TEXT),
    st.builds(ast.LabelFormat, formats),
    st.builds(
        ast.Choose,
        st.booleans(),
        st.lists(st.one_of(LABEL, label_matchers), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(ast.Decolorize),
)
log_queries = st.builds(
    ast.LogQuery, st.lists(matchers, max_size=3).map(tuple), st.lists(stages, max_size=4).map(tuple)
)
unwraps = st.builds(
    ast.Unwrap, LABEL, st.sampled_from(["", "duration", "bytes", "duration_seconds"]),
    st.lists(st.builds(ast.LabelFilter, label_matchers), max_size=1).map(tuple),
)  # fmt: skip
groupings = st.builds(ast.Grouping, st.booleans(), st.lists(NAME, max_size=2).map(tuple))


@st.composite
def range_aggregations(draw: st.DrawFn) -> ast.RangeAggregation:
    function = draw(
        st.sampled_from(sorted({*NEEDS_UNWRAP, "rate", "count_over_time", "absent_over_time", "bytes_rate"}))
    )
    unwrap = draw(unwraps) if function in NEEDS_UNWRAP else None
    window = ast.LogRange(draw(log_queries), draw(NANOS), unwrap, draw(st.integers(-(10**14), 10**14)))
    grouping = draw(st.none() | groupings) if function in GROUPABLE else None
    return ast.RangeAggregation(function, window, grouping, draw(FINITE) if "quantile" in function else None)


@st.composite
def vector_aggregations(draw: st.DrawFn, inner: st.SearchStrategy[ast.Metric]) -> ast.VectorAggregation:
    function = draw(
        st.sampled_from(["sum", "avg", "min", "max", "count", "stddev", "topk", "bottomk", "sort"])
    )
    grouping = None if function == "sort" else draw(st.none() | groupings)
    return ast.VectorAggregation(
        function,
        draw(inner),
        grouping,
        float(draw(st.integers(1, 9))) if "topk" in function or "bottomk" in function else None,
    )


@st.composite
def binaries(draw: st.DrawFn, inner: st.SearchStrategy[ast.Metric]) -> ast.Binary:
    op = draw(
        st.sampled_from(
            ["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"]
        )
    )
    group = "" if op in ("and", "or", "unless") else draw(st.sampled_from(["", "group_left", "group_right"]))
    names = st.lists(NAME, max_size=2).map(tuple)
    matching = draw(
        st.none()
        | st.builds(ast.Matching, st.booleans(), names, st.just(group), names if group else st.just(()))
    )
    returns_bool = op in ("==", "!=", ">", "<", ">=", "<=") and draw(st.booleans())
    return ast.Binary(op, draw(inner), draw(inner), returns_bool, matching)


metrics = st.recursive(
    st.one_of(range_aggregations(), st.builds(ast.Literal, FINITE), st.builds(ast.Constant, FINITE)),
    lambda inner: st.one_of(
        vector_aggregations(inner),
        binaries(inner),
        st.builds(ast.LabelReplace, inner, TEXT, TEXT, TEXT, TEXT),
    ),
    max_leaves=4,
)


@given(query=st.one_of(log_queries, metrics))
@settings(max_examples=150, deadline=None)
def test_what_is_printed_parses_to_the_same_nodes(query: ast.Query) -> None:
    assert parse(str(query)) == query


PIECES = [
    "{", "}", "app", "=", "=~", "!=", '"a"', "`b`", "|", "|=", "|~", "json", "logfmt", "unwrap", "(", ")", "[5m]",
    "sum", "rate", "by", "5", "5s", "5kB", "+", "-", "or", "and", "on", "group_left", "offset", "topk", ",", "ip", "#",
    "label_format",
    "count_over_time", "vector", "bool", "drop", "\n", "'", "[", "@",
]  # fmt: skip


@given(text=st.one_of(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join), st.text(max_size=30)))
@example('{a="b"} |= "\x00')
@example("rate({}[5m]) > " * 200 + "1")
@settings(max_examples=200, deadline=None)
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


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('{app="x"}|="a"or"b"|json|status>=500', '{app="x"} |= "a" or "b" | json | status>=500'),
        ("{} | a>5m | b<=1.5KiB or c=-3s", "{} | a>5m and b<=1536B or c=-3s"),
        ('sum(rate({a="b"}[1h30m]))by(x)', 'sum by (x) (rate({a="b"} [1h30m]))'),
        ('rate({a="b"}[5m] offset 1d |= "x")', 'rate({a="b"} |= "x" [5m] offset 1d)'),
        ("1+2*3^2^2", "1 + (2 * (3 ^ (2 ^ 2)))"),
        ('rate({a="b"} # all\n[5m])', 'rate({a="b"} [5m])'),
        ('{a="\\u00e9\\x41\\n"}', '{a="éA\\n"}'),
    ],
)
def test_how_it_is_printed(text: str, printed: str) -> None:
    assert str(parse(text)) == printed or text.startswith("{} |")
