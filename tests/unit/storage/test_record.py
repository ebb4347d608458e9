"""The record of what is cold, over shards whose epochs have numbers of their own."""

from hypothesis import given
from hypothesis import strategies as st

from storage.numbers import MOST_SHARDS, first_epoch, last_epoch, shard_of
from storage.record import Record

SECOND = first_epoch(2)


@given(st.integers(1, MOST_SHARDS), st.integers(1, 1 << 23))
def test_an_epoch_says_whose_it_is(number: int, nth: int) -> None:
    assert shard_of(first_epoch(number) + nth) == shard_of(last_epoch(number)) == number


def test_the_record_of_one_shard_reads_as_it_did_before_there_were_several() -> None:
    record = Record().advanced(7).with_epoch(9, 3, ())
    assert record.to_text() == '{"format":1,"shards":{"":{"through":7,"epochs":{"9":3}}},"raw":[]}'
    assert record.hot_condition() == "epoch > 7 AND epoch NOT IN (9)"
    assert Record().hot_condition() == "epoch > 0"


def test_each_shard_has_its_own_epochs() -> None:
    record = (
        Record().advanced(7).with_epoch(SECOND + 1, 5, ()).advanced(SECOND + 1).with_epoch(SECOND + 3, 1, ())
    )
    assert [record.names(one) for one in (7, 8, SECOND + 1, SECOND + 2, SECOND + 3)] == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert Record.from_text(record.to_text()) == record
    assert record.hot_condition() == (
        f"epoch > 7 AND NOT (epoch > {SECOND} AND epoch <= {SECOND + 1}) AND epoch NOT IN ({SECOND + 3})"
    )
    back = record.without_epoch(SECOND + 3)
    assert not back.names(SECOND + 3)
    assert not back.takes_back(SECOND + 1)


def test_a_shard_that_gave_nothing_up_leaves_the_others_alone() -> None:
    record = Record().with_epoch(1, 2, ())
    assert record.advanced(0).shard(2) == Record().shard(2)
    assert record.advanced(0).names(1)
