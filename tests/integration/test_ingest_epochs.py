"""Inserters and the registry of epochs: several at once, one that dies, one that is evicted and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ingest.stamps
import storage.inserters
from ingest.attempts import Attempt, AttemptRecord, attempt_for
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.inserter import Inserter
from ingest.spool import Spool
from ingest.stamps import Stamps
from storage.errors import NeveError
from storage.hot import Hot
from storage.native import frames
from storage.native.block import SealedBlock, pack

Make = Callable[..., SealedBlock]


class One:
    """A gateway's inserter with a spool of its own."""

    def __init__(self, folder: Path, hot: Hot) -> None:
        self.name = f"{folder.parent.name}-{folder.name}"
        self.folder, self.hot = folder, hot
        self.spool = Spool(folder / "spool")
        self.spool.recover()
        self.dead_letters = DeadLetters(folder / "deadletter")
        self.counters = Counters()
        self.running: Inserter | None = None

    def put(self, *blocks: SealedBlock) -> None:
        held = [(one, pack(one.header, frames.split(one.frames))) for one in blocks]
        self.spool.put([(one.header.sequence, one.header.block_id, data) for one, data in held])

    def start(self) -> None:
        self.running = Inserter(
            self.spool,
            self.hot,
            self.folder,
            self.dead_letters,
            lambda _: None,
            self.counters,
            name=self.name,
        )
        self.running.start()

    def wait_empty(self) -> None:
        assert self.running is not None
        while len(self.spool) and self.running.failure is None:
            self.spool.wait_room(0.2)
        assert self.running.failure is None

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None

    def die_having_sent(self, namespace: str, block: SealedBlock, *, stored: bool) -> Attempt:
        """What a process leaves that is killed with an INSERT under way."""
        stamps = Stamps(self.hot, self.name)
        stamps.begin({})
        attempt = attempt_for(namespace, stamps.stamp(namespace), [block.header.block_id])
        AttemptRecord(self.folder / "attempt.json").write(attempt)
        if stored:
            self.hot.insert_blocks(namespace, [block], attempt.epoch, attempt.token)
        return attempt


@pytest.fixture
def two(tmp_path: Path, hot: Hot) -> Iterator[list[One]]:
    both = [One(tmp_path / name, hot) for name in ("first", "second")]
    yield both
    for one in both:
        one.stop()


def lines(first: int, count: int) -> list[dict[str, Any]]:
    return [{"message": f"line {number}", "timestamp": 10**18} for number in range(first, first + count)]


def once(hot: Hot, namespace: str) -> int:
    """How many lines there are; each must be stored once."""
    sql = f"SELECT count() AS n, uniqExact(message) AS u FROM neve_{namespace}.events"
    [(rows, different)] = hot.query(sql).rows
    assert rows == different
    return int(rows)


def no_lease_left(hot: Hot, inserter: str) -> None:
    while any(one.live for one in hot.registry.of(inserter)):
        time.sleep(0.02)


def test_two_inserters_go_on_while_epochs_are_closed(
    two: list[One], hot: Hot, namespace: str, make_block: Make
) -> None:
    for one in two:
        one.start()
    for number in range(6):
        for place, one in enumerate(two):
            one.put(make_block(lines(100 * number + 10 * place, 10), agent_id=one.name))
        if number == 2:
            for one in two:
                one.wait_empty()
        old = hot.current_epoch(namespace)
        hot.open_epoch(namespace)
        assert hot.epochs.close(namespace, old, 120).closed
    for one in two:
        one.wait_empty()
    assert once(hot, namespace) == 120
    assert hot.scalars(f"SELECT sum(count) AS n FROM neve_{namespace}.rollup") == [120]


def test_idle_inserter_follows_a_new_epoch(
    two: list[One], hot: Hot, namespace: str, make_block: Make
) -> None:
    one = two[0]
    one.start()
    one.put(make_block(lines(0, 1)))
    one.wait_empty()
    old, new = hot.current_epoch(namespace), hot.open_epoch(namespace)
    assert hot.epochs.close(namespace, old, 120).closed
    assert [held.holding.stamp for held in hot.registry.of(one.name)] == [new]


def test_inserter_that_stops_holds_nothing(two: list[One], hot: Hot, make_block: Make) -> None:
    one = two[0]
    one.start()
    one.put(make_block(lines(0, 1)))
    one.wait_empty()
    assert [held.who.inserter for held in hot.registry.of(one.name)] == [one.name]
    one.stop()
    assert hot.registry.of(one.name) == []


@pytest.mark.parametrize("stored", [True, False])
def test_epoch_waits_for_the_one_that_died_in_it(
    two: list[One], hot: Hot, namespace: str, make_block: Make, stored: bool
) -> None:
    """Its INSERT may or may not have been stored: only it can tell, so its epoch stays open until it has."""
    dead, block = two[0], make_block(lines(0, 10))
    dead.put(block)
    attempt = dead.die_having_sent(namespace, block, stored=stored)
    two[1].start()
    two[1].put(make_block(lines(10, 10), agent_id="other"))
    two[1].wait_empty()
    hot.open_epoch(namespace)
    holders = {dead.name, two[1].name}
    for _ in range(30):  # the other moves on at its next look
        closing = hot.epochs.close(namespace, attempt.epoch, 4)
        assert not closing.closed
        holders = {one.who.inserter for one in closing.holders}
        if holders == {dead.name}:
            break
    assert holders == {dead.name}
    dead.start()
    dead.wait_empty()
    assert once(hot, namespace) == 20
    assert hot.epochs.close(namespace, attempt.epoch, 120).closed


@pytest.mark.parametrize("stored", [True, False])
def test_evicted_inserter_comes_back_to_a_closed_epoch(
    two: list[One],
    hot: Hot,
    namespace: str,
    make_block: Make,
    stored: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage.inserters, "LEASE_SECONDS", 0.2)
    dead, block = two[0], make_block(lines(0, 10))
    dead.put(block)
    attempt = dead.die_having_sent(namespace, block, stored=stored)
    new = hot.open_epoch(namespace)
    no_lease_left(hot, dead.name)
    hot.registry.evict(dead.name)
    assert hot.epochs.close(namespace, attempt.epoch, 60).closed
    dead.start()
    dead.wait_empty()
    assert once(hot, namespace) == 10
    sql = f"SELECT DISTINCT epoch FROM neve_{namespace}.events"
    assert hot.scalars(sql) == [attempt.epoch if stored else new]


def test_block_whose_epoch_was_dropped_is_set_aside(
    two: list[One], hot: Hot, namespace: str, make_block: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell from the hot tier whether it was stored: neither lost nor doubled by a guess."""
    monkeypatch.setattr(storage.inserters, "LEASE_SECONDS", 0.2)
    dead, block = two[0], make_block(lines(0, 10))
    dead.put(block, make_block(lines(10, 10)))
    attempt = dead.die_having_sent(namespace, block, stored=True)
    hot.open_epoch(namespace)
    no_lease_left(hot, dead.name)
    hot.registry.evict(dead.name)
    assert hot.epochs.close(namespace, attempt.epoch, 60).closed
    hot.epochs.mark_dropped(namespace, attempt.epoch)
    hot.execute(f"ALTER TABLE neve_{namespace}.events DROP PARTITION {attempt.epoch}")
    dead.start()
    dead.wait_empty()
    assert once(hot, namespace) == 10
    assert len(dead.dead_letters) == 1
    assert "left the hot tier" in next(iter(dead.counters.troubles().values()))


def test_sleeper_that_was_evicted_restamps_what_it_had_not_sent(
    two: list[One], hot: Hot, namespace: str, make_block: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It slept between its look at the epoch and its INSERT, while it was evicted and the epoch closed."""
    monkeypatch.setattr(storage.inserters, "LEASE_SECONDS", 0.2)
    one = two[0]
    real, slept = Hot.insert_blocks, []

    def sleepy(self: Hot, namespace: str, *arguments: Any) -> None:
        if not slept:
            slept.append(arguments[1])
            hot.open_epoch(namespace)
            no_lease_left(hot, one.name)
            hot.registry.evict(one.name)
            assert hot.epochs.close(namespace, slept[0], 60).closed
        real(self, namespace, *arguments)

    monkeypatch.setattr(Hot, "insert_blocks", sleepy)
    one.put(make_block(lines(0, 10)))
    one.start()
    one.wait_empty()
    assert once(hot, namespace) == 10
    assert hot.scalars(f"SELECT DISTINCT epoch > {slept[0]} AS later FROM neve_{namespace}.events") == [1]
    assert one.counters.troubles() == {}


def test_lease_that_ran_out_is_a_new_registration(
    hot: Hot, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.inserters, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(ingest.stamps, "LEASE_SECONDS", 0.1)
    monkeypatch.setattr(ingest.stamps, "SAY_SECONDS", 0.05)
    stamps = Stamps(hot, f"sleeper-{namespace}")
    stamps.begin({})
    stamps.stamp(namespace)
    [before] = hot.registry.of(stamps.inserter)
    no_lease_left(hot, stamps.inserter)
    stamps.keep()
    [after] = hot.registry.of(stamps.inserter)
    assert before.who.registration != after.who.registration
    assert before.holding == after.holding
    no_lease_left(hot, stamps.inserter)
    hot.registry.evict(stamps.inserter)
    stamps.keep()
    assert [one.holding for one in hot.registry.of(stamps.inserter)] == [after.holding]
    stamps.release()
    with pytest.raises(NeveError, match="cannot find inserter"):
        hot.registry.evict(stamps.inserter)
