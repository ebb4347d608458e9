"""Conditions → SQL. Every value, and every name of a tag, is a bound parameter; no text of a user is in the SQL.

Word search asks twice: a substring search throws out nearly all rows at memory speed, then RE2 decides. RE2 is asked
with its own `\\b` where the line is ASCII, which it runs several times faster than edges that know every script (and
compiles a hundred times faster: the server compiles for every block of rows). Lines that are not UTF-8 are made so
for RE2, which steps over no byte that it cannot decode.

The indexes of words, and of pairs of characters in scripts without spaces, only rule granules out: their tests stand
in `indexHint`, which the server asks the index about and takes for true of every row. The index of a map's values
serves `tags_NN[key] = value` and `IN` as they are.
"""

from __future__ import annotations

from query import conditions as c
from query.quantities import number_sql
from query.words import WordPattern, escape
from storage.schema import PAIRS_TEXT, WORDS_TEXT, current_patterns
from storage.tags import column_of

# A single character seldom rules a line out, and costs as much as a longer needle.
MIN_NEEDLE = 2
# Of a phrase, the longest words: they are the rarest, and each costs a look into every granule's filter.
MAX_HINTS = 6
# Two characters at a message's end may have gone under with a broken one before them, when the index was built (see
# `valid_utf8`). Words that short rule nearly nothing out.
MIN_TOKEN = 3
MESSAGE = c.Column("message")


class Params:
    """The bound parameters of one statement, `{p0:String}` and so on, and the database that it asks."""

    def __init__(self, database: str = "") -> None:
        self.database = database
        self.values: dict[str, object] = {}

    def add(self, value: object, type_: str = "String") -> str:
        """Bind a value; what stands for it in the SQL."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{type_}}}"


def text_of(ref: c.FieldRef, params: Params) -> str:
    """The SQL of a field's value; '' (or NULL, for numbers and times that pipes made) where it is absent."""
    if isinstance(ref, c.Tag):
        return f"{column_of(ref.key)}[{params.add(ref.key)}]"
    return ref.sql if isinstance(ref, c.Expression) else ref.name


def expression_of(ref: c.FieldRef, params: Params) -> c.Expression:
    """A field as what pipes work on."""
    if isinstance(ref, c.Expression):
        return ref
    match ref.kind:
        case c.Kind.TIME:
            return c.Expression("toUnixTimestamp64Nano(timestamp)", c.Kind.TIME)
        case c.Kind.FINGERPRINT:
            return c.Expression("lower(leftPad(hex(fingerprint), 16, '0'))", c.Kind.TEXT)
    return c.Expression(text_of(ref, params), ref.kind, ref.unit)


def present(value: c.Expression) -> str:
    """Whether a value is there."""
    return f"{value.sql} != ''" if value.kind in (c.Kind.TEXT, c.Kind.LEVEL) else f"isNotNull({value.sql})"


def number_of(value: c.Expression, kind: str | None = None) -> str:
    """The value as a number in its field's unit, NULL where it is none; `kind` as in `number_sql`."""
    if value.kind in (c.Kind.TEXT, c.Kind.LEVEL):
        return number_sql(value.sql, value.unit, kind)
    return value.sql


def valid_utf8(text: str) -> str:
    """The SQL of a text for RE2: bytes that are not UTF-8 become U+FFFD, one each or a few together.

    The server takes all that is left for broken where a sequence would go past the end: `\\xf0.` had lost its dot.
    """
    return f"if(isValidUTF8({text}), {text}, left(toValidUTF8(concat({text}, '   ')), -3))"


def nanos(value: int, params: Params) -> str:
    """The SQL of a moment, comparable with `timestamp`."""
    return f"fromUnixTimestamp64Nano({params.add(value, 'Int64')}, 'UTC')"


def compile_condition(condition: c.Condition, params: Params) -> str:
    """The SQL of a condition: 0 or 1 for every row, never NULL."""
    match condition:
        case c.Everything():
            return "1"
        case c.AllOf(children):
            return _joined(" AND ", children, params)
        case c.AnyOf(children):
            return _joined(" OR ", children, params)
        case c.Negation(child):
            return f"NOT ({compile_condition(child, params)})"
        case c.Words(pattern):
            return _words(pattern, params)
        case c.Matches(field, pattern):
            return _matches(field, pattern, params)
        case c.TimeIn(low, high, field):
            return _time_in(low, high, field, params)
        case c.FingerprintIs(fingerprint):
            return _fingerprint(params.add(fingerprint, "UInt64"), params.database)
    return _value_test(condition, params)


def _fingerprint(wanted: str, database: str) -> str:
    if not database:
        return f"fingerprint = {wanted}"
    return f"fingerprint IN ({members_of(wanted, database)})"


def members_of(wanted: str, database: str) -> str:
    """A SELECT `f` of a fingerprint, and of those of the pattern that has it as its id, or had it before it became part
    of another."""
    current = current_patterns(database)
    now = f"SELECT {wanted} AS p UNION ALL SELECT pattern AS p FROM {current} WHERE fingerprint = {wanted} AND alias"
    return f"SELECT {wanted} AS f UNION ALL SELECT fingerprint AS f FROM {current} WHERE pattern IN ({now})"


def _joined(operator: str, children: tuple[c.Condition, ...], params: Params) -> str:
    return "(" + operator.join(compile_condition(child, params) for child in children) + ")"


def _value_test(condition: c.Condition, params: Params) -> str:
    match condition:
        case c.IsIn(field, values):
            return _is_in(text_of(field, params), values, params)
        case c.LooksLike(field, parts):
            found = _looks_like(text_of(field, params), parts, params)
            hint = _parts_hint(parts, params) if field == MESSAGE else ""
            return f"({hint} AND {found})" if hint else found
        case c.Present(field):
            return present(expression_of(field, params))
        case c.NumberIs(field, op, number, unit):
            value = number_of(expression_of(field, params), unit)
            return f"ifNull({value} {op} {params.add(number, 'Float64')}, 0)"
        case c.TextIs(field, op, text):
            value = text_of(field, params)
            return f"({value} != '' AND {value} {op} {params.add(text)})"
    raise AssertionError(f"no SQL for condition: {condition!r}")


def _is_in(value: str, values: tuple[str, ...], params: Params) -> str:
    if len(values) == 1:
        return f"{value} = {params.add(values[0])}"
    return f"{value} IN {params.add(list(values), 'Array(String)')}" if values else "0"


def _time_in(low: int | None, high: int | None, field: c.Expression | None, params: Params) -> str:
    value = field.sql if field else "timestamp"
    ends = [(op, at) for op, at in ((">=", low), ("<", high)) if at is not None]
    bounds = [f"{value} {op} {params.add(at, 'Int64') if field else nanos(at, params)}" for op, at in ends]
    both = " AND ".join(bounds) or "1"
    return f"ifNull({both}, 0)" if field else f"({both})"


def _words(pattern: WordPattern, params: Params) -> str:
    hint, exact = _words_hint(pattern, params), compile_exact_words(pattern, params)
    return f"({hint} AND {exact})" if hint else exact


def _words_hint(pattern: WordPattern, params: Params) -> str:
    """What the indexes of messages know of every one that matches."""
    longest = sorted(pattern.tokens(), key=len, reverse=True)[:MAX_HINTS]
    tokens = [token for token in longest if len(token) >= MIN_TOKEN]
    tests = [f"hasToken({WORDS_TEXT}, {params.add(token)})" for token in tokens]
    runs = sorted(pattern.spaceless(), key=len, reverse=True)[:MAX_HINTS]
    tests += [f"multiSearchAny({PAIRS_TEXT}, {params.add([run], 'Array(String)')})" for run in runs]
    return f"indexHint({' AND '.join(tests)})" if tests else ""


def _parts_hint(parts: tuple[str, ...], params: Params) -> str:
    """What the index of words knows of every message that holds these texts, letter by letter."""
    found = [WordPattern((part,), left_edge=False, right_edge=False).tokens() for part in parts]
    tokens = sorted(
        {token for one in found for token in one if len(token) >= MIN_TOKEN}, key=lambda t: (-len(t), t)
    )
    tests = [f"hasToken({WORDS_TEXT}, {params.add(token)})" for token in tokens[:MAX_HINTS]]
    return f"indexHint({' AND '.join(tests)})" if tests else ""


def compile_exact_words(pattern: WordPattern, params: Params) -> str:
    """The test that decides, without a word to the index."""
    needle, case_counts = pattern.needle()
    needed = len(needle.encode()) >= MIN_NEEDLE or pattern.is_substring
    found = _found(needle, case_counts, params) if needle and needed else ""
    if found and pattern.is_substring and len(needle) == sum(map(len, pattern.parts)):
        return found
    exact = f"match({valid_utf8('message')}, {params.add(pattern.regex())})"
    if pattern.is_ascii:
        exact = f"if(isASCII(message), match(message, {params.add(pattern.ascii_regex())}), {exact})"
    return f"({found} AND {exact})" if found else exact


def _found(needle: str, case_counts: bool, params: Params) -> str:
    """Whether a message holds a text. Without case, the search for one of many is three times as fast as for one."""
    if case_counts:
        return f"position(message, {params.add(needle)}) > 0"
    return f"multiSearchAnyCaseInsensitive(message, {params.add([needle], 'Array(String)')}) = 1"


def _matches(field: c.FieldRef, pattern: str, params: Params) -> str:
    value = text_of(field, params)
    # ClickHouse lets `.` match a line break; RE2 by itself, whose syntax this is, does not.
    regex = params.add(f"(?-s){pattern}")
    found = f"match({valid_utf8(value)}, {regex})"
    return f"({value} != '' AND {found})"


def _looks_like(value: str, parts: tuple[str, ...], params: Params) -> str:
    first, *inner, last = parts
    if inner and (first or last or len(inner) > 1):
        regex = "(?s)^" + ".*".join(map(escape, parts)) + "$"
        return f"match({valid_utf8(value)}, {params.add(regex)})"
    if inner:
        return f"position({value}, {params.add(inner[0])}) > 0"
    tests = [f"startsWith({value}, {params.add(first)})"] if first else []
    tests += [f"endsWith({value}, {params.add(last)})"] if last else []
    if first and last:  # the two must not overlap: `a*a` is not "a"
        tests.append(f"length({value}) >= {params.add(len((first + last).encode()), 'UInt64')}")
    return "(" + " AND ".join(tests) + ")"
