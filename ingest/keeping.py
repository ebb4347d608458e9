"""What an inserter keeps and may store one day: deletions are not forgotten before that (`storage/deletions.py`).

Dead letters are told of by the oldest event in them. A spool empties within seconds as a rule; one that has had blocks
for longer than LONG_SECONDS may have anything in it. What is no dead letter any more goes on to be told for as long: it
may be in the spool.
"""

from __future__ import annotations

import time

from ingest.deadletter import DeadLetters
from ingest.spool import Spool
from storage.deletions import ALL, ANYTHING, NOTHING, oldest_of, say_waiting
from storage.hot import Hot

LOOK_SECONDS = 30.0
LONG_SECONDS = 86400.0


class Keeping:
    """What one inserter keeps for its shard, told there when it changes. For its thread alone."""

    def __init__(self, hot: Hot, inserter: str, spool: Spool, dead_letters: DeadLetters) -> None:
        self._hot = hot
        self._inserter = inserter
        self._spool = spool
        self._dead_letters = dead_letters
        self._told: dict[str, int] | None = None
        self._seen: dict[str, float] = {}  # by namespace: when what is told of it was last there
        self._looked = float("-inf")

    def tend(self) -> None:
        """Look, if it is time, and tell what has changed. Raises NeveError, OSError."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return
        if self._told is None:
            self._told = oldest_of(self._hot, self._inserter)
            self._seen = dict.fromkeys(self._told, now)
        found = self._look()
        changed = {}
        for namespace in {*found, *self._told}:
            oldest, told = found.get(namespace, NOTHING), self._told.get(namespace, NOTHING)
            if oldest <= told or now > self._seen.get(namespace, now) + LONG_SECONDS:
                self._seen[namespace] = now
                if oldest != told:
                    changed[namespace] = oldest
        say_waiting(self._hot, self._inserter, changed)
        self._told |= changed
        self._looked = now

    def _look(self) -> dict[str, int]:
        """By namespace the time of the oldest event."""
        found: dict[str, int] = {}
        for letter in self._dead_letters.all():
            if letter.namespace and letter.shard == self._hot.number:
                found[letter.namespace] = min(found.get(letter.namespace, NOTHING), letter.oldest)
        if self._spool.waits_for(self._hot.number).oldest_age > LONG_SECONDS:
            found[ALL] = ANYTHING
        return found
