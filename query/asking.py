"""Which shards one query asks, and what it is to be told of those that it does not.

A query asks the shards that are there when it begins, through any of them. Where one fails in the middle the answer so
far is thrown away, and it asks again without that one: an answer never has a part of a shard. What it lacks it says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from storage.errors import (
    NamespaceUnknown,
    NeveError,
    QueryCancelled,
    QueryFailed,
    QueryLimit,
    StorageUnavailable,
)
from storage.results import QueryStream
from storage.shard_states import ClusterState, ShardStates
from storage.shards import Shard, Shards
from storage.spreading import (
    APART_SETTINGS,
    NOT_THERE,
    PART,
    SETTINGS,
    SILENCE_SECONDS,
    TRIES,
    look,
    over,
    some_alive,
)

OUT_OF_TIME = (159, 160)  # the query's own, not a shard's
PASSING = {3, 32, 101, 102, 209, 210, 236, 279, 519, 1000, 1001, 1002}
"""ClickHouse's codes for what comes of a server that goes or has just come."""

LACKING = (*NOT_THERE, 279, 519)
"""The codes of a table that is not there, also where another shard says so."""
UNKNOWN = re.compile(r"(?:[Dd]atabase|[Tt]able) [`']?neve_([a-z0-9_]+)\b")


class Again(Exception):
    """What was read so far is of no use; the query may be asked again, without what failed."""


class ShardLost(Again):
    """A shard failed in the middle. It is not asked again."""


class Asking:
    """The shards of one query. Used by one worker thread; `cancel` by any other."""

    def __init__(self, shards: Shards, states: ShardStates | None) -> None:
        self._shards = shards
        self._states = states
        self._initiator: Shard | None = None
        self._tries = 0
        self._without: set[int] = set()
        self.asked: tuple[Shard, ...] = ()
        self.missing: set[int] = set()  # shards that some part of the answer lacks

    # --- who is asked ------------------------------------------------------------------------------------

    def settle(self, namespace: str, *, fresh: bool = False) -> ClusterState | None:
        """Ask those that are there now; what is where on them, None for a hot tier that is all there is.

        `fresh`: as it is this moment. Raises StorageUnavailable where none is there.
        """
        while True:
            self.choose()
            if self._states is None:
                return None
            try:
                with self.judging():
                    return self._states.now(namespace, self.asked, fresh=fresh)
            except ShardLost:
                pass

    @property
    def apart(self) -> bool:
        """May each shard read a part of the cold tier?"""
        return len(self.asked) > 1 and self._states is not None and self._states.apart

    def read_together(self, sql: str) -> bool:
        """A statement that reads the cold tier failed, by no fault of a shard that went. Had each shard to read a part?
        Then one alone does so from now on, and may be asked again."""
        if PART not in sql or self._states is None:
            return False
        self._states.read_together()
        return True

    def choose(self) -> None:
        """Ask those that are there now, through any of them. Raises StorageUnavailable where none is."""
        alive = [one for one in some_alive(self._shards) if one.number not in self._without]
        if not alive:
            raise StorageUnavailable("cannot reach any shard")
        self.asked = tuple(alive)
        self._initiator = random.choice(alive)
        here = {one.number for one in alive}
        self.missing |= {one.number for one in self._shards if one.number not in here}

    def missed(self, namespace: str, state: ClusterState) -> bool:
        """See `ShardStates`."""
        assert self._states is not None
        with self.judging():
            return self._states.missed(namespace, state)

    def labels(self) -> list[str]:
        """Of each shard that the answer lacks, as `limits_hit` has it."""
        return [f"shard:{one.name}" for one in self._shards if one.number in self.missing]

    def to_json(self) -> dict[str, list[str]]:
        """As `stats.shards` has it."""
        return {
            "asked": [one.name for one in self._shards if one.number not in self.missing],
            "away": [one.name for one in self._shards if one.number in self.missing],
        }

    # --- statements --------------------------------------------------------------------------------------

    def query_iter(
        self,
        sql: str,
        params: Mapping[str, object],
        settings: Mapping[str, object],
        query_id: str,
        timeout: float,
    ) -> QueryStream:
        """As `Hot.query_iter`, over the shards that are asked."""
        if self._initiator is None:
            self.choose()
        assert self._initiator is not None
        text, bound = over(sql, params, self.asked)
        # One that is well but was silent, while it planned, is given longer.
        silence = SILENCE_SECONDS * 2**self._tries
        patient = {**SETTINGS, "receive_timeout": silence, **settings}
        if PART in sql:
            patient |= APART_SETTINGS
        return self._initiator.hot.query_iter(text, bound, patient, query_id, timeout, silence)

    def cancel(self, query_id: str) -> None:
        """Stop a statement on all shards that have a part of it."""
        if self._initiator is not None:
            self._initiator.hot.cancel(query_id)

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Raises ShardLost where what failed did so because a shard did."""
        try:
            yield
        except (QueryLimit, QueryCancelled):
            raise
        except (QueryFailed, StorageUnavailable) as error:
            code = error.server_code if isinstance(error, QueryFailed) else 0
            if code in OUT_OF_TIME:
                raise
            if not self._is_shards_fault(error, code):
                if code in PASSING:
                    raise StorageUnavailable(
                        "cannot run query: a shard fails", detail=error.detail
                    ) from error
                raise
            self._initiator = None
            raise ShardLost from error

    def _is_shards_fault(self, error: NeveError, code: int) -> bool:
        if lost := look(self._shards, self.asked):
            self.missing |= {one.number for one in lost}
            return True
        if code in LACKING and (lacking := self._lacking(error)):
            self._without |= lacking
            return True
        self._tries += 1
        passing = isinstance(error, StorageUnavailable) or code in PASSING
        return passing and self._tries < TRIES

    def _lacking(self, error: NeveError) -> set[int]:
        """Shards without the namespace that the others have: they have just come, and get it in a moment.

        Raises NamespaceUnknown where none has it.
        """
        name = namespace_in(error.detail)
        if not name:
            return set()
        there = {one.number: _has(one, name) for one in self.asked}
        if not any(there.values()):
            raise NamespaceUnknown(f"cannot find namespace: {name}") from error
        return {number for number, has in there.items() if not has}


def namespace_in(detail: str) -> str:
    """The namespace whose database or table a server said it does not know; empty where it said nothing of that."""
    found = UNKNOWN.search(detail)
    return found[1] if found else ""


def _has(shard: Shard, namespace: str) -> bool:
    try:
        shard.hot.forget(namespace)
        shard.hot.require(namespace)
    except (NamespaceUnknown, StorageUnavailable, QueryFailed):
        return False
    return True
