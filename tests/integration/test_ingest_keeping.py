"""A deletion is not forgotten while an inserter keeps what it may be about."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest import keeping
from ingest.deadletter import DeadLetters
from ingest.keeping import Keeping
from ingest.spool import Spool
from storage import deletions
from storage.deletions import NOTHING, Deletion, Matching, oldest_waiting
from storage.hot import Hot
from storage.inserters import Holding, Who
from storage.native import frames
from storage.native.block import SealedBlock, pack

DAY = 86400
OLD = 1_700_000_000 * 10**9


class Place:
    """An inserter's folder, and one deletion that is done."""

    def __init__(self, folder: Path, hot: Hot, namespace: str) -> None:
        self.hot, self.namespace = hot, namespace
        self.inserter = f"{namespace}-{folder.name}"
        self.spool = Spool(folder / "spool")
        self.spool.recover()
        self.dead_letters = DeadLetters(folder / "deadletter")
        self.asked = Deletion(namespace, "a", Matching("service = {p0:String}", {"p0": "a"}), done=True)
        deletions.record(hot, self.asked)

    def refuse(self, block: SealedBlock) -> None:
        header = block.header
        entry = (header.sequence, header.block_id, pack(header, frames.split(block.frames)))
        self.spool.put([entry])
        self.dead_letters.take(self.spool, self.spool.pending()[-1], "refused")

    def tell(self) -> None:
        """As a process that has just been started."""
        Keeping(self.hot, self.inserter, self.spool, self.dead_letters).tend()

    def forget(self, days: float) -> int:
        return deletions.forget(self.hot, self.namespace, time.time() + days * DAY)


@pytest.fixture
def place(tmp_path: Path, hot: Hot, namespace: str) -> Place:
    return Place(tmp_path, hot, namespace)


def test_held_for_days_then_forgotten(place: Place) -> None:
    place.tell()
    assert place.forget(29) == 0
    assert place.forget(31) == 1
    assert deletions.active(place.hot, place.namespace) == []


def test_progress_does_not_hold_it_for_longer(place: Place) -> None:
    """As each epoch that closes makes some."""
    deletions.record(place.hot, deletions.active(place.hot, place.namespace)[0])
    assert place.forget(31) == 1


def test_a_dead_letter_holds_it(
    place: Place, make_block: Callable[..., SealedBlock], monkeypatch: pytest.MonkeyPatch
) -> None:
    place.refuse(make_block([{"timestamp": OLD, "service": "a"}, {"timestamp": OLD + 5}]))
    place.tell()
    assert oldest_waiting(place.hot, place.namespace) == OLD
    assert place.forget(400) == 0
    letter = place.dead_letters.all()[0]
    place.dead_letters.remove(letter)
    place.tell()  # it may be in the spool
    assert place.forget(400) == 0
    one = Keeping(place.hot, place.inserter, place.spool, place.dead_letters)
    one.tend()
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "LONG_SECONDS", 0.0)
    one.tend()
    assert oldest_waiting(place.hot, place.namespace) == NOTHING
    assert place.forget(400) == 1


def test_a_dead_letter_of_later_events_does_not(place: Place, make_block: Callable[..., SealedBlock]) -> None:
    place.refuse(make_block([{"timestamp": time.time_ns() + 10**9}]))
    place.tell()
    assert place.forget(31) == 1


def test_a_spool_that_stands_still_holds_all(
    place: Place, make_block: Callable[..., SealedBlock], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = (block := make_block([{"timestamp": 2**62}])).header
    place.spool.put([(header.sequence, header.block_id, pack(header, frames.split(block.frames)))])
    monkeypatch.setattr(keeping, "LONG_SECONDS", -1.0)
    place.tell()
    assert place.forget(31) == 0
    place.hot.execute(
        "INSERT INTO neve.evictions SELECT 'r', {inserter:String}, now64(3) + 1", {"inserter": place.inserter}
    )
    assert place.forget(31) == 1


def test_an_inserter_that_is_away_holds_it(place: Place, hot: Hot, namespace: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("storage.inserters.LEASE_SECONDS", 0.0)
    who = Who("away", f"away-{namespace}", "agent", "nowhere")
    hot.registry.say(who, 1, [Holding(namespace, 1, 1)])
    assert place.forget(31) == 0
    hot.registry.evict("away")
    assert place.forget(31) == 1
