"""The numbers of epochs: each shard has a range of its own, so that a number alone says whose epoch it is.

The cold tier has one table for all shards, and neither it nor the counts have a column of the shard. The range of the
first shard begins at 0: it is what a single server has.
"""

from __future__ import annotations

FIRST_SHARD = 1  # what a server alone is
EPOCH_BITS = 24  # an epoch an hour fills them in 1,900 years
MOST_SHARDS = 127  # the cold table has epochs as signed 32-bit numbers


def first_epoch(number: int) -> int:
    """The number that every epoch of a shard, counted from 1, is above."""
    assert 1 <= number <= MOST_SHARDS
    return (number - 1) << EPOCH_BITS


def last_epoch(number: int) -> int:
    """The highest number that an epoch of a shard can have."""
    return first_epoch(number) + (1 << EPOCH_BITS) - 1


def shard_of(epoch: int) -> int:
    """The shard, counted from 1, that an epoch is of."""
    return (epoch >> EPOCH_BITS) + 1
