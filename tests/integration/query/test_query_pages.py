"""Pages hold the same events in the same order however the server was asked for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from query import windows
from query.errors import RequestInvalid
from query.limits import Limits
from query.plan import Position, make_plan
from query.running import Running
from query.search import search
from query.tiers import Tiers
from storage.hot import Hot
from storage.published import TierState

NOW = 1_769_860_800 * 10**9
MINUTE = 60 * 10**9
Store = Callable[..., object]


def pages(hot: Hot, namespace: str, query: str, order: str, limit: int, rows: int) -> tuple[list[str], int]:
    """The ids of all events, page by page, and how many rows were read for the first page."""
    tiers = Tiers(TierState(0, frozenset({1}), None, rows=rows))
    cursor, ids, read = "", [], 0
    while cursor is not None:
        plan = make_plan(query, now=NOW, namespace=namespace, order=order, limit=limit, cursor=cursor)
        running = Running(hot, Limits())
        page = search(replace(plan, tiers=tiers), running)
        assert running.limits_hit == []
        read = read or running.rows_read
        ids += [event["id"] for event in page.events()]
        cursor = page.next_cursor
    return ids, read


@pytest.mark.parametrize("row", [-1, 1 << 32])
def test_a_place_that_no_event_has_is_no_cursor(row: int) -> None:
    plan = make_plan("", now=NOW, namespace="default")
    assert plan.with_cursor(plan.cursor(Position(NOW, "0" * 32, row % 1000))).after is not None
    with pytest.raises(RequestInvalid, match="cannot read cursor"):
        plan.with_cursor(plan.cursor(Position(NOW, "0" * 32, row)))


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_looking_near_first_changes_no_page(
    hot: Hot, namespace: str, store: Store, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "NEAR_EVENTS", 40)
    events: list[dict[str, Any]] = [
        {
            "timestamp": NOW + i % 7 * MINUTE + i % 5,  # many of one time, in several blocks
            "message": f"line {i}" + (" rare" if i % 50 == 0 else ""),
            "service": f"s{i % 3}",
            "level": "warn" if i % 4 else "error",
        }
        for i in range(150)
    ]
    for start in range(0, 150, 50):
        store(events[start : start + 50])
    for query in (
        "*",
        "line",
        "rare",
        "level:error",
        "service:s1 line",
        "nowhere",
        "_time:<2026-01-31T12:03:00Z line",
    ):
        for limit in (40, 150):
            whole, _ = pages(hot, namespace, query, order, limit, rows=0)
            near, _ = pages(hot, namespace, query, order, limit, rows=windows.MANY_EVENTS)
            assert near == whole, (query, limit)
            assert len(set(near)) == len(near)
    assert len(pages(hot, namespace, "line", order, 50, rows=windows.MANY_EVENTS)[0]) == 150


def test_a_common_word_is_looked_for_among_the_nearest_events(
    hot: Hot, namespace: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "NEAR_EVENTS", 5_000)
    store([{"timestamp": NOW + i * 10**7, "message": "line", "service": f"s{i % 2}"} for i in range(60_000)])
    plan = make_plan("line", now=NOW, namespace=namespace, limit=10)
    read = []
    for rows in (0, windows.MANY_EVENTS):
        running = Running(hot, Limits())
        tiers = Tiers(TierState(0, frozenset({1}), None, rows=rows))
        assert len(search(replace(plan, tiers=tiers), running).rows) == 10
        read.append(running.rows_read)
    assert read[1] < read[0] / 2, read
