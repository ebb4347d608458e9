"""Who inserts: for each registration of an inserter its lease, the epoch it stamps, and the lowest it still needs.

An inserter has a name that stays (its state folder's), and takes a new registration at each start and whenever its
lease ran out. What it says holds until it says something else: a lease that ran out tells that it is gone, and lets
`evict` take it out, but frees no epoch by itself, because what it was sending when it went may or may not be stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from storage import schema
from storage.errors import InserterLive, NeveError
from storage.results import Result

LEASE_SECONDS = 30.0
"""An INSERT mostly takes less than one; longer, and whoever looks should wonder."""

INSERTERS = f"{schema.SYSTEM_DATABASE}.inserters"
EVICTIONS = f"{schema.SYSTEM_DATABASE}.evictions"

_LATEST = f"""
    SELECT namespace, inserter, registration, max(version) AS latest, argMax(kind, version) AS kind,
      argMax(host, version) AS host, argMax(stamp, version) AS stamp, argMax(low, version) AS low,
      dateDiff('millisecond', now64(3), argMax(lease_until, version)) / 1000 AS lease
    FROM {INSERTERS}
    WHERE registration NOT IN (SELECT registration FROM {EVICTIONS})
    GROUP BY namespace, inserter, registration
    HAVING argMax(released, version) = 0
    ORDER BY namespace, inserter, registration"""


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def query(self, sql: str, params: Mapping[str, Any] | None = None) -> Result: ...
    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...
    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]: ...


@dataclass(frozen=True)
class Who:
    """One registration: `inserter` stays over restarts, `registration` does not; `kind` is gateway or agent."""

    inserter: str
    registration: str
    kind: str
    host: str


@dataclass(frozen=True)
class Holding:
    """What is said of one namespace: the epoch that is stamped, and the lowest that is still needed."""

    namespace: str
    stamp: int
    low: int


@dataclass(frozen=True)
class Holder:
    """What one registration said last of one namespace; `lease` is in seconds, below 0 when it ran out."""

    who: Who
    holding: Holding
    version: int
    lease: float

    @property
    def live(self) -> bool:
        return self.lease > 0

    def to_json(self) -> dict[str, Any]:
        """As `GET /gateway/storage` has it."""
        return {
            **asdict(self.who),
            **asdict(self.holding),
            "lease_seconds": round(self.lease, 1),
            "live": self.live,
        }

    def described(self) -> str:
        """One line for a person."""
        who, state = (
            self.who,
            f"lease for {self.lease:.0f} s" if self.live else f"gone for {-self.lease:.0f} s",
        )
        needs = f"needs epoch {self.holding.low} of {self.holding.namespace}"
        return f"{who.kind} {who.inserter} on {who.host} {needs} ({state})"


class Registry:
    """The table of inserters. Thread-safe; several processes use it at once."""

    def __init__(self, hot: Asks) -> None:
        self._hot = hot

    def say(self, who: Who, version: int, holdings: Iterable[Holding], *, released: bool = False) -> None:
        """Publish what holds from now on, and renew the lease. `version` must grow within a registration."""
        said = list(holdings)
        if not said:
            return
        self._hot.execute(
            f"INSERT INTO {INSERTERS} (namespace, inserter, registration, kind, host, version, stamp, low, "
            "released, said_at, lease_until) SELECT namespace, {inserter:String}, {registration:String}, "
            "{kind:String}, {host:String}, {version:UInt64}, stamp, low, {released:UInt8}, "
            "now64(3), now64(3) + toIntervalMillisecond({lease:UInt64}) FROM (SELECT 1) ARRAY JOIN "
            "{namespaces:Array(String)} AS namespace, {stamps:Array(UInt32)} AS stamp, "
            "{lows:Array(UInt32)} AS low",
            {
                "inserter": who.inserter,
                "registration": who.registration,
                "kind": who.kind,
                "host": who.host,
                "version": version,
                "released": int(released),
                "lease": int(LEASE_SECONDS * 1000),
                "namespaces": [one.namespace for one in said],
                "stamps": [one.stamp for one in said],
                "lows": [one.low for one in said],
            },
        )

    def all(self) -> list[Holder]:
        """Every registration that was neither released nor evicted, for each of its namespaces."""
        return [_holder(row) for row in self._hot.query(_LATEST).rows]

    def holders(self, namespace: str, epoch: int) -> list[Holder]:
        """Those that may need this epoch or one below it."""
        return [one for one in self.all() if one.holding.namespace == namespace and one.holding.low <= epoch]

    def of(self, inserter: str) -> list[Holder]:
        """The registrations that an inserter has."""
        return [one for one in self.all() if one.who.inserter == inserter]

    def is_evicted(self, who: Who) -> bool:
        sql = f"SELECT count() AS n FROM {EVICTIONS} WHERE registration = {{registration:String}}"
        return bool(self._hot.scalars(sql, {"registration": who.registration})[0])

    def release(self, holders: Iterable[Holder]) -> None:
        """Say for registrations of one's own that ended, that nothing is needed for them any more."""
        for one in holders:
            self.say(one.who, one.version + 1, [one.holding], released=True)

    def evict(self, inserter: str) -> list[Holder]:
        """Take an inserter out for good; what it held. Should it come back, it registers anew.

        Raises InserterLive while its lease runs, NeveError where there is no such inserter.
        """
        found = self.of(inserter)
        if not found:
            raise NeveError(f"cannot find inserter: {inserter}", "neve status lists them")
        if live := [one for one in found if one.live]:
            raise InserterLive(f"cannot evict inserter: {live[0].described()}")
        for registration in sorted({one.who.registration for one in found}):
            self._hot.execute(
                f"INSERT INTO {EVICTIONS} SELECT {{registration:String}}, {{inserter:String}}, now64(3)",
                {"registration": registration, "inserter": inserter},
            )
        return found


def _holder(row: tuple[Any, ...]) -> Holder:
    namespace, inserter, registration, version, kind, host, stamp, low, lease = row
    return Holder(Who(inserter, registration, kind, host), Holding(namespace, stamp, low), version, lease)
