"""AST → conditions: what field a name is, and what a value means for it.

timestamp, _time   times: RFC 3339, Unix, relative
level              levels, in their order, with aliases
message            words
fingerprint        16 hexadecimal digits
service, host, trace_id, span_id, and every other name (a tag)
                   text; compared as numbers where the value that was typed is one
columns that a pipe made
                   as the pipe says: text, number, level or time
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from query import ast
from query import conditions as c
from query.errors import LANGUAGE, QueryInvalid, invalid_at
from query.levels import LEVELS, level_of, levels_where
from query.quantities import Quantity, parse_quantity
from query.times import BadTime, is_duration, parse_span
from query.words import WordPattern

COLUMNS = {
    "timestamp": c.Column("timestamp", c.Kind.TIME),
    "_time": c.Column("timestamp", c.Kind.TIME),
    "level": c.Column("level", c.Kind.LEVEL),
    "service": c.Column("service"),
    "host": c.Column("host"),
    "message": c.Column("message"),
    "fingerprint": c.Column("fingerprint", c.Kind.FINGERPRINT),
    "trace_id": c.Column("trace_id"),
    "span_id": c.Column("span_id"),
}
FINGERPRINT = re.compile(r"[0-9a-fA-F]{16}")
LEVEL_NAMES = ", ".join(LEVELS)


def field_ref(name: str) -> c.FieldRef:
    """The column or tag of a name."""
    return COLUMNS.get(name) or c.Tag(name)


def _event_field(name: str, _offset: int) -> c.FieldRef:
    return field_ref(name)


@dataclass(frozen=True)
class Analyzer:
    """Turns filters of one query text into conditions. `now` is nanoseconds since 1970, one for the whole query.

    `fields` says what a name is (and, by the offset where it was typed, that it is nothing): a field of events, or
    what pipes made of it.
    """

    text: str
    now: int
    fields: Callable[[str, int], c.FieldRef] = _event_field

    def condition(self, node: ast.Filter) -> c.Condition:
        """The meaning of a filter; QueryInvalid, with its place, for a value that has none."""
        if isinstance(node, ast.Match):
            return self._match(node)
        if isinstance(node, ast.Not):
            return c.Negation(self.condition(node.child))
        children = tuple(map(self.condition, node.children))
        return c.all_of(children) if isinstance(node, ast.And) else c.any_of(children)

    def _match(self, node: ast.Match) -> c.Condition:
        if node.field is None:
            return self._message(node, node.test)
        if node.field == "":
            raise self._wrong(node, "expected a field name before ':'")
        if isinstance(node.test, ast.OneOf):
            return c.any_of(tuple(self._test(node, test) for test in node.test.tests))
        return self._test(node, node.test)

    def _test(self, node: ast.Match, test: ast.Test) -> c.Condition:
        ref = self.fields(node.field or "", node.offset)
        if isinstance(test, ast.Compare) and test.op == "!=":
            return c.Negation(self._test(node, ast.Compare("=", test.value)))
        if isinstance(test, ast.Glob) and test.parts == ast.EVERYTHING:
            return c.Everything() if ref.kind in (c.Kind.TIME, c.Kind.FINGERPRINT) else c.Present(ref)
        if ref.kind is c.Kind.TIME:
            return self._time(node, ref, test)
        if ref.kind is c.Kind.NUMBER:
            return self._number(node, ref, test)
        if ref.kind is c.Kind.FINGERPRINT:
            return self._fingerprint(node, test)
        if isinstance(test, ast.Regex):
            return c.Matches(ref, test.pattern, node.offset)
        if ref.kind is c.Kind.LEVEL:
            return self._level(node, ref, test)
        if ref == COLUMNS["message"] and isinstance(test, ast.Text | ast.Glob) and test != ast.Text(""):
            return self._message(node, test)
        return self._text(node, ref, test)

    # --- by kind --------------------------------------------------------------------------------------------

    def _message(self, node: ast.Match, test: ast.Test) -> c.Condition:
        if isinstance(test, ast.Regex):
            return c.Matches(COLUMNS["message"], test.pattern, node.offset)
        if isinstance(test, ast.Glob):
            return c.Everything() if test.parts == ast.EVERYTHING else c.Words(WordPattern.of(test.parts))
        assert isinstance(test, ast.Text)
        if test.text == "":
            raise self._wrong(
                node, "expected words between the quotes", 'message:"" finds events without a message'
            )
        return c.Words(WordPattern.of((test.text,)))

    def _text(self, node: ast.Match, ref: c.FieldRef, test: ast.Test) -> c.Condition:
        if isinstance(test, ast.Text):
            return c.IsIn(ref, (test.text,))
        if isinstance(test, ast.Glob):
            return c.LooksLike(ref, test.parts)
        if isinstance(test, ast.Compare) and test.op == "=":
            return c.IsIn(ref, (test.value,))
        bounds = _bounds(test)
        if not bounds:
            return c.Present(ref)
        numbers = [parse_quantity(value) for _, value in bounds]
        if not all(numbers):
            return c.all_of(tuple(c.TextIs(ref, op, value) for op, value in bounds))
        return self._numbers(node, ref, [(op, n) for (op, _), n in zip(bounds, numbers, strict=True) if n])

    def _numbers(self, node: ast.Match, ref: c.FieldRef, bounds: list[tuple[str, Quantity]]) -> c.Condition:
        """Comparisons with numbers. Where one of them has a unit, only numbers of its kind count."""
        kinds = sorted({number.kind for _, number in bounds if number.kind})
        if len(kinds) > 1:
            raise self._wrong(
                node, f"cannot compare with a {kinds[0]} and a {kinds[1]}", "use one kind of unit"
            )
        unit = kinds[0] if kinds else None
        try:
            values = [(op, number.within(ref.unit)) for op, number in bounds]
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise self._wrong(node, message, hint) from None
        return c.all_of(tuple(c.NumberIs(ref, op, value, unit) for op, value in values))

    def _number(self, node: ast.Match, ref: c.FieldRef, test: ast.Test) -> c.Condition:
        """A number that a pipe made: it is compared as one, also for equality."""
        if test in (ast.Text(""), ast.Compare("=", "")):
            return c.Negation(c.Present(ref))
        bounds = []
        for op, value in _bounds(test):
            number = parse_quantity(value)
            if number is None:
                raise self._wrong(node, f"cannot compare a number with {value[:40]!r}", "use a number")
            bounds.append((op, number))
        return self._numbers(node, ref, bounds)

    def _level(self, node: ast.Match, ref: c.FieldRef, test: ast.Test) -> c.Condition:
        if isinstance(test, ast.Glob):
            return c.LooksLike(ref, tuple(part.lower() for part in test.parts))
        if isinstance(test, ast.Text) and test.text == "":
            return c.IsIn(ref, ("",))
        if isinstance(test, ast.Text):
            return c.IsIn(ref, (self._level_name(node, test.text),))
        if isinstance(test, ast.Compare):
            level = self._level_name(node, test.value)
            return c.IsIn(ref, (level,) if test.op == "=" else levels_where(test.op, level))
        assert isinstance(test, ast.Range)
        kept = set(LEVELS)
        for op, value in _bounds(test):
            kept &= set(levels_where(op, self._level_name(node, value)))
        return c.IsIn(ref, tuple(level for level in LEVELS if level in kept))

    def _level_name(self, node: ast.Match, value: str) -> str:
        level = level_of(value)
        if level is None:
            raise self._wrong(node, f"there is no level {value[:40]!r}", f"levels are {LEVEL_NAMES}")
        return level

    def _time(self, node: ast.Match, ref: c.FieldRef, test: ast.Test) -> c.Condition:
        made = ref if isinstance(ref, c.Expression) else None
        if isinstance(test, ast.Text):
            low, high = self._span(node, test.text)
            return c.TimeIn(low, self.now + 1 if is_duration(test.text) else high, made)
        if isinstance(test, ast.Compare | ast.Range):
            ends = [self._time_compared(node, op, value) for op, value in _bounds(test)]
            return c.TimeIn(_first([low for low, _ in ends]), _first([high for _, high in ends]), made)
        raise self._wrong(
            node, "expected a time", "use _time:15m, timestamp:>=2026-01-31 or timestamp:[… TO …]"
        )

    def _time_compared(self, node: ast.Match, op: str, value: str) -> tuple[int | None, int | None]:
        low, high = self._span(node, value)
        at = {">=": (low, None), ">": (high, None), "<": (None, low), "<=": (None, high), "=": (low, high)}
        return at[op]

    def _span(self, node: ast.Match, value: str) -> tuple[int, int]:
        try:
            return parse_span(value, self.now)
        except BadTime as error:
            message, _, hint = str(error).partition("; ")
            raise self._wrong(node, message, hint) from None

    def _fingerprint(self, node: ast.Match, test: ast.Test) -> c.Condition:
        value = test.text if isinstance(test, ast.Text) else ""
        if isinstance(test, ast.Compare) and test.op == "=":
            value = test.value
        if not FINGERPRINT.fullmatch(value):
            raise self._wrong(
                node, "expected a fingerprint", "it has 16 hexadecimal digits: 0123456789abcdef"
            )
        return c.FingerprintIs(int(value, 16))

    def _wrong(self, node: ast.Match, message: str, hint: str = "") -> QueryInvalid:
        return invalid_at(self.text, node.offset, message, hint or LANGUAGE)


def _bounds(test: ast.Test) -> list[tuple[str, str]]:
    """A comparison, or the ends of a range as comparisons."""
    if isinstance(test, ast.Text):
        return [("=", test.text)]
    if isinstance(test, ast.Compare):
        return [(test.op, test.value)]
    assert isinstance(test, ast.Range)
    low = [(">=" if test.low_closed else ">", test.low)] if test.low is not None else []
    high = [("<=" if test.high_closed else "<", test.high)] if test.high is not None else []
    return low + high


def _first(values: list[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)
