"""LogQL text → nodes. The grammar is logql.lark; errors are worded as Loki's are."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, cast

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from query.errors import QueryInvalid, invalid_at
from query.logql import ast
from query.logql.build import Build
from query.logql.tokens import Misread

MAX_LENGTH = 131_072  # characters: what clients write themselves may be long
MAX_DEPTH = 100  # of nodes in nodes: what follows recurses
MAX_PARENTHESES = 2 * MAX_DEPTH + 10  # as a node's print may have more of them than it was typed with
SHOWN = 4  # what is expected is said where it is no more than this
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
