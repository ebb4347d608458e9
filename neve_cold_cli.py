"""`neve age`, `neve restore` and `neve delete`: a server is asked, or the work is done here, beside it.

What only the latter needs is imported where it begins: the libraries of the cold tier take more than a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from neve_backup_cli import add_restore
from neve_steps import add_places, asked_there, beside, local, tell
from query.times import BadTime, parse_instant
from storage.address import add_address
from storage.errors import ConfigError

DONE, FAILED = 0, 1
AGE, RESTORE, DELETE = "/cold/age", "/cold/restore", "/cold/delete"
NAMESPACE = "default"
SECOND = 10**9


def add_commands(commands: Any) -> None:
    """Add `age`, `restore` and `delete`."""
    _add_age(commands)
    restoring = commands.add_parser("restore", help="make what was lost again from what is there")
    actions = restoring.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_restore_catalog(actions)
    _add_restore_range(actions)
    add_restore(actions)
    _add_delete(commands)


def _add_age(commands: Any) -> None:
    parser = commands.add_parser("age", help="move closed epochs to the cold tier, once")
    parser.add_argument("--namespace", metavar="NS", help="default: all")
    parser.add_argument(
        "--before", metavar="T", help="only epochs that had ended by then; default: all closed ones"
    )
    parser.add_argument("--now", action="store_true", help="close the present epoch first")
    parser.add_argument(
        "--grace", type=float, metavar="SECONDS", help="before the hot copy goes; default: configured"
    )
    add_places(parser)
    add_address(parser, also_to=True)
    parser.set_defaults(run=run_age)


def _add_restore_catalog(actions: Any) -> None:
    catalog = actions.add_parser(
        "catalog", help="point the catalog to the latest metadata files of the warehouse"
    )
    catalog.add_argument("--namespace", metavar="NS", help="default: all")
    catalog.add_argument("--replace", action="store_true", help="also where the catalog has the table")
    add_places(catalog)
    catalog.set_defaults(run=run_restore)


def _add_restore_range(actions: Any) -> None:
    thawing = actions.add_parser(
        "range", help="let a range of time come back from the cold tier to the hot one"
    )
    thawing.add_argument("--namespace", metavar="NS", default=NAMESPACE, help="default: default")
    thawing.add_argument("--from", dest="from_", metavar="T", required=True, help="from this time on")
    thawing.add_argument("--to", metavar="T", required=True, help="before this time")
    add_address(thawing)
    add_places(thawing)
    thawing.set_defaults(run=run_thaw)


def _add_delete(commands: Any) -> None:
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
    add_address(parser)
    add_places(parser)
    parser.set_defaults(run=run_delete)


def run_age(args: argparse.Namespace) -> int:
    """One pass, said step by step; 1 where something stood in the way."""
    if args.grace is not None and args.grace < 0:
        raise ConfigError(f"cannot use --grace: {args.grace}", "give seconds, 0 for none")
    if args.data is not None and args.to is not None:
        raise ConfigError("cannot use both --data and --to", "give one of them")
    asked = {
        "namespace": args.namespace,
        "before": _moment(args.before),
        "now": args.now,
        "grace": args.grace,
    }
    return _done(args, args.to, AGE, asked)


def run_restore(args: argparse.Namespace) -> int:
    """Point the catalog anew; every namespace is said."""
    from storage.cold import ColdTier
    from storage.hot import Hot
    from storage.restoring import restore, stored_namespaces

    clickhouse, config = local(args.data, args.config)
    cold = ColdTier(config)
    with Hot(clickhouse) as hot:
        hot.migrate()
        for namespace in [args.namespace] if args.namespace else stored_namespaces(cold.catalog):
            done = restore(hot, cold, namespace, replace=args.replace)
            print(f"{namespace}: snapshot {done.snapshot_id} of {done.metadata}")
    return DONE


def run_thaw(args: argparse.Namespace) -> int:
    """Let a range of time come back, said step by step; 1 where something stood in the way."""
    _one_place(args)
    asked = {"namespace": args.namespace, "from": args.from_, "to": args.to}
    return _done(args, args.url, RESTORE, asked)


def run_delete(args: argparse.Namespace) -> int:
    """Count, ask, delete; 1 where something stood in the way, or nobody said yes."""
    _one_place(args)
    asked = {"q": args.query, "from": args.from_, "to": args.to, "namespace": args.namespace}
    if not args.yes:
        if not args.dry_run and not sys.stdin.isatty():
            raise ConfigError("cannot ask whether to delete: this is no terminal", "say --yes, or --dry-run")
        if _done(args, args.url, DELETE, {**asked, "dry_run": True}):
            return FAILED
        if args.dry_run:
            return DONE
        if input("delete them for good? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return FAILED
    return _done(args, args.url, DELETE, asked)


def _one_place(args: argparse.Namespace) -> None:
    if args.data is not None and args.url is not None:
        raise ConfigError("cannot use both --data and --url", "give one of them")


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_instant(text, time.time_ns()) / SECOND
    except BadTime as error:
        raise ConfigError(f"cannot use --before: {error}") from None


def _done(args: argparse.Namespace, address: str | None, path: str, asked: dict[str, Any]) -> int:
    """Let the server at `address` do what is asked, or do it beside the one of `--data`; every step is said."""
    there = args.data is None and args.config is None
    failed = False
    for said in asked_there(address, path, asked) if there else _beside(args, path, asked):
        failed |= tell(said)
    return FAILED if failed else DONE


def _beside(args: argparse.Namespace, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from neve_cold import age_all, thaw_there
    from neve_delete import delete_there
    from storage.cold import ColdTier
    from storage.namespace_settings import stored_over

    work = {AGE: age_all, RESTORE: thaw_there, DELETE: delete_there}[path]
    with beside(args.data, args.config) as (shards, hot, config):
        cold, home = ColdTier(stored_over(config, hot)), shards.home
        yield from work(home.hot, home.config, cold, asked, shards if shards.several else None)
