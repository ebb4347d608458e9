"""Deletion: what a query finds goes from both tiers, for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
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
from storage.errors import NeveError
from storage.hot import Hot
from storage.removing import count_both

NAMESPACE = "default"
WAITING = (
    "refused blocks may have such events: those stay hidden when they are sent again (neve deadletter list)"
)
KNOWN = ("q", "from", "to", "namespace", "dry_run")


def delete_there(
    hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, asked: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Delete as was asked: the steps as they are done, and the error that ended it."""
    try:
        plan = _plan(asked)
        hot.require(plan.namespace)
        check_regexes(plan, Running(hot, Limits()))
    except NeveError as error:
        yield error.to_json()
        return
    yield from streamed(partial(_delete, hot, clickhouse, cold, plan, bool(asked.get("dry_run"))))


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


def _delete(hot: Hot, clickhouse: ClickHouseConfig, cold: ColdTier, plan: Plan, dry: bool, say: Say) -> None:
    ager = Ager(hot, clickhouse, cold, say)
    namespace = plan.namespace
    what = matching(plan)
    in_hot, in_cold = count_both(hot, cold, namespace, what)
    ager.say("count", namespace, f"{in_hot:,} events hot, {in_cold:,} cold", hot=in_hot, cold=in_cold)
    if dry:
        return
    deletion = Deletion(namespace, plan.text, what, until=hot.epochs.last(namespace)[0])
    ager.ask_deletion(deletion)
    patiently(partial(ager.delete_pending, namespace))
    in_hot, in_cold = count_both(hot, cold, namespace, deletion.what)
    left = (
        f"{in_hot + in_cold:,} events are left" if in_hot + in_cold else "nothing is left that can be found"
    )
    if in_hot:
        left += ": they are in an epoch that is still open, and go when it closes"
    if oldest_waiting(hot, namespace) < deletion.asked_at:
        ager.say("waiting", namespace, WAITING)
    ager.say("done", namespace, left, hot=in_hot, cold=in_cold)
