"""How long small blocks wait for company."""

import pytest

from ingest.pace import GATHER_SECONDS, Pace


def test_nobody_waits_where_nobody_stores() -> None:
    assert Pace().left(0.0) <= 0


def test_blocks_wait_while_another_shard_stores_and_no_longer_than_on_one_server() -> None:
    pace = Pace()
    with pace.storing():
        assert pace.left(0.0) == GATHER_SECONDS
        assert pace.left(GATHER_SECONDS) == 0
    assert pace.left(0.0) <= GATHER_SECONDS
    assert pace.left(2 * GATHER_SECONDS) < 0


def test_an_insert_that_fails_is_over() -> None:
    pace = Pace()
    with pytest.raises(ValueError, match="refused"), pace.storing():
        raise ValueError("refused")
    assert pace.left(0.0) <= GATHER_SECONDS
    assert pace.left(GATHER_SECONDS) <= 0
