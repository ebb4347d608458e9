"""Freshness by namespace: what waits, and what can be found."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from ingest.freshness import Freshness

NOW = 1_700_000_000.0


@dataclass
class Clock:
    now: float = NOW
    since_boot: float = 1000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.since_boot += seconds


@dataclass(frozen=True)
class Block:
    block_id: bytes
    namespace: str
    max_timestamp: int


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(time, "monotonic", lambda: made.since_boot)
    return made


def block(number: int, namespace: str = "shop", age: float = 0.0) -> Any:
    return Block(bytes([number]) * 16, namespace, int((NOW - age) * 1e9))


def test_the_oldest_that_waits_counts(clock: Clock) -> None:
    fresh = Freshness()
    one, two, other = block(1), block(2), block(3, "web")
    fresh.taken([one])
    clock.pass_(5)
    fresh.taken([two, other])
    clock.pass_(2)
    assert fresh.waiting() == {"shop": 7, "web": 2}
    fresh.stored([one])
    assert fresh.waiting() == {"shop": 2, "web": 2}
    fresh.gone([two.block_id])
    fresh.stored([other])
    assert fresh.waiting() == {"shop": 0, "web": 0}


def test_the_newest_that_was_stored_counts_whatever_comes_late(clock: Clock) -> None:
    fresh = Freshness()
    fresh.stored([block(1, age=10), block(2, age=3600)])
    assert fresh.ages() == {"shop": 10}
    clock.pass_(5)
    assert fresh.ages() == {"shop": 15}


@pytest.mark.usefixtures("clock")
def test_what_an_earlier_process_took_waits_since_then() -> None:
    fresh = Freshness()
    fresh.taken([block(1)], NOW - 60)
    assert fresh.waiting() == {"shop": 60}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_makes_no_block_older_and_nothing_negative(clock: Clock, hours: int) -> None:
    fresh = Freshness()
    fresh.taken([block(1)])
    fresh.stored([block(2, "web")])
    clock.now += hours * 3600
    assert fresh.waiting() == {"shop": 0, "web": 0}
    assert fresh.ages() == {"web": max(0, hours * 3600)}
    fresh.taken([block(3)], NOW + 7200)
    assert fresh.waiting()["shop"] == 0
