"""Which shard gets what has just come: one that answers, with the least before it for its weight.

A shard gets everything for a moment, then the next one does: so an INSERT is as large as without shards, and there are
no more of them.
"""

import time
from collections import Counter

from ingest.spool import Spool
from storage.shards import Shard, Shards

TURN_SECONDS = 4.0
"""Each turn has an INSERT or two that are small, its first and its last."""
TURN_BYTES = 32 << 20
"""As much as the largest INSERT has."""


class Placing:
    """Chooses for the committer, in its thread."""

    def __init__(self, shards: Shards, spool: Spool) -> None:
        self._shards = shards
        self._spool = spool
        self._ahead: Counter[int] = (
            Counter()
        )  # bytes for its weight that one got more than another, by number
        self._present = shards.home
        self._left = 0  # bytes of its turn
        self._until = float("-inf")

    def choose(self, size: int) -> int:
        """The number of the shard that gets so many bytes. Where none answers any may have to wait with them."""
        if not self._shards.several:
            return self._shards.home.number
        now = time.monotonic()
        if not (self._present.alive and self._left > 0 and now < self._until):
            candidates = self._candidates()
            least = min(self._ahead[one.number] for one in candidates)
            # Who comes back has not to make up for its absence.
            self._ahead = Counter({one.number: self._ahead[one.number] - least for one in candidates})
            self._present = min(candidates, key=self._before)
            self._left, self._until = TURN_BYTES, now + TURN_SECONDS
        self._left -= size
        self._ahead[self._present.number] += size // (self._present.weight or 1)
        return self._present.number

    def _candidates(self) -> list[Shard]:
        wanted = [one for one in self._shards if one.weight]
        alive = [one for one in wanted if one.alive]
        return alive or self._shards.alive() or wanted

    def _before(self, shard: Shard) -> tuple[float, int]:
        """What waits for it, for its weight, and what it was given."""
        return self._spool.waits_for(shard.number).bytes / (shard.weight or 1), self._ahead[shard.number]
