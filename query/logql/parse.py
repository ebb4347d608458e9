"""LogQL text → nodes. The grammar is logql.lark; errors are worded as Loki's are."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from query.errors import QueryInvalid, invalid_at
from query.logql import ast

MAX_LENGTH = 131_072  # characters: what clients write themselves may be long
MAX_DEPTH = 100  # of nodes in nodes: what follows recurses
MAX_PARENTHESES = 2 * MAX_DEPTH + 10  # as a node's print may have more of them than it was typed with
SHOWN = 4  # what is expected is said where it is no more than this
DURATION_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
    "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9, "y": 365 * 86_400 * 10**9,
}  # fmt: skip
SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
MAX_NANOS = (1 << 63) - 1
NAMES = {"$END": "$end", "LBRACE": "{", "RBRACE": "}", "LPAR": "(", "RPAR": ")", "COMMA": ",", "VBAR": "|",
         "EQ": "=", "NEQ": "!=", "RE": "=~", "NRE": "!~", "CMP_EQ": "==", "PLUS": "+", "MINUS": "-", "STAR": "*",
         "SLASH": "/", "PERCENT": "%", "CARET": "^"}  # fmt: skip
FAMILIES = {
    "ORDER",
    "LINE_OP",
    "PARSER",
    "CONVERSION",
    "VECTOR_OP",
    "RANGE_OP",
    "FLAG",
}  # that stand for many words
TOO_DEEP = f"query is nested too deep: use at most {MAX_DEPTH} levels"
_STEP = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d|w|y)")
_DURATION = re.compile(rf"(?:{_STEP.pattern})+")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\\"'])|(.?))", re.DOTALL
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
N = TypeVar("N")


class Misread(ValueError):
    """A token that cannot be used; the message, and its place."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def parse(text: str) -> ast.Query:
    """The query of a text; QueryInvalid, with the place, where it is none."""
    if len(text) > MAX_LENGTH:
        raise invalid_at(text, MAX_LENGTH, f"query is too long: use at most {MAX_LENGTH} characters")
    if not text.strip():
        raise invalid_at(text, 0, "syntax error: unexpected $end")
    _check_depth(text)
    try:
        query = cast(ast.Query, _parser().parse(text))
    except UnexpectedInput as error:
        raise _complaint(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, Misread):
            raise invalid_at(text, error.orig_exc.offset, str(error.orig_exc)) from None
        raise
    except Misread as error:
        raise invalid_at(text, error.offset, str(error)) from None
    if _depth(query) > MAX_DEPTH:
        raise invalid_at(text, 0, TOO_DEEP)
    return query


def parse_log(text: str) -> ast.LogQuery:
    """A query for lines, where no other is of use."""
    query = parse(text)
    if not isinstance(query, ast.LogQuery):
        raise invalid_at(text, 0, "only log selector is supported")
    return query


def parse_selector(text: str) -> tuple[ast.Matcher, ...]:
    """Label matchers alone. A text without braces, or none, is every stream."""
    if text.strip() in ("", "{}"):
        return ()
    query = parse(text)
    if not isinstance(query, ast.LogQuery) or query.stages:
        raise invalid_at(text, 0, "only label matchers are supported")
    return query.matchers


def parse_duration(text: str) -> int | None:
    """Nanoseconds of `1h30m`, with or without a sign; None for what is none."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not _DURATION.fullmatch(digits):
        return None
    total = sum(round(float(number) * DURATION_UNITS[unit]) for number, unit in _STEP.findall(digits))
    return sign * total if total <= MAX_NANOS else None


def _check_depth(text: str) -> None:
    depth = 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|`[^`]*`|[()]', text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth > MAX_PARENTHESES:
            raise invalid_at(text, match.start(), TOO_DEEP)


def _depth(query: ast.Query) -> int:
    """How deep nodes are in nodes, up to some more than is allowed. It does not recurse."""
    deepest, left = 0, [(cast(Any, query), 1)]
    while left and deepest <= MAX_DEPTH:
        node, depth = left.pop()
        deepest = max(deepest, depth)
        left += [(inner, depth + 1) for inner in _inside(node)]
    return deepest


def _inside(node: Any) -> tuple[Any, ...]:
    match node:
        case ast.Binary():
            return node.left, node.right
        case ast.VectorAggregation() | ast.LabelReplace():
            return (node.inner,)
        case ast.RangeAggregation():
            return (node.range.query, *(node.range.unwrap.filters if node.range.unwrap else ()))
        case ast.LogQuery():
            return node.stages
        case ast.LabelFilter():
            return (node.test,)
        case ast.Both() | ast.Either():
            return node.children
    return ()


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("logql.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=Build(), maybe_placeholders=False)


# --- errors ----------------------------------------------------------------------------------------------


def _complaint(text: str, error: UnexpectedInput) -> QueryInvalid:
    if isinstance(error, UnexpectedToken):
        token = error.token
        offset = len(text) if token.type == "$END" else token.start_pos or 0
        return invalid_at(
            text, offset, f"syntax error: unexpected {_name(token)}{_expecting(set(error.accepts or ()))}"
        )
    assert isinstance(error, UnexpectedCharacters)
    offset = int(error.pos_in_stream or 0)
    return invalid_at(text, offset, _unreadable(text, offset))


def _unreadable(text: str, offset: int) -> str:
    """What is said of characters that begin no token."""
    if text[offset] in "\"'`":
        return (
            "literal not terminated"
            if text[offset] != "'"
            else "syntax error: a string is in \" or `, not in '"
        )
    if text[offset] == "[":
        return "missing closing ']' in duration"
    shown = text[offset] if text[offset].isprintable() else "?"
    return f"syntax error: unexpected {shown}"


def _name(token: Token) -> str:
    if token.type in ("IDENTIFIER", "STRING", "NUMBER", "DURATION", "BYTES", "RANGE"):
        return token.type
    return NAMES.get(token.type, str(token)[:40])


def _expecting(types: set[str]) -> str:
    if not types or len(types) > SHOWN or types & FAMILIES:
        return ""
    return ", expecting " + " or ".join(
        sorted(NAMES.get(one, one if one.isupper() and one in _KINDS else one.lower()) for one in types)
    )


_KINDS = {"IDENTIFIER", "STRING", "NUMBER", "DURATION", "BYTES", "RANGE"}


# --- tokens ----------------------------------------------------------------------------------------------


def _start(token: Any) -> int:
    return int(token.start_pos or 0) if isinstance(token, Token) else 0


def _string(token: Token) -> str:
    """The text of a literal. In backticks nothing is an escape."""
    if token[0] == "`":
        return str(token)[1:-1].replace("\r", "")

    def character(match: re.Match[str]) -> str:
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if match[group]:
                code = int(match[group], base)
                if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                    raise Misread(
                        "invalid syntax: there is no such character", _start(token) + 1 + match.start()
                    )
                return chr(code)
        if match[5]:
            return _PLAIN.get(match[5], match[5])
        raise Misread("invalid syntax: there is no such escape", _start(token) + 1 + match.start())

    return _ESCAPE.sub(character, str(token)[1:-1])


def _number(token: Token) -> float:
    return float(int(token, 16)) if token[:2].lower() == "0x" else float(token)


def _duration(token: Token) -> int:
    nanos = parse_duration(str(token))
    if nanos is None:
        raise Misread(f"not a valid duration string: {str(token)[:40]!r}", _start(token))
    return nanos


def _range(token: Token) -> int:
    nanos = parse_duration(token[1:-1].strip())
    if not nanos or nanos < 0:
        raise Misread(f'not a valid duration string: "{token[1:-1][:40]}"', _start(token))
    return nanos


def _bytes(token: Token) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMGTP]?)(i?)B", token)
    assert found
    scale: int = (1024 if found[3] else 1000) ** SIZE_POWERS[found[2].lower()]
    return float(found[1]) * scale


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
        return ast.Matcher(str(name), str(op), _string(value), _start(name))

    # stages

    def line_filter(self, op: Token, *tests: Any) -> ast.LineFilter:
        kept = tuple(test for test in tests if isinstance(test, ast.LineTest))
        return ast.LineFilter({"!=": "!=", "!~": "!~"}.get(op, str(op)), kept)

    def text_test(self, text: Token) -> ast.LineTest:
        return ast.LineTest(_string(text), offset=_start(text))

    def ip_test(self, text: Token) -> ast.LineTest:
        return ast.LineTest(_string(text), True, _start(text))

    def json(self, *extractions: ast.Extraction) -> ast.Json:
        return ast.Json(extractions)

    def logfmt(self, word: Token, *rest: Any) -> ast.Logfmt:
        extractions = tuple(one for one in rest if isinstance(one, ast.Extraction))
        flags = tuple(str(one) for one in rest if isinstance(one, Token))
        return ast.Logfmt(extractions, flags, _start(word))

    def extraction(self, name: Token, *path: Token) -> ast.Extraction:
        return ast.Extraction(str(name), _string(path[1]) if path else str(name), _start(name))

    def parser(self, kind: Token, pattern: Token | None = None) -> ast.Parser:
        text = None if pattern is None else _string(pattern)
        return ast.Parser(str(kind), text, _start(kind) if pattern is None else _start(pattern))

    def line_format(self, _word: Token, template: Token) -> ast.LineFormat:
        return ast.LineFormat(_string(template), _start(template))

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
        return ast.Format(str(name), str(source), False, _start(name))

    def make(self, name: Token, _op: Token, template: Token) -> ast.Format:
        return ast.Format(str(name), _string(template), True, _start(template))

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
        return ast.Comparison(str(name), _compared(op), value, offset=_start(name))

    def duration_test(self, name: Token, op: Token, value: Token) -> ast.Comparison:
        return ast.Comparison(str(name), _compared(op), float(_duration(value)), "duration", _start(name))

    def negative_duration_test(self, name: Token, op: Token, *value: Token) -> ast.Comparison:
        return ast.Comparison(
            str(name), _compared(op), -float(_duration(value[-1])), "duration", _start(name)
        )

    def bytes_test(self, name: Token, op: Token, value: Token) -> ast.Comparison:
        return ast.Comparison(str(name), _compared(op), _bytes(value), "bytes", _start(name))

    def ip_label_test(self, name: Token, op: Token, value: Token) -> ast.IpMatch:
        return ast.IpMatch(str(name), str(op), _string(value), _start(name))

    def number(self, *tokens: Token) -> float:
        return _number(tokens[-1])

    def negative(self, *tokens: Token) -> float:
        return -_number(tokens[-1])

    # metrics

    def binary(
        self, left: ast.Metric, op: Token, how: tuple[bool, ast.Matching | None], right: ast.Metric
    ) -> ast.Metric:
        returns_bool, matching = how
        if returns_bool and op not in ("==", "!=", ">", "<", ">=", "<="):
            raise Misread("bool modifier can only be used on comparison operators", _start(op))
        if matching and matching.group and op in ("and", "or", "unless"):
            raise Misread("no grouping allowed for set operations", _start(op))
        return ast.Binary(str(op), left, right, returns_bool, matching, _start(op))

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
        target, replacement, source, regex = map(_string, texts)
        return ast.LabelReplace(inner, target, replacement, source, regex, _start(texts[-1]))

    def constant(self, value: Token) -> ast.Constant:
        return ast.Constant(_number(value))

    def literal(self, *tokens: Token) -> ast.Literal:
        return ast.Literal(_number(tokens[-1]) * (-1 if tokens[0] == "-" else 1))

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
        return ast.Unwrap(str(tokens[-1]), conversion, filters, _start(tokens[-1]))

    def offset(self, *tokens: Token) -> Offset:
        return Offset(_duration(tokens[-1]) * (-1 if tokens[0] == "-" else 1))


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
        raise Misread("syntax error: unexpected RANGE", _start(token))
    query = ast.LogQuery(tuple(selector or ()), stages[0] if stages else ())
    return ast.LogRange(query, _range(token), unwraps[0] if unwraps else None, int(_one(items, Offset) or 0))


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
        raise Misread(message, _start(function))
    if name in NEEDS_UNWRAP | {"rate_counter"} and found.unwrap is None:
        raise Misread(f"invalid aggregation {name} without unwrap", _start(function))
    if name in ("count_over_time", "bytes_over_time", "bytes_rate") and found.unwrap is not None:
        raise Misread(f"invalid aggregation {name} with unwrap", _start(function))
    if grouping is not None and name not in GROUPABLE:
        raise Misread(f"grouping not allowed for {name} aggregation", _start(function))
    value = None if parameter is None else _number(parameter)
    return ast.RangeAggregation(name, found, grouping, value, _start(function))


def _vector_aggregation(function: Token, items: tuple[Any, ...]) -> ast.VectorAggregation:
    groupings = [item for item in items if isinstance(item, ast.Grouping)]
    parameter = next((item for item in items if isinstance(item, Token)), None)
    [inner] = [item for item in items if not isinstance(item, ast.Grouping | Token)]
    name = str(function)
    if len(groupings) > 1:
        raise Misread(f"only one grouping is allowed for {name}", _start(function))
    if (name in TAKES_NUMBER) != (parameter is not None):
        message = (
            f"parameter required for operation {name}"
            if parameter is None
            else f"unsupported parameter for operation {name}({parameter},"
        )
        raise Misread(message, _start(function))
    if parameter is not None and (not parameter.isdigit() or int(parameter) < 1):
        raise Misread(f"invalid parameter (must be greater than 0) {name}({parameter}", _start(parameter))
    if name in ("sort", "sort_desc") and groupings and groupings[0].names:
        raise Misread("sort and sort_desc doesn't allow grouping by ", _start(function))
    value = None if parameter is None else _number(parameter)
    return ast.VectorAggregation(name, inner, groupings[0] if groupings else None, value, _start(function))
