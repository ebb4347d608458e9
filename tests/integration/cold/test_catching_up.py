"""ClickHouse is lost, or put back to an old state, and the cold tier is kept: nothing is hidden, nothing doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.ageing import Ager, Wish
from storage.catching_up import catch_up_all
from storage.catching_up_aside import catch_up_aside
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.errors import ColdBroken
from storage.hot import Hot
from storage.published import tier_state

Both = Any


@pytest.fixture
def other(tmp_path: Path, config: ColdConfig) -> Iterator[EmbeddedServer]:
    """Another ClickHouse, which knows nothing, over the same cold tier."""
    with EmbeddedServer(tmp_path / "other", lake=config.folder) as server:
        yield server


def found(hot: Hot, config: ColdConfig, namespace: str) -> tuple[int, int]:
    """Events and different ids, as queries find them."""
    pinned = tier_state(hot, config, namespace).pinned
    where = f" WHERE {pinned.record.hot_condition()}" if pinned is not None else ""
    sql = f"SELECT block_id, row FROM neve_{namespace}.events{where}"
    sql += f" UNION ALL {pinned.select(['block_id', 'row'])}" if pinned is not None else ""
    bound = pinned.parameters if pinned is not None else {}
    return hot.query(f"SELECT count() AS n, uniqExact(block_id, row) AS d FROM ({sql})", bound).rows[0]


def aged(both: Both, make_block: Any, events: Any, count: int) -> None:
    for _ in range(count):
        both.insert(make_block(events(5)))
        both.age()


def test_a_new_clickhouse_goes_on_above(
    both: Both, make_block: Any, events: Any, other: EmbeddedServer, config: ColdConfig
) -> None:
    aged(both, make_block, events, 3)
    highest = both.cold.pin(both.namespace).shard().highest
    said = catch_up_aside(other.config, config)
    assert f"epochs of {both.namespace} go on above {highest}" in said
    assert catch_up_aside(other.config, config) == ""
    with Hot(other.config) as hot:
        assert found(hot, config, both.namespace) == (15, 15)
        epoch = hot.current_epoch(both.namespace)
        assert epoch > highest
        block = make_block(events(4))
        hot.insert_blocks(both.namespace, [block], epoch, "token")
        assert found(hot, config, both.namespace) == (19, 19)
        ager = Ager(hot, other.config, ColdTier(config))
        assert ager.age(both.namespace, Wish(now=True, grace=0)) == 4
        assert found(hot, config, both.namespace) == (19, 19)


def test_an_old_state_has_copies_that_go(
    both: Both, make_block: Any, events: Any, other: EmbeddedServer, config: ColdConfig
) -> None:
    """As if the other one were a copy that was made before the second epoch aged."""
    aged(both, make_block, events, 1)
    block = make_block(events(6))
    epoch = both.insert(block)
    with Hot(other.config) as hot:
        hot.migrate()
        hot.create_namespace(both.namespace)
        hot.epochs.skip_through(both.namespace, epoch - 1)
        hot.epochs.settle_through(both.namespace, epoch - 1)
        assert hot.current_epoch(both.namespace) == epoch
        hot.insert_blocks(both.namespace, [block], epoch, "token")
        both.age()
        assert catch_up_all(hot, ColdTier(config)) == {both.namespace: epoch}
        assert found(hot, config, both.namespace) == (11, 11)
        assert hot.scalars(f"SELECT count() AS n FROM neve_{both.namespace}.events") == [0]
        assert hot.current_epoch(both.namespace) > epoch


def test_new_events_under_old_numbers_are_neither_hidden_nor_lost(
    both: Both, make_block: Any, events: Any, other: EmbeddedServer, config: ColdConfig
) -> None:
    aged(both, make_block, events, 2)
    with Hot(other.config) as hot:
        hot.create_namespace(both.namespace)
        block = make_block(events(7))
        hot.insert_blocks(both.namespace, [block], hot.current_epoch(both.namespace), "token")
        ager = Ager(hot, other.config, ColdTier(replace(config, default=Policy(grace_seconds=0))))
        for _ in range(2):
            with pytest.raises(ColdBroken, match="7 events came in as epoch 1"):
                ager.age(both.namespace, Wish(now=True, grace=0))
            assert found(hot, config, both.namespace) == (7, 7)
    assert both.count() == (10, 10)
