"""What the grammar finds → nodes, bottom up."""

from __future__ import annotations

from typing import Any, TypeVar

from lark import Token, Transformer, v_args

from query.logql import ast
from query.logql.tokens import Misread, bytes_of, duration_of, number_of, range_of, start_of, string_of

N = TypeVar("N")


def _one(items: tuple[Any, ...], kind: type[N]) -> N | None:
    """The one of this type, of items of a rule of which some are optional."""
    return next((item for item in items if isinstance(item, kind)), None)


@v_args(inline=True)
class Build(Transformer[Token, Any]):
    """One method for each rule of the grammar, bottom up; none recurses."""

    def start(self, query: ast.Query) -> ast.Query:
        return query

    def plain(self, matchers: tuple[ast.Matcher, ...], stages: tuple[ast.Stage, ...] = ()) -> ast.LogQuery:
        return ast.LogQuery(matchers, stages)

    def stages(self, *stages: ast.Stage) -> tuple[ast.Stage, ...]:
        return stages

    def selector(self, *matchers: ast.Matcher) -> Selector:
        return Selector(matchers)

    def matcher(self, name: Token, op: Token, value: Token) -> ast.Matcher:
        return ast.Matcher(str(name), str(op), string_of(value), start_of(name))

    # stages

    def line_filter(self, op: Token, *tests: Any) -> ast.LineFilter:
        kept = tuple(test for test in tests if isinstance(test, ast.LineTest))
        return ast.LineFilter({"!=": "!=", "!~": "!~"}.get(op, str(op)), kept)

    def text_test(self, text: Token) -> ast.LineTest:
        return ast.LineTest(string_of(text), offset=start_of(text))

    def ip_test(self, text: Token) -> ast.LineTest:
        return ast.LineTest(string_of(text), True, start_of(text))

    def json(self, *extractions: ast.Extraction) -> ast.Json:
        return ast.Json(extractions)

    def logfmt(self, word: Token, *rest: Any) -> ast.Logfmt:
        extractions = tuple(one for one in rest if isinstance(one, ast.Extraction))
        flags = tuple(str(one) for one in rest if isinstance(one, Token))
        return ast.Logfmt(extractions, flags, start_of(word))

    def extraction(self, name: Token, *path: Token) -> ast.Extraction:
        return ast.Extraction(str(name), string_of(path[1]) if path else str(name), start_of(name))

    def parser(self, kind: Token, pattern: Token | None = None) -> ast.Parser:
        text = None if pattern is None else string_of(pattern)
        return ast.Parser(str(kind), text, start_of(kind) if pattern is None else start_of(pattern))

    def line_format(self, _word: Token, template: Token) -> ast.LineFormat:
        return ast.LineFormat(string_of(template), start_of(template))

    def label_format(self, *formats: ast.Format) -> ast.LabelFormat:
        names = [one.name for one in formats]
        for one in formats:
            if names.count(one.name) > 1:
                raise Misread(
                    f"multiple label name '{one.name[:40]}' not allowed in a single format operation",
                    one.offset,
                )
        return ast.LabelFormat(formats)

    def rename(self, name: Token, _op: Token, source: Token) -> ast.Format:
        return ast.Format(str(name), str(source), False, start_of(name))

    def make(self, name: Token, _op: Token, template: Token) -> ast.Format:
        return ast.Format(str(name), string_of(template), True, start_of(template))

    def choose(self, word: Token, *items: Any) -> ast.Choose:
        return ast.Choose(word == "keep", items)

    def chosen_name(self, name: Token) -> str:
        return str(name)

    def decolorize(self, _word: Token) -> ast.Decolorize:
        return ast.Decolorize()

    # label filters

    def label_filter(self, test: ast.LabelTest) -> ast.LabelFilter:
        return ast.LabelFilter(test)

    def either(self, *tests: Any) -> ast.Either:
        return ast.Either(tuple(test for test in tests if not isinstance(test, Token)))

    def both(self, *tests: Any) -> ast.Both:
        return ast.Both(tuple(test for test in tests if not isinstance(test, Token)))

    def number_test(self, name: Token, op: Token, value: float) -> ast.Comparison:
        return ast.Comparison(str(name), _compared(op), value, offset=start_of(name))

    def duration_test(self, name: Token, op: Token, value: Token) -> ast.Comparison:
        return ast.Comparison(str(name), _compared(op), float(duration_of(value)), "duration", start_of(name))

    def negative_duration_test(self, name: Token, op: Token, *value: Token) -> ast.Comparison:
        return ast.Comparison(
            str(name), _compared(op), -float(duration_of(value[-1])), "duration", start_of(name)
        )

    def bytes_test(self, name: Token, op: Token, value: Token) -> ast.Comparison:
        return ast.Comparison(str(name), _compared(op), bytes_of(value), "bytes", start_of(name))

    def ip_label_test(self, name: Token, op: Token, value: Token) -> ast.IpMatch:
        return ast.IpMatch(str(name), str(op), string_of(value), start_of(name))

    def number(self, *tokens: Token) -> float:
        return number_of(tokens[-1])

    def negative(self, *tokens: Token) -> float:
        return -number_of(tokens[-1])

    # metrics

    def binary(
        self, left: ast.Metric, op: Token, how: tuple[bool, ast.Matching | None], right: ast.Metric
    ) -> ast.Metric:
        returns_bool, matching = how
        if returns_bool and op not in ("==", "!=", ">", "<", ">=", "<="):
            raise Misread("bool modifier can only be used on comparison operators", start_of(op))
        if matching and matching.group and op in ("and", "or", "unless"):
            raise Misread("no grouping allowed for set operations", start_of(op))
        return ast.Binary(str(op), left, right, returns_bool, matching, start_of(op))

    def modifier(self, *items: Any) -> tuple[bool, ast.Matching | None]:
        return any(isinstance(item, Token) for item in items), _one(items, ast.Matching)

    def matching(
        self, word: Token, names: tuple[str, ...], group: tuple[str, tuple[str, ...]] = ("", ())
    ) -> ast.Matching:
        return ast.Matching(word == "on", names, *group)

    def group(self, word: Token, names: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
        return str(word), names

    def names(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(str, names))

    def label_replace(self, inner: ast.Metric, *texts: Token) -> ast.LabelReplace:
        target, replacement, source, regex = map(string_of, texts)
        return ast.LabelReplace(inner, target, replacement, source, regex, start_of(texts[-1]))

    def constant(self, value: Token) -> ast.Constant:
        return ast.Constant(number_of(value))

    def literal(self, *tokens: Token) -> ast.Literal:
        return ast.Literal(number_of(tokens[-1]) * (-1 if tokens[0] == "-" else 1))

    def grouping(self, word: Token, names: tuple[str, ...]) -> ast.Grouping:
        return ast.Grouping(word == "without", names)

    def vector_aggregation(self, function: Token, *items: Any) -> ast.VectorAggregation:
        return _vector_aggregation(function, items)

    def range_aggregation(self, function: Token, *items: Any) -> ast.RangeAggregation:
        return _range_aggregation(function, items)

    def range(self, *items: Any) -> ast.LogRange:
        return _log_range(items)

    def unwrap(self, *items: Any) -> ast.Unwrap:
        tokens = [item for item in items if isinstance(item, Token) and item.type != "UNWRAP"]
        filters = tuple(item for item in items if isinstance(item, ast.LabelFilter))
        conversion = str(tokens[0]) if tokens[0].type == "CONVERSION" else ""
        return ast.Unwrap(str(tokens[-1]), conversion, filters, start_of(tokens[-1]))

    def offset(self, *tokens: Token) -> Offset:
        return Offset(duration_of(tokens[-1]) * (-1 if tokens[0] == "-" else 1))


class Selector(tuple[ast.Matcher, ...]):
    """The matchers of a selector, told from other tuples."""


class Offset(int):
    """The nanoseconds of an offset, told from other numbers."""


def _compared(op: Token) -> str:
    return "=" if op == "==" else str(op)


def _log_range(items: tuple[Any, ...]) -> ast.LogRange:
    selector, unwraps = _one(items, Selector), [item for item in items if isinstance(item, ast.Unwrap)]
    stages = [item for item in items if isinstance(item, tuple) and not isinstance(item, Selector)]
    token = next(item for item in items if isinstance(item, Token) and item.type == "RANGE")
    if (
        len(stages) > 1
        or len(unwraps) > 1
        or (unwraps and stages and items.index(unwraps[0]) < items.index(stages[0]))
    ):
        raise Misread("syntax error: unexpected RANGE", start_of(token))
    query = ast.LogQuery(tuple(selector or ()), stages[0] if stages else ())
    return ast.LogRange(
        query, range_of(token), unwraps[0] if unwraps else None, int(_one(items, Offset) or 0)
    )


NEEDS_UNWRAP = {
    f"{name}_over_time"
    for name in ("avg", "sum", "min", "max", "stddev", "stdvar", "quantile", "first", "last")
}
GROUPABLE = NEEDS_UNWRAP - {"sum_over_time"}
TAKES_NUMBER = {"topk", "bottomk", "approx_topk"}


def _range_aggregation(function: Token, items: tuple[Any, ...]) -> ast.RangeAggregation:
    found, grouping = _one(items, ast.LogRange), _one(items, ast.Grouping)
    parameter = next((item for item in items if isinstance(item, Token)), None)
    assert found is not None
    name = str(function)
    if (name == "quantile_over_time") != (parameter is not None):
        message = (
            "parameter required for operation quantile_over_time"
            if parameter is None
            else f"parameter {parameter} not supported for operation {name}"
        )
        raise Misread(message, start_of(function))
    if name in NEEDS_UNWRAP | {"rate_counter"} and found.unwrap is None:
        raise Misread(f"invalid aggregation {name} without unwrap", start_of(function))
    if name in ("count_over_time", "bytes_over_time", "bytes_rate") and found.unwrap is not None:
        raise Misread(f"invalid aggregation {name} with unwrap", start_of(function))
    if grouping is not None and name not in GROUPABLE:
        raise Misread(f"grouping not allowed for {name} aggregation", start_of(function))
    value = None if parameter is None else number_of(parameter)
    return ast.RangeAggregation(name, found, grouping, value, start_of(function))


def _vector_aggregation(function: Token, items: tuple[Any, ...]) -> ast.VectorAggregation:
    groupings = [item for item in items if isinstance(item, ast.Grouping)]
    parameter = next((item for item in items if isinstance(item, Token)), None)
    [inner] = [item for item in items if not isinstance(item, ast.Grouping | Token)]
    name = str(function)
    if len(groupings) > 1:
        raise Misread(f"only one grouping is allowed for {name}", start_of(function))
    if (name in TAKES_NUMBER) != (parameter is not None):
        message = (
            f"parameter required for operation {name}"
            if parameter is None
            else f"unsupported parameter for operation {name}({parameter},"
        )
        raise Misread(message, start_of(function))
    if parameter is not None and (not parameter.isdigit() or int(parameter) < 1):
        raise Misread(f"invalid parameter (must be greater than 0) {name}({parameter}", start_of(parameter))
    if name in ("sort", "sort_desc") and groupings and groupings[0].names:
        raise Misread("sort and sort_desc doesn't allow grouping by ", start_of(function))
    value = None if parameter is None else number_of(parameter)
    return ast.VectorAggregation(name, inner, groupings[0] if groupings else None, value, start_of(function))
