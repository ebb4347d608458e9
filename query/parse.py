"""Query text → AST. The grammar is grammar.lark; what a node means is analyze.py's."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput

from query import ast
from query.complain import complaint
from query.errors import QueryInvalid, invalid_at

MAX_LENGTH = 16_384  # characters: longer than any typed query, short enough to parse in milliseconds
MAX_DEPTH = 100  # nested groups and NOTs: the compiler recurses by this much
MAX_TERMS = 1_000  # terms of a query: ClickHouse's own limits on expressions are some way above
DEFAULT_TOP = 10


def parse(text: str) -> ast.Query:
    """The query of a text; a text that is none raises QueryInvalid with the place."""
    if len(text) > MAX_LENGTH:
        raise invalid_at(text, MAX_LENGTH, "query is too long", f"use at most {MAX_LENGTH} characters")
    try:
        # The tree is never built: Build runs within the parse, so that depth costs no recursion.
        query = cast(ast.Query, _parser().parse(text))
    except UnexpectedInput as error:
        raise complaint(text, error) from None
    _check_size(text, query.filter)
    return query


def has_pipes(text: str) -> bool:
    """Is it a query with pipes? A `|` in quotes or in a regex is none; a text that is no query has none."""
    try:
        return bool(parse(text).pipes)
    except QueryInvalid:
        return False


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=Build(), maybe_placeholders=True)


PIECE = re.compile(r"""\*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^*"']+|["']""", re.DOTALL)


def unquote(literal: str) -> str:
    """The text of a quoted literal: `\\"`, `\\'` and `\\\\` are escapes, any other backslash is itself."""
    return re.sub(r"""\\([\\"'])""", r"\1", literal[1:-1])


def _bare_or_quoted(token: str) -> str:
    return unquote(token) if token[0] in "\"'" and len(token) > 1 else token


def _literal(text: str) -> ast.Text | ast.Glob:
    """A bare word: a `*` in it stands for any characters."""
    if "*" not in text:
        return ast.Text(str(text))
    return _glob([None if piece == "*" else piece for piece in re.findall(r"\*|[^*]+", text)])


def _glob(pieces: list[str | None]) -> ast.Glob:
    """The glob of literals and stars (None); several stars are one."""
    parts = [""]
    for piece in pieces:
        if piece is not None:
            parts[-1] += piece
        elif len(parts) == 1 or parts[-1]:
            parts.append("")
    return ast.Glob(tuple(parts))


def _regex(token: str) -> ast.Regex:
    return ast.Regex(re.sub(r"\\(.)", lambda m: "/" if m[1] == "/" else m[0], token[1:-1]))


def _start(item: Any) -> int:
    """Where a token was typed. Tokens that ended in a str (names) have lost it."""
    return int(item.start_pos or 0) if isinstance(item, Token) else 0


@v_args(inline=True)
class Build(Transformer[Token, Any]):
    """One method for each rule of the grammar, bottom up; none recurses."""

    def start(self, condition: ast.Filter | None, *pipes: ast.Pipe) -> ast.Query:
        return ast.Query(ast.ALL if condition is None else condition, pipes)

    # filter

    def or_expr(self, *children: ast.Filter) -> ast.Filter:
        return children[0] if len(children) == 1 else ast.Or(children)

    def and_expr(self, *children: ast.Filter) -> ast.Filter:
        return children[0] if len(children) == 1 else ast.And(children)

    def negated(self, child: ast.Filter) -> ast.Filter:
        return ast.Not(child)

    def word(self, token: Token) -> ast.Filter:
        return ast.Match(None, _literal(token), _start(token))

    def phrase(self, token: Token) -> ast.Filter:
        return ast.Match(None, ast.Text(unquote(token)), _start(token))

    def glob_word(self, token: Token) -> ast.Filter:
        return ast.Match(None, self.glob(token), _start(token))

    def message_regex(self, token: Token) -> ast.Filter:
        return ast.Match(None, _regex(token), _start(token))

    def field_match(self, token: Token, test: ast.Test) -> ast.Filter:
        return ast.Match(_bare_or_quoted(token[:-1]), test, _start(token))

    def one_of(self, *tests: Any) -> ast.Test:
        return ast.OneOf(tests)

    def value(self, token: Token) -> ast.Test:
        return _literal(token)

    def text(self, token: Token) -> ast.Test:
        return ast.Text(unquote(token))

    def glob(self, token: Token) -> ast.Glob:
        return _glob([None if piece == "*" else _bare_or_quoted(piece) for piece in PIECE.findall(token)])

    def regex(self, token: Token) -> ast.Test:
        return _regex(token)

    def compare(self, op: Token, value: str) -> ast.Test:
        return ast.Compare("=" if op == "==" else str(op), value)

    def range(self, left: Token, low: str | None, high: str | None, right: Token) -> ast.Test:
        return ast.Range(low, high, left == "[", right == "]")

    def bare(self, token: Token) -> str:
        return str(token)

    def quoted(self, token: Token) -> str:
        return unquote(token)

    def open_or_bare(self, token: Token) -> str | None:
        return None if token == "*" else str(token)

    # pipes

    def field_name(self, token: Token) -> Token:
        return token.update(value=_bare_or_quoted(token))

    def names(self, *fields: Token) -> tuple[str, ...]:
        return tuple(map(str, fields))

    def alias(self, token: Token) -> str:
        return str(token)

    def argument(self, token: Token) -> Token:
        return token

    def arguments(self, *tokens: Token | None) -> list[Token]:
        return [token for token in tokens if token is not None]

    def call(self, function: Token, arguments: list[Token] | None, alias: str | None) -> ast.Call:
        tokens = arguments or []
        fields = [t for t in tokens if t.type != "NUMBER"]
        numbers = [t for t in tokens if t.type == "NUMBER"]
        level = str(numbers[-1]) if numbers and tokens[-1] is numbers[-1] else None
        fields += numbers[:-1] if level is not None else numbers
        names = tuple(_bare_or_quoted(t) for t in fields)
        return ast.Call(function.lower(), names, level, alias, _start(function))

    def bin_key(self, token: Token, arguments: list[Token], alias: str | None) -> ast.Key:
        names = [_bare_or_quoted(t) for t in arguments]
        width = names.pop() if names else ""
        return ast.Key(", ".join(names) if names else None, width, alias, _start(token))

    def field_key(self, token: Token, alias: str | None) -> ast.Key:
        return ast.Key(str(token), None, alias, _start(token))

    def by_keys(self, *keys: ast.Key) -> tuple[ast.Key, ...]:
        return keys

    def stats(self, token: Token, *items: Any) -> ast.Stats:
        *calls, keys = items
        return ast.Stats(tuple(calls), keys or (), _start(token))

    def top(self, token: Token, limit: Token | None, fields: tuple[str, ...]) -> ast.Top:
        return ast.Top(_count(limit), fields, offset=_start(token))

    def rare(self, token: Token, limit: Token | None, fields: tuple[str, ...]) -> ast.Top:
        return ast.Top(_count(limit), fields, rare=True, offset=_start(token))

    def uniq(self, token: Token, fields: tuple[str, ...]) -> ast.Uniq:
        return ast.Uniq(fields, _start(token))

    def sort_key(self, minus: Token | None, field: Token, direction: Token | None) -> ast.SortKey:
        descending = direction is not None and direction.lower() == "desc"
        return ast.SortKey(str(field), descending != (minus is not None))

    def sort(self, token: Token, *keys: ast.SortKey) -> ast.Sort:
        return ast.Sort(keys, _start(token))

    def fields(self, token: Token, fields: tuple[str, ...]) -> ast.Fields:
        return ast.Fields(fields, _start(token))

    def limit(self, token: Token, count: Token) -> ast.Limit:
        return ast.Limit(int(count), _start(token))

    def patterns(self, token: Token) -> ast.Patterns:
        return ast.Patterns(_start(token))

    def histogram(self, token: Token, width: Token, by: tuple[str, ...] | None) -> ast.Histogram:
        return ast.Histogram(str(width), by or (), _start(token))

    def extract(self, token: Token, pattern: Token, source: str | None) -> ast.Extract:
        return ast.Extract(unquote(pattern), source and str(source), _start(token), _start(pattern))

    def unpack(self, token: Token, format_: Token, source: str | None) -> ast.Unpack:
        return ast.Unpack(format_.lower(), source and str(source), _start(token))

    def where(self, token: Token, condition: ast.Filter) -> ast.Where:
        return ast.Where(condition, _start(token))

    where_or = or_expr
    where_and = and_expr
    where_negated = negated

    def where_compare(self, token: Token, op: Token, value: str) -> ast.Filter:
        return ast.Match(str(token), self.compare(op, value), _start(token))


def _count(limit: Token | None) -> int:
    return DEFAULT_TOP if limit is None else int(limit)


def _check_size(text: str, root: ast.Filter) -> None:
    """Bound what the compiler, which recurses, is given."""
    stack: list[tuple[ast.Filter, int]] = [(root, 1)]
    terms = 0
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise invalid_at(text, 0, "query is nested too deeply", f"use at most {MAX_DEPTH} levels")
        if isinstance(node, ast.Match):
            terms += len(node.test.tests) if isinstance(node.test, ast.OneOf) else 1
        else:
            children = (node.child,) if isinstance(node, ast.Not) else node.children
            stack.extend((child, depth + 1) for child in children)
    if terms > MAX_TERMS:
        raise invalid_at(text, 0, "query has too many terms", f"use at most {MAX_TERMS}")
