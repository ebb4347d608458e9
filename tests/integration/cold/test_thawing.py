"""A range of time comes back to the hot tier: each event once, the same as before, and it ages again."""

from __future__ import annotations

from typing import Any

import pytest

from storage import thawing
from storage.ageing import Ager, Wish
from storage.published import tier_state
from storage.thawing import unfinished

Both = Any
SECOND = 10**9
START = 1_700_000_000 * SECOND


def found(both: Both) -> tuple[int, int]:
    """Events and different ids, as queries find them."""
    pinned = tier_state(both.hot, both.cold.config, both.namespace).pinned
    sql = f"SELECT block_id, row FROM {both.database}.events WHERE {pinned.record.hot_condition()}"
    sql += f" UNION ALL {pinned.select(['block_id', 'row'])}"
    counted = f"SELECT count() AS n, uniqExact(block_id, row) AS d FROM ({sql})"
    return both.hot.query(counted, pinned.parameters).rows[0]


def without_epoch(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((*row[:10], *row[11:]) for row in rows)


def counted(both: Both) -> int:
    return int(both.hot.scalars(f"SELECT sum(count) AS n FROM {both.database}.rollup")[0])


@pytest.mark.parametrize("both", ["folder", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_range_is_hot_again_and_ages_again(both: Both, make_block: Any, events: Any) -> None:
    odd = [{**one, "message": b"\xff", "tags": {"a": b"\xfe", "b": "c"}} for one in events(5, START)]
    both.insert(make_block(events(20, START) + odd))
    both.age()
    both.insert(make_block(events(20, START)))
    both.age()
    both.insert(make_block(events(3, START)))
    before = both.cold_events() + both.hot_events()
    both.ager.thaw(both.namespace, START + 2 * SECOND, START + 10 * SECOND)
    assert both.hot_rows() == 3 + 8 + 8 + 3
    assert found(both) == both.count() == (48, 48)
    assert without_epoch(both.cold_events() + both.hot_events()) == without_epoch(before)
    assert counted(both) == 48
    epoch = both.hot.current_epoch(both.namespace)
    both.insert(make_block(events(2, START)))
    assert both.age() == 3 + 19 + 2
    assert both.hot.current_epoch(both.namespace) > epoch
    assert found(both) == both.count() == (50, 50)
    assert both.hot_rows() == 0
    assert counted(both) == 50


def test_nothing_in_the_range(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5, START)))
    both.age()
    both.ager.thaw(both.namespace, 0, SECOND)
    assert both.hot_rows() == 0
    assert found(both) == (5, 5)
    assert unfinished(both.hot, both.namespace) == []
    both.insert(make_block(events(5, START)))
    assert both.age() == 5
    assert found(both) == (10, 10)


@pytest.mark.parametrize("cut", ["_copy", "_remove"])
def test_another_pass_goes_on_where_one_was_cut(
    both: Both, make_block: Any, events: Any, monkeypatch: Any, cut: str
) -> None:
    both.insert(make_block(events(20, START)))
    both.age()
    with monkeypatch.context() as patched:
        patched.setattr(thawing.Thawing, cut, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            both.ager.thaw(both.namespace, START, START + 10 * SECOND)
    assert found(both) == (20, 20)
    assert both.ager.age(both.namespace, Wish(grace=0, before=1.0)) == 0
    assert both.hot_rows() == 10
    assert found(both) == (20, 20)
    assert unfinished(both.hot, both.namespace) == []


def test_a_query_that_began_before_looks_again(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(20, START)))
    both.age()
    begun = tier_state(both.hot, both.cold.config, both.namespace)
    both.ager.thaw(both.namespace, START, START + 10 * SECOND)
    assert begun.misses(tier_state(both.hot, both.cold.config, both.namespace))


def test_what_is_just_leaving_the_hot_tier_comes_back_once(both: Both, make_block: Any, events: Any) -> None:
    """Of an epoch that is cold, and whose hot partition still stands for queries that began before."""
    both.insert(make_block(events(20, START)))
    both.age(grace=3600, wait=False)
    assert (found(both), both.hot_rows()) == ((20, 20), 20)
    both.ager.thaw(both.namespace, START, START + 10 * SECOND)
    assert found(both) == (20, 20)
    another = Ager(both.hot, both.clickhouse.config, both.cold)  # as of a server that was started anew
    another.age(both.namespace, Wish(grace=0, before=1.0))
    assert found(both) == both.count() == (20, 20)
    assert counted(both) == 20
    another.age(both.namespace, Wish(now=True, grace=0))
    assert (found(both), both.hot_rows()) == ((20, 20), 0)
