"""Random events and random filters: the rows that a tail's evaluation picks are those that the server's SQL finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lexer.book import Entry
from lexer.pins import Pattern
from query import ast
from query import conditions as c
from query.digest import events_of
from query.errors import QueryInvalid
from query.evaluate import Texts, evaluate
from query.events import event_of
from query.limits import Limits
from query.plan import make_plan
from query.running import Running
from query.search import window_sql
from query.tailstore import _members, fingerprints
from query.windows import Window
from storage.hot import Hot
from storage.native.block import SealedBlock
from storage.native.columns import BlockColumns
from storage.patterns import add_entries

from .test_query_differential import CASES, NOW

_runs = itertools.count()
Store = Callable[..., SealedBlock]


def found_by_sql(hot: Hot, namespace: str, run: str, text: str) -> set[int] | None:
    query = f"host:{run} AND ({text})"
    with suppress(QueryInvalid):
        plan = make_plan(query, now=NOW, namespace=namespace)
        sql, params = window_sql(plan, Window(plan.low, plan.high), None)
        return {row[10] for row in Running(hot, Limits()).query(sql, params).rows}
    return None


def found_by_evaluation(texts: Texts, namespace: str, text: str) -> set[int] | None:
    with suppress(QueryInvalid):
        plan = make_plan(f"host:* AND ({text})", now=NOW, namespace=namespace)
        mask = evaluate(c.all_of((c.TimeIn(plan.low, plan.high), plan.condition)), texts, {})
        assert mask.null_count == 0
        return {row for row, inside in enumerate(mask.to_pylist()) if inside}
    return None


@given(case=CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_live_events_are_found_as_stored_ones_are(
    hot: Hot, namespace: str, store: Store, case: tuple[list[dict[str, Any]], list[ast.Filter]]
) -> None:
    events, filters = case
    run = f"run-{next(_runs)}"
    texts = Texts(BlockColumns(store([{**event, "host": run} for event in events])))
    for node in filters:
        text = str(node)
        found, live = found_by_sql(hot, namespace, run, text), found_by_evaluation(texts, namespace, text)
        differ = [events[row] for row in (found or set()) ^ (live or set())]
        assert live == found, f"{text}\n{differ}"


@given(case=CASES)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_live_events_look_as_stored_ones_do(
    hot: Hot, namespace: str, store: Store, case: tuple[list[dict[str, Any]], list[ast.Filter]]
) -> None:
    run = f"look-{next(_runs)}"
    block = store([{**event, "host": run, "trace_id": "ab" * 16} for event in case[0]])
    plan = make_plan(f"host:{run}", now=NOW, namespace=namespace)
    sql, params = window_sql(plan, Window(None, None), None)
    rows = sorted(Running(hot, Limits()).query(sql, params).rows, key=lambda row: row[10])
    live = events_of(BlockColumns(block), list(range(len(case[0]))))
    assert [event_of(row) for row in live] == [event_of(row) for row in rows]
    assert [list(event_of(row)["tags"]) for row in live] == [list(event_of(row)["tags"]) for row in rows]


VALUES = [
    b"", b"5", b"+5", b"-5", b"5.", b".5", b"1e2", b"nan", b"inf", b"-inf", b" 5", b"5 ", b"1_0", b"0x10", b"1e400",
    b"\xd9\xa1", b"1.5s", b"1500ms", b"2m3s", b"-5s", b"+5s", b"3\xc2\xb5s", b"3\xce\xbcs", b"1KB", b"1 KiB", b"500B",
    b"2M", b"2m", b"1kib", b"5\xff", b"5s\n", b"1h1KB", b"1.5.5s", b"9007199254740993", b"abc", b"ok\xf0\x9fa", b"a\nb",
]  # fmt: skip
FILTERS = [
    "v:>1", "v:<=5", "v:>1s", "v:>=500B", "v:[1 TO 2000]", "v:>abc", "v:<b", "latency_ms:>1s", "latency_ms:>=500",
    "heap_mb:>0.0001", "v:*5*", "v:/^5/", "v:/a.b/", "v:/a$/", "v:*", "NOT v:*", 'v:""', "v:a*b", "v:5*", "v:*s",
    "v:(5 OR abc OR +5)", "v:!=5", "message:>1", "message:/5/ OR v:nan", "a", "ok", "5*", "message:*b", "v:=inf",
]  # fmt: skip


def test_values_that_may_be_numbers_are_read_alike(hot: Hot, namespace: str, store: Store) -> None:
    events = [
        {
            "message": value,
            "host": "h",
            "timestamp": NOW,
            "tags": dict.fromkeys(("v", "latency_ms", "heap_mb"), value),
        }
        for value in VALUES
    ]
    texts = Texts(BlockColumns(store(events)))
    for text in FILTERS:
        found, live = found_by_sql(hot, namespace, "h", text), found_by_evaluation(texts, namespace, text)
        differ = [VALUES[row] for row in (found or set()) ^ (live or set())]
        assert live == found, f"{text}: {differ}"
        assert live is not None


@pytest.mark.parametrize("text", ["*", "level:error", "x", "x OR y", "a:b", "a:>5", "/x/", "NOT x"])
def test_a_block_without_rows(make_block: Callable[..., SealedBlock], namespace: str, text: str) -> None:
    assert found_by_evaluation(Texts(BlockColumns(make_block([]))), namespace, text) == set()


def test_a_fingerprint_finds_the_members_of_its_pattern(hot: Hot, namespace: str, store: Store) -> None:
    """2 and 3 are of pattern 1; 7 was a pattern of its own once and is an alias of 8 now."""
    texts = Texts(
        BlockColumns(store([{"host": "h", "timestamp": NOW, "fingerprint": number} for number in range(10)]))
    )
    members = {1: (1, False), 2: (1, False), 3: (1, False), 7: (8, True), 8: (8, False), 9: (8, False)}
    entries = {
        fingerprint: Entry(Pattern(pattern, b"<*>", ""), b"", alias)
        for fingerprint, (pattern, alias) in members.items()
    }
    add_entries(hot, namespace, entries)
    for number in range(10):
        text = f"fingerprint:{number:016x}"
        condition = make_plan(text, now=NOW, namespace=namespace).condition
        assert list(fingerprints(condition)) == [number]
        found = _members(Running(hot, Limits()), namespace, number)
        mask = evaluate(condition, texts, {number: found}).to_pylist()
        assert {row for row, inside in enumerate(mask) if inside} == found_by_sql(hot, namespace, "h", text)
