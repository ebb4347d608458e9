"""What is where, over several shards: each says what it has and what it heard was published; the newest of that holds.

A snapshot is published on a shard before anything that it names leaves that shard. So what the shards that are asked
say together has, for each of them, what it gave up. One that is away is not asked: nothing of it is in the hot tier
then, and what it heard and the others did not is not known; the answer says that it lacks this shard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from storage.cold_config import ColdConfig
from storage.published import TierState, TierStates
from storage.shards import Shard

log = logging.getLogger("neve.shards")
TOGETHER_SECONDS = 60.0
"""A shard that cannot read the cold tier makes one query in so long begin again."""


@dataclass(frozen=True)
class ClusterState(TierState):
    """Of several shards as one. `parts`: of each by its number."""

    parts: Mapping[int, TierState] = field(default_factory=dict)


def merged(parts: Mapping[int, TierState]) -> ClusterState:
    """What holds together."""
    known = [one.pinned for one in parts.values() if one.pinned is not None]
    newest = max(known, key=lambda one: one.sequence, default=None)
    return ClusterState(
        dropped=max(one.dropped for one in parts.values()),
        epochs=frozenset().union(*(one.epochs for one in parts.values())),
        pinned=newest,
        thawed=max(one.thawed for one in parts.values()),
        standing=tuple(deletion for one in parts.values() for deletion in one.standing),
        rows=sum(one.rows for one in parts.values()),
        parts={number: replace(one, pinned=newest) for number, one in parts.items()},
    )


class ShardStates:
    """As `TierStates`, of the shards that a query asks. Thread-safe."""

    def __init__(self, shards: Sequence[Shard], config: ColdConfig) -> None:
        self._of = {one.number: TierStates(one.hot, config) for one in shards}
        self._together_until = float("-inf")

    @property
    def apart(self) -> bool:
        """May each shard read a part of the cold tier? Not for a while after some shard could not."""
        return time.monotonic() >= self._together_until

    def read_together(self) -> None:
        """Some shard cannot read the cold tier: for a while it is read by one alone."""
        log.warning("some shard cannot read the cold tier: for %d s one alone reads it", TOGETHER_SECONDS)
        self._together_until = time.monotonic() + TOGETHER_SECONDS

    def now(self, namespace: str, asked: Sequence[Shard], *, fresh: bool = False) -> ClusterState:
        """What is where on these shards. Raises StorageUnavailable where one does not answer."""
        return merged({one.number: self._of[one.number].now(namespace, fresh=fresh) for one in asked})

    def missed(self, namespace: str, state: ClusterState) -> bool:
        """May a read that began with this state lack events, or see some twice?"""
        return any(self._of[number].missed(namespace, part) for number, part in state.parts.items())
