"""Which shard a block is given to."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ingest import placing
from ingest.placing import Placing
from ingest.spool import Spool
from storage.config import ClickHouseConfig, ShardConfig
from storage.shards import Shards


def shards_of(*weights: int) -> Shards:
    """Shards that nobody asks; all are there."""
    found = Shards(
        [
            ShardConfig(f"s{number}", number, ClickHouseConfig(port=number), weight=weight)
            for number, weight in enumerate(weights, 1)
        ]
    )
    for one in found:
        one.state.away = ""
    return found


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def given(place: Placing, times: int, size: int = placing.TURN_BYTES) -> Counter[int]:
    return Counter(place.choose(size) for _ in range(times))


def test_each_gets_its_share(spool: Spool) -> None:
    assert given(Placing(shards_of(1, 1), spool), 10) == {1: 5, 2: 5}
    assert given(Placing(shards_of(3, 1), spool), 40) == {1: 30, 2: 10}
    assert given(Placing(shards_of(1, 0), spool), 10) == {1: 10}


def test_small_blocks_that_come_together_stay_together(spool: Spool) -> None:
    place = Placing(shards_of(1, 1), spool)
    assert len(given(place, 100, 1000)) == 1


def test_who_is_away_gets_nothing_while_another_is_there(spool: Spool) -> None:
    shards = shards_of(1, 1, 0)
    place = Placing(shards, spool)
    shards.all[0].state.away = "gone"
    assert given(place, 10) == {2: 10}
    shards.all[1].state.away = "gone"
    assert given(place, 10) == {3: 10}  # though it is to get nothing
    shards.all[2].state.away = "gone"
    assert given(place, 10) == {1: 5, 2: 5}
    shards.all[0].state.away = ""
    assert given(place, 10) == {1: 10}
    shards.all[1].state.away = ""
    assert given(place, 10) == {1: 5, 2: 5}  # it has not to make up for its absence


def test_who_has_more_before_it_waits(spool: Spool, sealed: Any) -> None:
    place = Placing(shards_of(1, 1), spool)
    spool.put([sealed(1)], shard=1)
    assert given(place, 5) == {2: 5}


def test_a_server_alone_gets_everything(spool: Spool) -> None:
    assert given(Placing(shards_of(1), spool), 10) == {1: 10}
