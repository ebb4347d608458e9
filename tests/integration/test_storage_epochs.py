"""Epochs with several openers, closers and inserters at once, against a real ClickHouse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storage import epochs, inserters
from storage.embedded import EmbeddedServer
from storage.errors import EpochClosed, InserterLive, NeveError
from storage.hot import Hot
from storage.inserters import Holding, Who
from storage.native.block import SealedBlock
from storage.native.connection import NativeConnection

MakeBlock = Callable[..., SealedBlock]

ANOTHER = Who("another", "another-1", "gateway", "host-2")


@pytest.fixture
def who(namespace: str) -> Who:
    return Who(f"one-of-{namespace}", f"first-of-{namespace}", "gateway", "host-1")


@pytest.fixture
def hots(clickhouse: EmbeddedServer) -> Iterator[list[Hot]]:
    """Eight processes' worth of hot tiers: none shares a lock with another."""
    made = [Hot(clickhouse.config) for _ in range(8)]
    yield made
    for one in made:
        one.close()


def insert(hot: Hot, namespace: str, block: SealedBlock, epoch: int) -> None:
    hot.insert_blocks(namespace, [block], epoch, f"token-{block.header.block_id.hex()}")


def test_ids_opened_at_once_by_many_processes_all_differ(hots: list[Hot], namespace: str) -> None:
    start = threading.Barrier(len(hots))

    def open_some(hot: Hot) -> list[int]:
        start.wait()
        return [hot.open_epoch(namespace) for _ in range(4)]

    with ThreadPoolExecutor(len(hots)) as pool:
        opened = [epoch for some in pool.map(open_some, hots) for epoch in some]
    assert len(set(opened)) == len(opened) == 32
    assert hots[0].current_epoch(namespace) >= max(opened)


def test_present_epoch_cannot_be_closed(hot: Hot, namespace: str) -> None:
    epoch = hot.current_epoch(namespace)
    with pytest.raises(ValueError, match="present"):
        hot.epochs.try_close(namespace, epoch)


def test_closed_epoch_takes_no_row_whoever_sends_it(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    old, blocks = hot.current_epoch(namespace), [make_block([{"message": "x"}]) for _ in range(3)]
    insert(hot, namespace, blocks[0], old)
    new = hot.open_epoch(namespace)
    assert hot.epochs.try_close(namespace, old).closed
    assert hot.epochs.closed_through(namespace) == old
    with pytest.raises(EpochClosed):
        insert(hot, namespace, blocks[1], old)
    insert(hot, namespace, blocks[2], new)
    present = hot.rows_present(namespace, [one.header.block_id for one in blocks])
    assert list(present.values()) == [1, 0, 1]


def test_epoch_is_closed_when_its_inserter_has_moved_on(hot: Hot, namespace: str, who: Who) -> None:
    old = hot.current_epoch(namespace)
    hot.registry.say(who, 1, [Holding(namespace, old, old)])
    new = hot.open_epoch(namespace)
    closing = hot.epochs.try_close(namespace, old)
    assert not closing.closed
    assert [one.who for one in closing.holders] == [who]
    assert f"gateway {who.inserter} on host-1 needs epoch {old}" in closing.reason
    hot.registry.say(
        who, 2, [Holding(namespace, new, old)]
    )  # it stamps the new one, and a block is still out
    assert not hot.epochs.try_close(namespace, old).closed
    hot.registry.say(who, 3, [Holding(namespace, new, new)])
    assert hot.epochs.try_close(namespace, old).closed


def test_every_inserter_must_have_moved_on(hot: Hot, namespace: str, who: Who) -> None:
    old = hot.current_epoch(namespace)
    hot.registry.say(who, 1, [Holding(namespace, old, old)])
    hot.registry.say(ANOTHER, 1, [Holding(namespace, old, old)])
    new = hot.open_epoch(namespace)
    hot.registry.say(who, 2, [Holding(namespace, new, new)])
    assert [one.who for one in hot.epochs.try_close(namespace, old).holders] == [ANOTHER]
    hot.registry.say(ANOTHER, 2, [Holding(namespace, old, old)], released=True)
    assert hot.epochs.try_close(namespace, old).closed


def test_inserter_that_died_holds_its_epoch_until_it_is_evicted(
    hot: Hot, namespace: str, who: Who, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hot.current_epoch(namespace)
    hot.registry.say(who, 1, [Holding(namespace, old, old)])
    with pytest.raises(InserterLive, match="lease"):
        hot.registry.evict(who.inserter)
    monkeypatch.setattr(inserters, "LEASE_SECONDS", 0.2)
    hot.registry.say(who, 2, [Holding(namespace, old, old)])
    hot.open_epoch(namespace)
    while hot.registry.of(who.inserter)[0].live:
        time.sleep(0.05)
    assert "gone for" in hot.epochs.try_close(namespace, old).reason
    assert [one.who for one in hot.registry.evict(who.inserter)] == [who]
    assert hot.epochs.try_close(namespace, old).closed
    assert hot.registry.is_evicted(who)
    hot.registry.say(who, 3, [Holding(namespace, old, old)])  # it slept, and does not know yet
    assert hot.registry.of(who.inserter) == []
    with pytest.raises(NeveError, match="cannot find inserter"):
        hot.registry.evict(who.inserter)


def test_insert_under_way_keeps_its_epoch_open(
    hot: Hot, namespace: str, make_block: MakeBlock, clickhouse: EmbeddedServer, monkeypatch: Any
) -> None:
    """It has seen the table without the fence, so its rows will go in."""
    monkeypatch.setattr(epochs, "UNDER_WAY_SECONDS", 0.3)
    old, block = hot.current_epoch(namespace), make_block([{"message": "slow"}])
    connection = NativeConnection(clickhouse.config)
    halted, go_on = threading.Event(), threading.Event()
    real = connection._send_block

    def slowly(sealed: SealedBlock, epoch: int) -> None:
        halted.set()
        assert go_on.wait(120)
        real(sealed, epoch)

    monkeypatch.setattr(connection, "_send_block", slowly)
    table = f"neve_{namespace}.events"
    sender = threading.Thread(
        target=connection.insert_blocks, args=(table, [block], old, {"async_insert": 0})
    )
    sender.start()
    assert halted.wait(120)
    hot.open_epoch(namespace)
    assert hot.epochs.try_close(namespace, old).under_way == 1
    assert hot.epochs.closed_through(namespace) == 0
    go_on.set()
    sender.join()
    connection.close()
    assert hot.epochs.close(namespace, old, 60).closed
    assert hot.rows_present(namespace, [block.header.block_id]) == {block.header.block_id: 1}


def test_closers_at_once_never_lower_a_fence(hots: list[Hot], namespace: str, make_block: MakeBlock) -> None:
    opened = [hots[0].open_epoch(namespace) for _ in range(len(hots) + 1)]
    with ThreadPoolExecutor(len(hots)) as pool:
        closings = pool.map(
            lambda one: one[0].epochs.try_close(namespace, one[1]), zip(hots, opened, strict=False)
        )
    assert all(closing.closed for closing in closings)
    assert hots[0].epochs.closed_through(namespace) == opened[-2]
    for epoch in opened[:-1]:
        with pytest.raises(EpochClosed):
            insert(hots[0], namespace, make_block([{"message": "late"}]), epoch)
    hots[0].epochs.try_close(namespace, opened[-2])
    assert hots[0].scalars(f"SELECT count() AS n FROM neve_{namespace}.events") == [0]


def test_rollup_is_exact_once_the_epoch_is_closed(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    old = hot.current_epoch(namespace)
    insert(hot, namespace, make_block([{"message": "x"}] * 7), old)
    hot.execute(f"TRUNCATE TABLE neve_{namespace}.rollup")  # as after an INSERT that died before its view
    hot.open_epoch(namespace)
    assert hot.epochs.try_close(namespace, old).closed
    assert hot.scalars(f"SELECT sum(count) AS n FROM neve_{namespace}.rollup") == [7]


def test_what_was_dropped_is_known(hot: Hot, namespace: str) -> None:
    old = hot.current_epoch(namespace)
    hot.open_epoch(namespace)
    with pytest.raises(ValueError, match="not closed"):
        hot.epochs.mark_dropped(namespace, old)
    hot.epochs.close(namespace, old, 60)
    hot.epochs.mark_dropped(namespace, old)
    assert hot.epochs.dropped_through(namespace) == old


def test_overview_says_what_each_epoch_is(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    first = hot.current_epoch(namespace)
    insert(hot, namespace, make_block([{"message": "x"}] * 3), first)
    second = hot.open_epoch(namespace)
    assert hot.epochs.try_close(namespace, first).closed
    third = hot.open_epoch(namespace)
    said = [one for one in hot.epochs.overview() if one.namespace == namespace]
    assert [(one.epoch, one.state, one.events) for one in said] == [
        (first, "closed", 3), (second, "open", 0), (third, "present", 0),
    ]  # fmt: skip


def test_fence_that_a_power_cut_took_is_restored(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    old = hot.current_epoch(namespace)
    hot.open_epoch(namespace)
    assert hot.epochs.try_close(namespace, old).closed
    hot.execute(f"ALTER TABLE neve_{namespace}.events DROP CONSTRAINT closed_{old}")
    hot.migrate()
    with pytest.raises(EpochClosed):
        insert(hot, namespace, make_block([{"message": "late"}]), old)
