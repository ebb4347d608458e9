"""What is to be read from which tier, and when a query has to begin again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from query.tiers import Tiers, tiers_of
from storage.errors import ColdUnavailable
from storage.pinned import Pinned, place_of
from storage.published import TierState
from storage.record import Record, ShardRecord

DAY = 86_400 * 10**9


def pinned(
    through: int = 0, epochs: tuple[int, ...] = (), low: int | None = 0, high: int | None = DAY
) -> Pinned:
    record = Record({"": ShardRecord(through, dict.fromkeys(epochs, 1))})
    place = place_of("file:///lake/shop", {})
    return Pinned("shop", 7, "metadata/1.metadata.json", record, low, high, 1, place, "file:///lake/shop", 1)


def state(dropped: int, epochs: tuple[int, ...], cold: Pinned | None = None) -> TierState:
    return TierState(dropped, frozenset(epochs), cold)


@pytest.mark.parametrize(
    ("found", "epochs"),
    [
        (state(0, (3, 1, 2)), (1, 2, 3)),
        (state(1, (2, 3), pinned(1)), (2, 3)),
        (state(1, (2, 3, 4), pinned(1, (3,))), (2, 4)),
        (state(3, (), pinned(3)), ()),
    ],
)
def test_hot_epochs_are_those_that_are_not_cold(found: TierState, epochs: tuple[int, ...]) -> None:
    assert found.hot_epochs == epochs


@pytest.mark.parametrize(
    ("begun", "later", "misses"),
    [
        (state(0, (1,)), state(0, (1,)), False),
        (state(0, (1,)), state(0, (1,), pinned(0, (1,))), False),  # cold by now, and hot still
        (state(0, (1,)), state(1, (), pinned(0, (1,))), True),
        (state(1, (2,), pinned(1)), state(2, (), pinned(1, (2,))), True),
        (
            state(1, (2,), pinned(0, (1, 2))),
            state(2, (), pinned(2)),
            False,
        ),  # it reads epoch 2 from the cold tier
        (state(0, (1,)), state(1, ()), False),  # gone for good: it has no cold tier
    ],
)
def test_a_drop_is_missed_where_it_was_taken_for_hot(
    begun: TierState, later: TierState, misses: bool
) -> None:
    assert begun.misses(later) == misses


@pytest.mark.parametrize(
    ("low", "high", "read"),
    [
        (None, None, ("hot", "cold")),
        (DAY - 1, None, ("hot", "cold")),
        (DAY, None, ("hot",)),
        (None, 0, ("hot",)),
        (None, 1, ("hot", "cold")),
    ],
)
def test_the_cold_tier_is_asked_where_the_range_reaches_it(
    low: int | None, high: int | None, read: tuple[str, ...]
) -> None:
    assert Tiers(state(1, (2,), pinned(1))).read(low, high) == read
    assert Tiers(state(1, (), pinned(1))).read(low, high) == read[1:]
    assert Tiers(state(1, (2,))).read(low, high) == ("hot",)
    assert Tiers(state(1, (2,), pinned(1, low=None, high=None))).read(low, high) == ("hot",)


def test_the_tiers_of_a_statement_are_those_that_it_names() -> None:
    assert tiers_of("SELECT 1 FROM neve_shop.events", {}) == ["hot"]
    assert tiers_of("SELECT 1 FROM neve_shop.events", {"cold_path": "x"}) == ["hot", "cold"]
    assert tiers_of("SELECT 1 FROM neve_shop.rollup", {"p0": ".events"}) == []


def test_credentials_are_bound_and_shown_nowhere() -> None:
    place = place_of(
        "s3://lake/shop",
        {"s3.endpoint": "http://s3", "s3.access-key-id": "AKID", "s3.secret-access-key": "hush"},
    )
    assert "hush" not in place.call + repr(place)
    assert place.parameters == {
        "cold_path": "http://s3/lake/shop/",
        "cold_key": "AKID",
        "cold_secret": "hush",
    }
    with pytest.raises(ColdUnavailable, match="gs://"):
        place_of("gs://lake/shop", {})


@pytest.mark.parametrize(
    ("low", "high", "events"),
    [
        (None, None, 1000),
        (DAY // 4, None, 750),
        (None, DAY // 4, 250),
        (-DAY, 2 * DAY, 1000),
        (DAY // 2, DAY // 2 + DAY // 10, 100),
        (DAY, None, 0),
        (None, 0, 0),
        (DAY // 2, DAY // 2, 0),
    ],
)
def test_how_many_events_a_range_has_goes_by_its_length(
    low: int | None, high: int | None, events: int
) -> None:
    assert replace(pinned(), rows=1000).about(low, high) == events
    assert pinned(low=None, high=None).about(low, high) == 0
