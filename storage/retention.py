"""Services whose events are kept for shorter, or for longer, than those of the others.

Whole partitions go by the longest time that holds (`upkeep.py`). What is to go before that is deleted event by event,
as by a query: once a day, since each time the files of a partition are written anew. Events go by whole days.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from storage.ageing import Ager, has_cold
from storage.cold_config import Policy
from storage.leases import Lease
from storage.matching import Matching
from storage.removing import Remover, count_hot

DAY_SECONDS = 86400
SECOND = 10**9


def longest_days(policy: Policy) -> int:
    """After how many days no event is kept, whatever its service; 0: some are for ever."""
    days = (policy.keep_days, *policy.services.values())
    return max(days) if all(days) else 0


def past(policy: Policy, now: float) -> Matching | None:
    """The events that are to go by now though not all of their day are; None where no service has a time of its own."""
    values: dict[str, Any] = {}
    tests = []
    latest = 0
    if not policy.services:
        return None

    def before(days: int) -> str:
        nonlocal latest
        edge = max(int(now) - days * DAY_SECONDS, 0) // DAY_SECONDS * DAY_SECONDS
        latest = max(latest, edge)
        return f"timestamp < fromUnixTimestamp64Nano(toInt64({edge * SECOND}), 'UTC')"

    for number, (service, days) in enumerate(sorted(policy.services.items())):
        values[f"service{number}"] = service
        if days:
            tests.append(f"(service = {{service{number}:String}} AND {before(days)})")
    if policy.keep_days:
        named = ", ".join(f"{{service{number}:String}}" for number in range(len(policy.services)))
        tests.append(f"(service NOT IN ({named}) AND {before(policy.keep_days)})")
    if not tests:
        return None
    return Matching(f"({' OR '.join(tests)})", values, None, latest * SECOND)


def retain_services(ager: Ager, namespace: str, policy: Policy, now: float, lease: Lease) -> int:
    """Let go what is past its service's time, of closed epochs and in the cold tier; how many events."""
    matching = past(policy, now)
    if matching is None or ager.retained.get(namespace) == matching:
        return 0  # nothing has come to its end since this process looked last
    say = partial(ager.tell, namespace)
    remover = Remover(ager.hot, ager.clickhouse, ager.cold, namespace, lease, say, ager.shards)
    touched: set[int] = set()
    gone = 0
    closed = ager.hot.epochs.closed_through(namespace)
    for epoch, rows in count_hot(ager.hot, namespace, matching).items():
        if epoch <= closed:
            remover.remove_hot(epoch, matching, rows)
            touched.add(epoch)
            gone += rows
    table = ager.table(namespace) if has_cold(ager, namespace) else None
    if table is not None and table.current_snapshot() is not None:

        def known(epochs: Iterable[int], _rows: int) -> None:
            touched.update(epochs)

        gone += remover.remove_cold("retention", table, matching, known)
    remover.recount(table, touched)
    ager.retained[namespace] = matching
    return gone
