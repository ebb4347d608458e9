"""Conditions → which rows of a block, with the meaning that sql.py gives them in ClickHouse.

Arrow's regexes are RE2, as the server's are. Texts are bytes; what must be UTF-8 (regexes, globs) sees bytes that are
not as the server's toValidUTF8 shows them. A test of a column with few values looks at each value once. Within AND,
what is cheap is asked first, and what follows is asked only about rows that are still in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from query import conditions as c
from query.quantities import Unit, number_of
from query.sql import MIN_NEEDLE
from query.utf8 import to_valid_utf8
from query.words import WordPattern, escape
from storage.native.columns import BlockColumns

Mask: TypeAlias = Any
"""A boolean array, a row each, without nulls."""
Members = Mapping[int, frozenset[int]]
"""By fingerprint in a filter: the fingerprints that it finds, itself and those of its pattern."""
Test = Callable[[pa.Array], Mask]
COMPARE = {
    "=": pc.equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
EMPTY = pa.scalar(b"", pa.binary())


class Texts:
    """The columns of one block as filters see them: absent is the empty text. Made once, used by every filter."""

    def __init__(self, columns: BlockColumns) -> None:
        self.columns = columns
        self.rows = columns.rows
        self.every: Mask = constant(True, self.rows)
        self.none: Mask = constant(False, self.rows)
        self._tags: dict[str, pa.Array] = {}
        self._numbers: dict[tuple[c.FieldRef, Unit | None, str | None], pa.Array] = {}

    def of(self, field: c.FieldRef) -> pa.Array:
        """A field's texts: binary, or a dictionary of them."""
        if isinstance(field, c.Column):
            return self.columns.column(field.name)
        if isinstance(field, c.Expression):
            raise AssertionError("filters of events hold no expressions")
        if field.key not in self._tags:
            self._tags[field.key] = pc.fill_null(self.columns.tag(field.key), EMPTY)
        return self._tags[field.key]

    def numbers(self, field: c.FieldRef, unit: Unit | None, kind: str | None) -> pa.Array:
        """A field's numbers, null where there is none."""
        asked = (field, unit, kind)
        if asked not in self._numbers:
            values = self.of(field)
            if not isinstance(values, pa.DictionaryArray):
                values = pc.dictionary_encode(values)
            read = [number_of(text, unit, kind) for text in values.dictionary.to_pylist()]
            self._numbers[asked] = pa.array(read, pa.float64()).take(values.indices)
        return self._numbers[asked]


def evaluate(condition: c.Condition, texts: Texts, members: Members, within: Mask | None = None) -> Mask:
    """The rows (of those `within`) that meet a condition; never null."""
    within = texts.every if within is None else within
    match condition:
        case c.Everything():
            return within
        case c.AllOf(children):
            for child in sorted(children, key=cost):
                if not within.true_count:
                    break
                within = evaluate(child, texts, members, within)
            return within
        case c.AnyOf(children):
            return reduce(pc.or_, (evaluate(child, texts, members, within) for child in children))
        case c.Negation(child):
            return pc.and_not(within, evaluate(child, texts, members, within))
    return pc.and_(within, _leaf(condition, texts, members, within))


def cost(condition: c.Condition) -> int:
    """What to ask first: columns of few values and numbers, then tags, words, and regexes last."""
    match condition:
        case c.AllOf(children) | c.AnyOf(children):
            return max(map(cost, children), default=0)
        case c.Negation(child):
            return cost(child)
        case c.Matches(c.Column("level" | "service" | "host")):
            return 1
        case c.Matches():
            return 4
        case c.Words():
            return 3
        case c.NumberIs() | c.LooksLike() | c.IsIn(c.Tag()) | c.Present(c.Tag()):
            return 2
    return 0


def _leaf(condition: c.Condition, texts: Texts, members: Members, within: Mask) -> Mask:
    match condition:
        case c.TimeIn(low, high, None):
            return _time_in(texts, low, high)
        case c.FingerprintIs(fingerprint):
            wanted = members.get(fingerprint, frozenset({fingerprint}))
            return pc.is_in(texts.columns.column("fingerprint"), value_set=pa.array(wanted, pa.uint64()))
        case c.NumberIs(field, op, number, unit):
            values = texts.numbers(field, field.unit, unit)
            return pc.fill_null(COMPARE[op](values, pa.scalar(number, pa.float64())), False)
        case c.Words(pattern):
            return _tested(texts.columns.column("message"), within, lambda some: words(pattern, some))
        case c.Matches(field):
            return _tested(texts.of(field), within, value_test(condition))
        case c.IsIn(field) | c.LooksLike(field) | c.Present(field) | c.TextIs(field):
            return _tested(texts.of(field), within, value_test(condition))
    raise AssertionError(f"no evaluation of condition: {condition!r}")


def _time_in(texts: Texts, low: int | None, high: int | None) -> Mask:
    times, mask = texts.columns.column("timestamp"), texts.every
    if low is not None:
        mask = pc.greater_equal(times, pa.scalar(low, pa.int64()))
    return mask if high is None else pc.and_(mask, pc.less(times, pa.scalar(high, pa.int64())))


def _tested(values: pa.Array, within: Mask, test: Test) -> Mask:
    """A test of the values that are asked about; each distinct one of a dictionary once."""
    if isinstance(values, pa.DictionaryArray):
        return test(values.dictionary).take(values.indices) if len(values) else within
    return narrowed(values, within, test)


def narrowed(values: pa.Array, within: Mask, test: Test) -> Mask:
    """The rows within a mask whose values pass."""
    asked = within.true_count
    if asked == len(values):
        return test(values)
    return pc.replace_with_mask(within, within, test(values.filter(within))) if asked else within


def constant(value: bool, rows: int) -> Mask:
    return pa.repeat(pa.scalar(value), rows)


# --- tests of texts ----------------------------------------------------------------------------------------


def value_test(condition: c.Condition) -> Test:
    """The test that a condition makes of binary texts."""
    match condition:
        case c.IsIn(_, values):
            wanted = pa.array([encoded(value) for value in values], pa.binary())
            return lambda texts: pc.is_in(texts, value_set=wanted)
        case c.Present():
            return lambda texts: pc.not_equal(texts, EMPTY)
        case c.TextIs(_, op, text):
            other = pa.scalar(encoded(text), pa.binary())
            return lambda texts: pc.and_(pc.not_equal(texts, EMPTY), COMPARE[op](texts, other))
        case c.LooksLike(_, parts):
            return lambda texts: looks_like(parts, texts)
        case c.Matches(_, pattern):
            return lambda texts: pc.and_(pc.not_equal(texts, EMPTY), finds(pattern, to_valid_utf8(texts)))
    raise AssertionError(f"no test of values: {condition!r}")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def finds(pattern: str, texts: pa.Array) -> Mask:
    """Where RE2 finds a pattern; the texts are strings, or binary for a pattern of ASCII that ASCII decides."""
    return pc.match_substring_regex(texts, pattern)


def looks_like(parts: tuple[str, ...], texts: pa.Array) -> Mask:
    first, *inner, last = parts
    if inner and (first or last or len(inner) > 1):
        return finds("(?s)^" + ".*".join(map(escape, parts)) + "$", to_valid_utf8(texts))
    if inner:
        return pc.match_substring(texts, encoded(inner[0]))
    tests = [pc.starts_with(texts, encoded(first))] if first else []
    tests += [pc.ends_with(texts, encoded(last))] if last else []
    if first and last:  # the two must not overlap
        tests.append(pc.greater_equal(pc.binary_length(texts), len(encoded(first + last))))
    return reduce(pc.and_, tests)


def words(pattern: WordPattern, messages: pa.Array) -> Mask:
    """Which messages hold a term: a substring throws out nearly all, then RE2 decides, as in sql.py."""
    needle, case_counts = pattern.needle()
    needed = len(needle.encode()) >= MIN_NEEDLE or pattern.is_substring
    if not needle or not needed:
        return exact_words(pattern, messages)
    found = pc.match_substring(messages, encoded(needle), ignore_case=not case_counts)
    if pattern.is_substring and len(needle) == sum(map(len, pattern.parts)):
        return found
    return narrowed(messages, found, lambda some: exact_words(pattern, some))


def exact_words(pattern: WordPattern, messages: pa.Array) -> Mask:
    """ASCII alone is asked by a pattern that needs no tables of letters; what is not, by the one that has them."""
    valid = to_valid_utf8(messages)
    if not pattern.is_ascii:
        return finds(pattern.regex(), valid)
    plain = pc.string_is_ascii(valid)
    by_ascii = narrowed(valid, plain, lambda some: finds(pattern.ascii_regex(), some))
    if plain.true_count == len(valid):
        return by_ascii
    return pc.or_(by_ascii, narrowed(valid, pc.invert(plain), lambda some: finds(pattern.regex(), some)))
