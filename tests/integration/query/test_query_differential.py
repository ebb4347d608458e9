"""Random events and random filters: what Neve finds is what a plain reading of docs/query.md finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from query import ast
from query.errors import QueryInvalid
from query.limits import Limits
from query.plan import Plan, make_plan
from query.running import Running
from query.search import window_sql
from query.windows import Window
from storage.hot import Hot

from .reference import LEVELS, Mismatch, Reading

NOW = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
MINUTE = 60_000_000_000

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
# Some would need more bytes than there are.
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
    "1.5s",
    "1500ms",
    "0.3s",
    "300 ms",
    "2m3s",
    "-5s",
    "3µs",
    "1KB",
    "1 KiB",
    "0.5kb",
    "500B",
    "2M",
    "3 apples",
]
TAG_VALUES = st.sampled_from([value.encode() for value in VALUES] + [b"e\xffu", b"\xff"])
TAGS = st.dictionaries(
    st.sampled_from(["status", "region", "a.b-c", "é 用", "latency_ms", "heap_mb"]), TAG_VALUES, max_size=4
)


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
        st.sampled_from(["status", "region", "a.b-c", "é 用", "latency_ms", "heap_mb", "service", "nowhere"]),
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

SPANS = {
    "2026-01-31T12:00:00Z": (NOW, NOW + 1_000_000_000), "2026-01-31T12:01": (NOW + MINUTE, NOW + 2 * MINUTE),
    "now": (NOW, NOW + 1), "now-1m": (NOW - MINUTE, NOW - MINUTE + 1), "1769860800": (NOW, NOW + 1),
    "2026-01-31": (NOW - 720 * MINUTE, NOW + 720 * MINUTE), "2m": (NOW - 2 * MINUTE, NOW + 1),
}  # fmt: skip
READING = Reading(SPANS)

# --- the test ----------------------------------------------------------------------------------------------

Id = tuple[str, int]
"""The block and the row of an event."""

_runs = itertools.count()
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # each try asks the server a dozen times


@given(case=CASES)
@settings(max_examples=30, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_neve_finds_what_a_plain_reading_finds(
    hot: Hot, namespace: str, store: Callable[..., Any], case: tuple[list[dict[str, Any]], list[ast.Filter]]
) -> None:
    events, filters = case
    run = f"run-{next(_runs)}"
    block = store([{**event, "host": run} for event in events]).header.block_id.hex()
    kept = {(block, row): event for row, event in enumerate(events)}
    for node in filters:
        check_filter(Running(hot, Limits()), namespace, run, node, kept)


def _all(plan: Plan, running: Running) -> tuple[list[tuple[Any, ...]], dict[str, object]]:
    sql, params = window_sql(plan, Window(plan.low, plan.high), None)
    return running.query(sql, params).rows, params


def check_filter(
    running: Running, namespace: str, run: str, node: ast.Filter, events: dict[Id, dict[str, Any]]
) -> None:
    """Neve finds just those of a run's events that the plain reading lets pass"""
    query = ast.Query(ast.And((ast.Match("host", ast.Text(run)), node)))
    found = expected = None
    params: dict[str, object] = {}
    with suppress(QueryInvalid):
        plan = make_plan(str(query), now=NOW, namespace=namespace)
        rows, params = running.answer(plan, lambda settled: _all(settled, running))
        found = {(row[9], row[10]) for row in rows}
    with suppress(Mismatch):
        expected = {id_ for id_, event in events.items() if READING.passes(event, node)}
    differ = [events.get(id_) for id_ in (found or set()) ^ (expected or set())]
    assert found == expected, f"{node}\n{differ}\n{params}"
