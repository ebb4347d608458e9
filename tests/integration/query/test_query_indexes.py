"""Which filters the indexes of the events table serve, and that they only ever rule out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from query.logql.asking import split
from query.logql.parse import parse_log
from query.plan import Plan, make_plan
from query.search import window_sql
from query.windows import Window
from storage.hot import Hot

ROWS = 20_000  # some granules
PLACE = 12_345  # of the event that is looked for
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MESSAGE = "café: “Zebracorn” aborted".encode() + b" \xffquartz\xff " + "用户login登录 error_code=7".encode()


@pytest.fixture
def filled(namespace: str, store: Callable[..., Any]) -> str:
    """A namespace of many dull events and one."""
    events: list[dict[str, Any]] = [
        {"timestamp": row, "message": f"dull line {row}", "fingerprint": 1, "tags": {"region": f"r{row % 9}"}}
        for row in range(ROWS)
    ]
    events[PLACE] |= {
        "message": MESSAGE,
        "fingerprint": 0x0123456789ABCDEF,
        "trace_id": TRACE,
        "tags": {"request_id": "q-1", "region": "r1"},
    }
    store(events)
    return namespace


def run(hot: Hot, namespace: str, query: str) -> tuple[set[int], list[str]]:
    """The rows that a query finds, and what the server says of the indexes that it used."""
    return run_plan(hot, make_plan(query, now=0, namespace=namespace))


def run_plan(hot: Hot, plan: Plan) -> tuple[set[int], list[str]]:
    """The same of a plan."""
    sql, params = window_sql(plan, Window(None, None), None)
    settings = {"use_query_condition_cache": 0}
    told = [line.strip(" │") for line, *_ in hot.query(f"EXPLAIN indexes = 1 {sql}", params, settings).rows]
    return {row[10] for row in hot.query(sql, params, settings).rows}, told


CASES = [
    ("request_id:q-1", "tags_00_values"),
    ("request_id:(q-1 OR q-2)", "tags_00_values"),
    ("request_id:=q-1 region:r1", "tags_00_values"),
    ("fingerprint:0123456789abcdef", "fingerprint_bloom"),
    (f"trace_id:{TRACE}", "trace_id_bloom"),
    ("zebracorn", "message_words"),
    ("ZEBRACORN", "message_words"),
    ("quartz", "message_words"),
    ("error_code", "message_words"),
    ("café", "message_words"),
    ("CAFÉ", "message_words"),
    ("用户login登录", "message_words"),
    ('"zebracorn” abor"*', "message_words"),
    ("zebracorn OR nowhere", "message_words"),
    ("zebra*", ""),
    ("*corn", ""),
    ("登录", "message_pairs"),
    ("*登录*", "message_pairs"),
    ("录", ""),
    ("/Zebra/", ""),
]


def test_what_is_found_by_which_index(hot: Hot, filled: str) -> None:
    for query, index in CASES:
        found, told = run(hot, filled, query)
        assert found == {PLACE}, query
        named = [line for line in told if line.startswith("Name: ")]
        assert named == ([f"Name: {index}"] if index else []) or len(named) > 1, (query, told)
        if index:
            used = told[told.index(f"Name: {index}") :]
            assert any(line.startswith("Granules: 1/") for line in used), (query, used)


LOGQL_CASES = [
    ('{request_id="q-1"}', "tags_00_values"),
    ('{request_id=~"q-1|q-2"}', "tags_00_values"),
    ('{region="r1"} |= "“Zebracorn” abor"', "message_words"),
    ('{} |= " error_code=7"', "message_words"),
    ('{} |= " nowhere, never" or "“Zebracorn”"', "message_words"),
    ('{} |> "<_>“Zebracorn” <_>"', "message_words"),
    ('{} |= "ebracor"', ""),
]


def test_logql_is_served_by_the_same_indexes(hot: Hot, filled: str) -> None:
    for query, index in LOGQL_CASES:
        condition, stages = split(parse_log(query), query)
        assert not stages
        plan = replace(make_plan("", now=0, namespace=filled), condition=condition)
        found, told = run_plan(hot, plan)
        assert found == {PLACE}, query
        granules = [line for line in told if line.startswith("Granules: ")]
        assert (f"Name: {index}" in told) == bool(index), (query, told)
        assert not index or granules[-1].startswith("Granules: 1/"), (query, told)


def test_what_is_denied_rules_nothing_out(hot: Hot, filled: str) -> None:
    for query, rest in [("-zebracorn", ROWS - 1), ("-request_id:q-1", ROWS - 1), ("NOT (zebracorn dull)", ROWS),
                        ("-(-dull)", ROWS - 1), ("dull OR zebracorn OR request_id:q-1", ROWS)]:  # fmt: skip
        assert len(run(hot, filled, query)[0]) == rest, query


def test_no_tag_and_an_empty_tag_are_one(hot: Hot, filled: str) -> None:
    assert len(run(hot, filled, 'request_id:""')[0]) == ROWS - 1
    assert len(run(hot, filled, 'request_id:("" OR q-1)')[0]) == ROWS


def test_pairs_are_found_beside_bytes_that_are_no_utf8(
    hot: Hot, namespace: str, store: Callable[..., Any]
) -> None:
    wanted = "登录".encode()
    broken = [b"\xe4", b"\xf0", b"\xe7\x99", b"\xff\xff", b"\x9f", b"x\xf0.", b"\xf0\x9f\x98"]
    messages = [
        part for bad in broken for part in (bad + wanted, wanted + bad, b"z" + wanted + bad + b"z" + bad)
    ]
    store([{"timestamp": row, "message": message} for row, message in enumerate(messages)])
    found, told = run(hot, namespace, "登录")
    assert found == set(range(len(messages)))
    assert "Name: message_pairs" in told
