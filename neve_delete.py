"""`neve delete`: what a query finds goes from both tiers, for good."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from ingest.remote import DEFAULT_URL
from neve_steps import Say, add_places, asked_there, local, patiently, streamed, tell
from query.errors import RequestInvalid
from query.limits import Limits
from query.plan import Plan, make_plan
from query.running import Running, check_regexes
from query.sources import matching
from storage.ageing import Ager
from storage.cold import ColdTier
from storage.config import ClickHouseConfig
from storage.deletions import Deletion
from storage.errors import ConfigError, NeveError
from storage.hot import Hot
from storage.namespace_settings import stored_over
from storage.removing import count_both

DONE, FAILED = 0, 1
NAMESPACE = "default"
KNOWN = ("q", "from", "to", "namespace", "dry_run")


def add_commands(commands: Any) -> None:
    """Add `delete`."""
    help_ = "delete the events that a query finds, from both tiers"
    parser = commands.add_parser("delete", help=help_)
    parser.description = (
        "Deletes the events that a filter finds, hot and cold, and what of them is still on the way when it arrives. "
        "It says how many there are and asks first."
    )
    parser.add_argument("query", metavar="QUERY", help="a filter, without pipes")
    parser.add_argument("--namespace", metavar="NS", default=NAMESPACE, help="default: default")
    parser.add_argument("--from", dest="from_", metavar="T", default="", help="only from this time on")
    parser.add_argument("--to", metavar="T", default="", help="only before this time")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="do not ask")
    how.add_argument("--dry-run", action="store_true", help="say how many there are, and delete nothing")
    parser.add_argument("--url", metavar="URL", help=f"address of neve; default: $NEVE_URL or {DEFAULT_URL}")
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, ask, delete; 1 where something stood in the way, or nobody said yes."""
    if args.data is not None and args.url is not None:
        raise ConfigError("cannot use both --data and --url", "give one of them")
    asked = {"q": args.query, "from": args.from_, "to": args.to, "namespace": args.namespace}
    if not args.yes:
        if not args.dry_run and not sys.stdin.isatty():
            raise ConfigError("cannot ask whether to delete: this is no terminal", "say --yes, or --dry-run")
        if _say_all(args, {**asked, "dry_run": True}):
            return FAILED
        if args.dry_run:
            return DONE
        if input("delete them for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return FAILED
    return FAILED if _say_all(args, asked) else DONE


def _say_all(args: argparse.Namespace, asked: dict[str, Any]) -> bool:
    failed = False
    if args.data is None and args.config is None:
        for said in asked_there(args.url, "/cold/delete", asked):
            failed |= tell(said)
        return failed
    clickhouse, config = local(args.data, args.config)
    with Hot(clickhouse) as hot:
        hot.migrate()
        for said in delete_there(hot, clickhouse, ColdTier(stored_over(config, hot)), asked):
            failed |= tell(said)
    return failed


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
    ager.say("done", namespace, left, hot=in_hot, cold=in_cold)
