"""What is in both tiers, as numbers for Prometheus: asked of ClickHouse in the background, when somebody reads them.

A scrape never waits for it: it is given what was known, and where that is older than FRESH_SECONDS it is asked anew for
the next one. Of the cold tier the catalog is asked too, less often.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from storage import schema
from storage.cold import ColdTier
from storage.epochs import EPOCHS, STATES
from storage.errors import NeveError
from storage.hot import Hot
from storage.metrics import labels, metric
from storage.published import SNAPSHOTS

FRESH_SECONDS = 15.0
COLD_SECONDS = 300.0
RECENT_MINUTES = 1440
SECOND = 10**9
MINUTE = 60 * SECOND

Numbers = dict[tuple[str, str], float]
"""By namespace, and tier or state."""


@dataclass
class Found:
    """What was found; times are seconds since 1970."""

    events: Numbers = field(default_factory=dict)
    bytes: Numbers = field(default_factory=dict)
    parts: dict[str, float] = field(default_factory=dict)
    epochs: Numbers = field(default_factory=dict)
    newest: dict[str, float] = field(default_factory=dict)
    ended: dict[str, list[float]] = field(default_factory=dict)  # of the epochs that are hot, when each ended
    asked: float = 0.0


class Facts:
    """What one ager's tiers hold. Thread-safe."""

    def __init__(
        self,
        servers: Callable[[], Sequence[Hot]],
        cold: ColdTier,
        trouble: Callable[[NeveError | None], None] = lambda _e: None,
    ) -> None:
        """`servers`: those that answer, each with a part of the hot tier. `trouble` is told why ClickHouse or the
        catalog could not be asked, None when it could again."""
        self._servers = servers
        self._cold = cold
        self._trouble = trouble
        self._lock = threading.Lock()
        self._asking = False
        self._found: Found | None = None
        self._due = self._cold_due = 0.0
        self._cold_bytes: dict[str, float] = {}

    def text(self) -> str:
        """The families; none before ClickHouse has answered once. Nobody is waited for."""
        with self._lock:
            if not self._asking and time.monotonic() >= self._due:
                self._asking = True
                threading.Thread(target=self._ask, name="facts", daemon=True).start()
            found = self._found
        return _text(found, self._backlog(found)) if found is not None else ""

    def _ask(self) -> None:
        try:
            found = self._look()
        except NeveError as error:
            self._trouble(error)
        else:
            self._trouble(None)
            with self._lock:
                self._found = found
        finally:
            with self._lock:
                self._asking = False
                self._due = time.monotonic() + FRESH_SECONDS

    def _look(self) -> Found:
        found = Found(asked=time.time())
        for hot in self._servers():
            self._look_at(hot, found)
        self._look_cold([namespace for namespace, tier in found.events if tier == "cold"])
        found.bytes |= {(namespace, "cold"): size for namespace, size in self._cold_bytes.items()}
        return found

    def _look_at(self, hot: Hot, found: Found) -> None:
        """Add what one server holds."""
        ends = _ends(hot)
        for namespace, epoch, events, size, parts in hot.query(_PARTS, _PREFIX).rows:
            for numbers, number in ((found.events, events), (found.bytes, size)):
                numbers[namespace, "hot"] = numbers.get((namespace, "hot"), 0) + number
            found.parts[namespace] = found.parts.get(namespace, 0) + parts
            if (namespace, epoch) in ends:
                found.ended.setdefault(namespace, []).append(ends[namespace, epoch])
        for namespace, *counts in hot.query(_EPOCHS).rows:
            for state, count in zip(("open", "closed", "left"), counts, strict=True):
                found.epochs[namespace, state] = found.epochs.get((namespace, state), 0) + count
        recent = int(found.asked) // 60 - RECENT_MINUTES
        for namespace, last in hot.query(_NEWEST, {**_PREFIX, "recent": recent}).rows:
            found.newest[namespace] = max(found.newest.get(namespace, 0.0), last / SECOND)
        for namespace, rows in hot.query(_COLD).rows:  # every server knows of all that is cold
            found.events[namespace, "cold"] = rows

    def _look_cold(self, namespaces: Iterable[str]) -> None:
        if time.monotonic() >= self._cold_due:
            self._cold_bytes = {one: self._cold.bytes_of(one) for one in namespaces}
            self._cold_due = time.monotonic() + COLD_SECONDS

    def _backlog(self, found: Found | None) -> dict[str, tuple[int, float]]:
        """By namespace, how many epochs are past the time when they should have left the hot tier, and how long."""
        late: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        now = time.time()
        for namespace in found.parts if found is not None else ():
            policy = self._cold.config.policy(namespace)
            if policy.tier == "cold":
                due = now - policy.age_after_hours * 3600 - policy.grace_seconds
                over = (
                    [due - end for end in found.ended.get(namespace, []) if end < due]
                    if found is not None
                    else []
                )
                late[namespace] = (len(over), max(over, default=0.0))
        return late


def _ends(hot: Hot) -> dict[tuple[str, int], float]:
    """When each epoch that has not left the hot tier ended; the present one of a namespace has not."""
    return {(namespace, epoch): at for namespace, epoch, at in hot.query(_ENDS).rows if at}


def _text(found: Found, backlog: dict[str, tuple[int, float]]) -> str:
    def by_tier(numbers: Numbers) -> list[tuple[str, float]]:
        return [(labels(namespace=name, tier=tier), n) for (name, tier), n in sorted(numbers.items())]

    def by_name(numbers: dict[str, float]) -> list[tuple[str, float]]:
        return [(labels(namespace=name), n) for name, n in sorted(numbers.items())]

    states = [(labels(namespace=name, state=state), n) for (name, state), n in sorted(found.epochs.items())]
    return "".join(
        (
            metric(
                "neve_storage_events",
                "gauge",
                "events by tier; those that age are in both",
                by_tier(found.events),
            ),
            metric(
                "neve_storage_bytes", "gauge", "bytes of the events on disk by tier", by_tier(found.bytes)
            ),
            metric("neve_storage_parts", "gauge", "parts of the hot table", by_name(found.parts)),
            metric(
                "neve_storage_epochs", "gauge", "ingest epochs: open, closed, or left the hot tier", states
            ),
            metric(
                "neve_storage_newest_event_timestamp_seconds",
                "gauge",
                "time of the newest event that can be found, of the last day",
                by_name(found.newest),
            ),
            metric(
                "neve_ageing_backlog_epochs",
                "gauge",
                "epochs that should have left the hot tier",
                by_name({name: count for name, (count, _) in backlog.items()}),
            ),
            metric(
                "neve_ageing_backlog_seconds",
                "gauge",
                "by how much the oldest of these is late",
                by_name({name: seconds for name, (_, seconds) in backlog.items()}),
            ),
            metric(
                "neve_storage_asked_timestamp_seconds",
                "gauge",
                "when ClickHouse was asked",
                [("", found.asked)],
            ),
        )
    )


_START = f"{schema.SYSTEM_DATABASE}_"
_PREFIX = {"prefix": _START, "cut": len(_START) + 1}
_NAME = "substring({}, {{cut:UInt32}}) AS namespace"
_PARTS = (
    f"SELECT {_NAME.format('database')}, toUInt32OrZero(partition) AS epoch, sum(rows) AS events, "
    "sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts WHERE active AND table = 'events' "
    "AND startsWith(database, {prefix:String}) GROUP BY namespace, epoch"
)
_BOUNDS = (
    "(SELECT namespace, maxIf(epoch, state = 'closed') AS closed, maxIf(epoch, state = 'dropped') AS dropped "
    f"FROM {STATES} GROUP BY namespace) AS bounds"
)
_EPOCHS = (
    "SELECT namespace, uniqExactIf(epoch, epoch > closed) AS open, "
    "uniqExactIf(epoch, epoch <= closed AND epoch > dropped) AS shut, uniqExactIf(epoch, epoch <= dropped) AS away "
    f"FROM {EPOCHS} AS opened LEFT JOIN {_BOUNDS} USING namespace GROUP BY namespace"
)
_ENDS = (
    "SELECT namespace, epoch, toUnixTimestamp64Milli(min(next)) / 1000 AS at FROM (SELECT namespace, epoch, "
    "min(toNullable(opened_at)) OVER (PARTITION BY namespace ORDER BY epoch ROWS BETWEEN 1 FOLLOWING "
    f"AND UNBOUNDED FOLLOWING) AS next FROM {EPOCHS}) AS opened LEFT JOIN {_BOUNDS} USING namespace "
    "WHERE epoch > dropped GROUP BY namespace, epoch"
)
_NEWEST = (
    f"SELECT {_NAME.format('_database')}, max(last) AS latest "
    f"FROM merge(REGEXP('^{_START}'), '^counts$') WHERE minute >= {{recent:Int32}} GROUP BY namespace"
)
_COLD = (
    f"SELECT namespace, argMax(rows, (sequence, said_at)) AS last_rows FROM {SNAPSHOTS} GROUP BY namespace"
)
