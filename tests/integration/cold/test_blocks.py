"""A block that has aged is still known: what repeats it is told from what is new."""

from __future__ import annotations

from typing import Any

from storage.hot import Hot

Both = Any


def test_blocks_are_found_in_both_tiers(both: Both, make_block: Any, events: Any) -> None:
    aged, fresh, never = (make_block(events(count)) for count in (5, 6, 7))
    both.insert(aged)
    both.age()
    both.insert(fresh)
    ids = [block.header.block_id for block in (aged, fresh, never)]
    with Hot(both.clickhouse.config, both.cold.config) as hot:
        assert hot.rows_present(both.namespace, ids) == dict(zip(ids, (5, 6, 0), strict=True))
        assert hot.rows_present(both.namespace, ids[:1], [1]) == {ids[0]: 0}  # asked of the hot tier alone
        assert hot.reads_cold(both.namespace, 1)
        assert not hot.reads_cold(both.namespace, 2)
    assert both.hot.rows_present(both.namespace, ids) == dict(zip(ids, (0, 6, 0), strict=True))
