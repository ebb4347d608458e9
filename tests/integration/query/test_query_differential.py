"""Random events and random filters: what Neve finds is what a plain reading of docs/query.md finds."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query import ast
from query.limits import Limits
from query.plan import make_plan
from query.running import Running
from query.search import window_sql
from query.windows import Window
from storage.hot import Hot

NOW = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
MINUTE = 60_000_000_000
LEVELS = ["", "trace", "debug", "info", "notice", "warn", "error", "critical", "fatal"]

# --- events ------------------------------------------------------------------------------------------------

PIECES = [
    "time",
    "Timeout",
    "out",
    "TIME",
    "a",
    "b",
    "_",
    "é",
    "É",
    "ж",
    "Ж",
    "用户",
    "登录",
    "ไทย",
    "σ",
    "ς",
    "Σ",
    "ſ",
    "\u212a",
]
PIECES += [
    "k",
    "s",
    "5",
    "12",
    "٣",
    " ",
    " ",
    ".",
    "-",
    "(",
    ")",
    "*",
    "\\",
    "%",
    '"',
    "'",
    "\n",
    "\0",
    "½",
    "e\u0301",
    "カナ",
]
BROKEN = [b"\xff", b"\xc3", b"\xe7\x94", b"\xed\xa0\x80", b"\xf0\x9f"]
# Few pieces at a time, drawn anew for each example, so that what is looked for is often there.
VOCABULARIES = st.lists(st.sampled_from(PIECES), min_size=2, max_size=4, unique=True)
NUMBERS = [
    "0",
    "5",
    "12",
    "500",
    "-3",
    "0.3",
    "0.30",
    "1e2",
    "007",
    "9007199254740993",
    "-0",
    "5.",
    ".5",
    "+5",
]
VALUES = [
    *NUMBERS,
    "eu",
    "EU",
    "us",
    "e",
    "é",
    "12a",
    " 5",
    "x y",
    "a*b",
    "%",
    "_",
    "\\",
    "用户",
    "",
    "nan",
    "0x10",
    "1_0",
]
TAG_VALUES = st.sampled_from([value.encode() for value in VALUES] + [b"e\xffu", b"\xff"])
TAGS = st.dictionaries(st.sampled_from(["status", "region", "a.b-c", "é 用", "size"]), TAG_VALUES, max_size=4)


def events_of(vocabulary: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    raw = [piece.encode() for piece in vocabulary]
    around = st.sampled_from([*raw, b" ", b" ", b"_", b"x", *BROKEN])
    messages = st.lists(st.sampled_from(raw) | around, min_size=1, max_size=4) | st.just([])
    return st.fixed_dictionaries(
        {
            "timestamp": st.integers(-3, 3).map(lambda n: NOW + n * MINUTE)
            | st.integers(-2 * MINUTE, 2 * MINUTE).map(NOW.__add__),
            "level": st.sampled_from(LEVELS),
            "service": st.sampled_from(["", "api", "API", "shop"]),
            "message": messages.map(b"".join),
            "fingerprint": st.sampled_from([0, 1, 0x0123456789ABCDEF, (1 << 64) - 1]),
            "tags": TAGS,
        }
    )


# --- filters -----------------------------------------------------------------------------------------------


def globs_of(literals: st.SearchStrategy[str]) -> st.SearchStrategy[ast.Glob]:
    inner = st.lists(literals.filter(bool), max_size=1)
    return st.builds(lambda first, parts, last: ast.Glob((first, *parts, last)), literals, inner, literals)


LITERALS = st.sampled_from(VALUES)
GLOBS = globs_of(LITERALS)
REGEXES = st.sampled_from(
    ["time", "^a", "(?i)TIME", "[0-9]+$", "a.b", "^$", "é|ж", r"\d{2}", "(a|b)c?", r"\.", "用"]
)
COMPARES = st.builds(ast.Compare, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(VALUES))
ENDS = st.none() | st.sampled_from(VALUES)
RANGES = st.builds(ast.Range, ENDS, ENDS, st.booleans(), st.booleans())
VALUE_TEST = st.one_of(LITERALS.map(ast.Text), GLOBS, REGEXES.map(ast.Regex), COMPARES, RANGES)
FIELD_TEST = VALUE_TEST | st.lists(VALUE_TEST, min_size=1, max_size=3).map(
    lambda tests: ast.OneOf(tuple(tests))
)
LEVEL = st.sampled_from(LEVELS[1:])
LEVEL_TEST = st.one_of(
    LEVEL.map(ast.Text),
    st.just(ast.Text("")),
    st.builds(ast.Compare, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), LEVEL),
    st.builds(ast.Range, st.none() | LEVEL, st.none() | LEVEL, st.booleans(), st.booleans()),
    st.just(ast.Glob(("", ""))),
    st.just(ast.Glob(("E", ""))),
)
TIMES = st.sampled_from(
    ["2026-01-31T12:00:00Z", "2026-01-31T12:01", "now", "now-1m", "1769860800", "2026-01-31"]
)
TIME_TEST = st.one_of(
    TIMES.map(ast.Text),
    st.just(ast.Text("2m")),
    st.builds(ast.Compare, st.sampled_from(["<", "<=", ">", ">="]), TIMES),
    st.builds(ast.Range, st.none() | TIMES, st.none() | TIMES, st.booleans(), st.booleans()),
)
FINGERPRINTS = st.sampled_from(["0123456789abcdef", "0000000000000001", "ffffffffffffffff"]).map(ast.Text)
FIELD_MATCHES = st.one_of(
    st.builds(
        ast.Match,
        st.sampled_from(["status", "region", "a.b-c", "é 用", "size", "service", "nowhere"]),
        FIELD_TEST,
    ),
    st.builds(ast.Match, st.just("level"), LEVEL_TEST),
    st.builds(ast.Match, st.sampled_from(["timestamp", "_time"]), TIME_TEST),
    st.builds(ast.Match, st.just("fingerprint"), FINGERPRINTS),
)


def _grow(children: st.SearchStrategy[ast.Filter]) -> st.SearchStrategy[ast.Filter]:
    some = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.one_of(children.map(ast.Not), some.map(ast.And), some.map(ast.Or))


def filters_of(vocabulary: list[str]) -> st.SearchStrategy[ast.Filter]:
    piece = st.sampled_from(vocabulary)
    terms = piece | piece | st.lists(piece, min_size=2, max_size=2).map("".join)
    texts = st.one_of(terms.map(ast.Text), globs_of(st.just("") | terms), REGEXES.map(ast.Regex))
    messages = texts.map(lambda test: ast.Match(None, test))
    return messages | st.recursive(messages | FIELD_MATCHES, _grow, max_leaves=4)


CASES = VOCABULARIES.flatmap(
    lambda vocabulary: st.tuples(
        st.lists(events_of(vocabulary), min_size=6, max_size=25),
        st.lists(filters_of(vocabulary), min_size=6, max_size=25),
    )
)

# --- the plain reading -------------------------------------------------------------------------------------


def is_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LN"


def has_edges(character: str) -> bool:
    spaceless = any(
        script in unicodedata.name(character, "") for script in ("CJK UNIFIED", "THAI", "KATAKANA")
    )
    return is_word(character) and not spaceless


def same(one: str, other: str) -> bool:
    """Equal but for case; an ASCII letter is only ever an ASCII letter."""
    return one == other or (one.isascii() == other.isascii() and one.casefold() == other.casefold())


def literal_at(text: str, at: int, part: str) -> bool:
    return len(text) - at >= len(part) and all(map(same, text[at : at + len(part)], part))


def ends_of(text: str, at: int, parts: tuple[str, ...]) -> list[int]:
    """Where a match of the parts that starts here may end."""
    if not literal_at(text, at, parts[0]):
        return []
    end = at + len(parts[0])
    if len(parts) == 1:
        return [end]
    ends = []
    for start in range(end, len(text) + 1):
        ends += ends_of(text, start, parts[1:])
        if start < len(text) and text[start] in " \t\n\f\r":
            break
    return ends


def words(parts: tuple[str, ...], message: bytes) -> bool:
    text = message.decode("utf-8", "replace")
    for at in range(len(text) + 1):
        if parts[0] and has_edges(parts[0][0]) and at and is_word(text[at - 1]):
            continue
        for end in ends_of(text, at, parts):
            if not (parts[-1] and has_edges(parts[-1][-1]) and end < len(text) and is_word(text[end])):
                return True
    return False


def number(text: str) -> float | None:
    plain = text == text.strip() and "_" not in text and text.isascii()
    try:
        return float(text) if plain else None
    except ValueError:
        return None


TYPED_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def compares(value: bytes, op: str, wanted: str, numeric: bool) -> bool:
    if numeric:
        found = number(value.decode("utf-8", "surrogateescape"))
        return found is not None and OPS[op](found, float(wanted))
    return value != b"" and OPS[op](value, wanted.encode())


def ends(test: ast.Range) -> list[tuple[str, str]]:
    low = [(">=" if test.low_closed else ">", test.low)] if test.low is not None else []
    high = [("<=" if test.high_closed else "<", test.high)] if test.high is not None else []
    return low + high


def text_passes(value: bytes, test: ast.Test) -> bool:
    match test:
        case ast.OneOf(tests):
            return any(text_passes(value, one) for one in tests)
        case ast.Text(text):
            return value == text.encode()
        case ast.Glob(parts):
            shown = value.decode("utf-8", "replace")
            return (
                value != b"" and re.fullmatch(".*".join(map(re.escape, parts)), shown, re.DOTALL) is not None
            )
        case ast.Regex(pattern):
            return value != b"" and regex_finds(pattern, value)
        case ast.Compare("=", wanted):
            return value == wanted.encode()
        case ast.Compare("!=", wanted):
            return value != wanted.encode()
        case ast.Compare(op, wanted):
            return compares(value, op, wanted, TYPED_NUMBER.fullmatch(wanted) is not None)
    assert isinstance(test, ast.Range)
    bounds = ends(test)
    numeric = all(TYPED_NUMBER.fullmatch(wanted) for _, wanted in bounds)
    return value != b"" and all(compares(value, op, wanted, numeric) for op, wanted in bounds)


def regex_finds(pattern: str, value: bytes) -> bool:
    """RE2's `$` is the very end and its `\\d` is ASCII."""
    pattern = re.sub(r"\$$", r"\\Z", pattern)
    return re.search(pattern, value.decode("utf-8", "replace"), re.ASCII) is not None


def level_passes(level: str, test: ast.Test) -> bool:
    match test:
        case ast.Text(text):
            return level == text
        case ast.Glob(parts):
            return level != "" and level.startswith(parts[0].lower())
        case ast.Compare("=", wanted):
            return level == wanted
        case ast.Compare("!=", wanted):
            return level != wanted
        case ast.Compare(op, wanted):
            return level != "" and OPS[op](LEVELS.index(level), LEVELS.index(wanted))
    assert isinstance(test, ast.Range)
    if test.low is None and test.high is None:
        return level != ""
    return level != "" and all(
        OPS[op](LEVELS.index(level), LEVELS.index(wanted)) for op, wanted in ends(test)
    )


SPANS = {
    "2026-01-31T12:00:00Z": (NOW, NOW + 1_000_000_000), "2026-01-31T12:01": (NOW + MINUTE, NOW + 2 * MINUTE),
    "now": (NOW, NOW + 1), "now-1m": (NOW - MINUTE, NOW - MINUTE + 1), "1769860800": (NOW, NOW + 1),
    "2026-01-31": (NOW - 720 * MINUTE, NOW + 720 * MINUTE), "2m": (NOW - 2 * MINUTE, NOW + 1),
}  # fmt: skip


def time_passes(at: int, test: ast.Test) -> bool:
    if isinstance(test, ast.Range):
        return all(time_passes(at, ast.Compare(op, wanted)) for op, wanted in ends(test))
    assert isinstance(test, ast.Text | ast.Compare)
    low, high = SPANS[test.text if isinstance(test, ast.Text) else test.value]
    op = "=" if isinstance(test, ast.Text) else test.op
    return {"=": low <= at < high, "<": at < low, "<=": at < high, ">": at >= high, ">=": at >= low}[op]


def passes(event: dict[str, Any], node: ast.Filter) -> bool:
    match node:
        case ast.And(children):
            return all(passes(event, child) for child in children)
        case ast.Or(children):
            return any(passes(event, child) for child in children)
        case ast.Not(child):
            return not passes(event, child)
        case ast.Match(None, ast.Text(text)):
            return words((text,), event["message"])
        case ast.Match(None, ast.Glob(parts)):
            return parts == ("", "") or words(parts, event["message"])
        case ast.Match(None, ast.Regex(pattern)):
            return event["message"] != b"" and regex_finds(pattern, event["message"])
        case ast.Match("level", test):
            return level_passes(event["level"], test)
        case ast.Match("timestamp" | "_time", test):
            return time_passes(event["timestamp"], test)
        case ast.Match("fingerprint", ast.Text(text)):
            return bool(event["fingerprint"] == int(text, 16))
        case ast.Match("service", test):
            return text_passes(event["service"].encode(), test)
    assert isinstance(node, ast.Match)
    return text_passes(event["tags"].get(node.field, b""), node.test)


# --- the test ----------------------------------------------------------------------------------------------

_runs = itertools.count()


@given(case=CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_neve_finds_what_a_plain_reading_finds(
    hot: Hot, namespace: str, store: Callable[..., Any], case: tuple[list[dict[str, Any]], list[ast.Filter]]
) -> None:
    events, filters = case
    run = f"run-{next(_runs)}"
    store([{**event, "host": run} for event in events])
    for node in filters:
        query = ast.Query(ast.And((ast.Match("host", ast.Text(run)), node)))
        plan = make_plan(str(query), now=NOW, namespace=namespace)
        sql, params = window_sql(plan, Window(plan.low, plan.high), None)
        found = {row[10] for row in Running(hot, Limits()).query(sql, params).rows}
        expected = {row for row, event in enumerate(events) if passes(event, node)}
        assert found == expected, f"{node}\n{[events[row] for row in found ^ expected]}\n{params}"
