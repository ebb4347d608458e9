"""Deletion: what a query finds goes from both tiers, for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from neve_steps import Say, patiently, streamed
from query.errors import RequestInvalid
from query.limits import Limits
from query.plan import Plan, make_plan
from query.running import Running, check_regexes
from query.sources import matching
from storage.ageing import Ager
from storage.cold import ColdTier
from storage.config import ClickHouseConfig
from storage.deletions import Deletion, oldest_waiting
from storage.errors import NeveError, StorageUnavailable
from storage.hot import Hot
from storage.matching import Matching
from storage.removing import count_both
from storage.shards import Shards

NAMESPACE = "default"
WAITING = (
    "refused blocks may have such events: those stay hidden when they are sent again (neve deadletter list)"
)
KNOWN = ("q", "from", "to", "namespace", "dry_run")


def delete_there(
    hot: Hot,
    clickhouse: ClickHouseConfig,
    cold: ColdTier,
    asked: dict[str, Any],
    shards: Shards | None = None,
) -> Iterator[dict[str, Any]]:
    """Delete as was asked: the steps as they are done, and the error that ended it.

    `shards`: of the cluster, where `hot` is the first of several. All must be there: one that does not know of a
    deletion would show what is deleted.
    """
    try:
        plan = _plan(asked)
        if shards is not None and (away := shards.away()):
            what = f"cannot delete: shard {away[0].name} is away, and would not know of it"
            raise StorageUnavailable(what, "start that shard, and ask again")
        hot.require(plan.namespace)
        check_regexes(plan, Running(hot, Limits()))
    except NeveError as error:
        yield error.to_json()
        return
    hots = [(hot, clickhouse)] if shards is None else [(one.hot, one.config) for one in shards]
    yield from streamed(partial(_delete, hots, cold, plan, bool(asked.get("dry_run")), shards))


def _plan(asked: dict[str, Any]) -> Plan:
    """What is meant. Whoever deletes is not guessed at: a parameter that nobody knows is refused."""
    for name, value in asked.items():
        if name not in KNOWN:
            raise RequestInvalid(f"cannot use parameter: {name[:40]!r}", f"known: {', '.join(KNOWN)}")
        if not isinstance(value, bool if name == "dry_run" else str):
            raise RequestInvalid(
                f"cannot use {name!r}", "give true or false" if name == "dry_run" else "give a text"
            )
    text = asked.get("q", "")
    if not text.strip():
        raise RequestInvalid("cannot delete: no query", "give a filter; * is every event")
    plan = make_plan(
        text,
        now=time.time_ns(),
        namespace=asked.get("namespace") or NAMESPACE,
        from_=asked.get("from", ""),
        to=asked.get("to", ""),
    )
    if plan.query.pipes:
        raise RequestInvalid("cannot delete by a query with pipes", "give the filter alone")
    return plan


def _delete(
    hots: list[tuple[Hot, ClickHouseConfig]],
    cold: ColdTier,
    plan: Plan,
    dry: bool,
    shards: Shards | None,
    say: Say,
) -> None:
    namespace = plan.namespace
    agers = [Ager(hot, clickhouse, cold, say, shards=shards) for hot, clickhouse in hots]
    first = agers[0]
    base = Deletion(namespace, plan.text, matching(plan))
    asked = [_asked_of(ager.hot, base) for ager in agers]
    in_hot, in_cold = _counts(agers, cold, namespace, [deletion.matching for deletion in asked])
    first.say("count", namespace, f"{in_hot:,} events hot, {in_cold:,} cold", hot=in_hot, cold=in_cold)
    if dry:
        return
    for ager, deletion in zip(agers, asked, strict=True):
        ager.ask_deletion(deletion)
    for ager in agers:
        patiently(partial(ager.delete_pending, namespace))
    in_hot, in_cold = _counts(agers, cold, namespace, [deletion.what for deletion in asked])
    left = (
        f"{in_hot + in_cold:,} events are left" if in_hot + in_cold else "nothing is left that can be found"
    )
    if in_hot:
        left += ": they are in an epoch that is still open, and go when it closes"
    if any(oldest_waiting(ager.hot, namespace) < base.asked_at for ager in agers):
        first.say("waiting", namespace, WAITING)
    first.say("done", namespace, left, hot=in_hot, cold=in_cold)


def _asked_of(hot: Hot, base: Deletion) -> Deletion:
    """The same deletion for one shard, by its own epochs."""
    return replace(base, until=max(hot.epochs.last(base.namespace)[0], hot.epochs.base))


def _counts(agers: list[Ager], cold: ColdTier, namespace: str, whats: list[Matching]) -> tuple[int, int]:
    """How many such events are hot on all shards, and how many cold by what the first knows."""
    found = [count_both(ager.hot, cold, namespace, what) for ager, what in zip(agers, whats, strict=True)]
    return sum(in_hot for in_hot, _ in found), found[0][1]
