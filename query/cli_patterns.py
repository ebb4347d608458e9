"""`neve patterns`: the shapes of messages, beside those of another time, or only what is new."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from query.client import Client
from query.errors import RequestInvalid
from query.terminal import Screen
from query.times import BadTime, parse_duration, parse_instant
from query.zones import typed

JUST_BEFORE = "-"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only `neve patterns` has."""
    parser.add_argument("--limit", type=int, metavar="N", default=50, help="how many (50)")
    parser.add_argument(
        "--compare", nargs="?", const=JUST_BEFORE, metavar="AGO",
        help="count them beside the same range so long ago: --compare=1d; by itself, the time just before",
    )  # fmt: skip
    parser.add_argument("--compare-from", metavar="T", help="… or beside any range, from this time")
    parser.add_argument("--compare-to", metavar="T", help="… to this time")
    parser.add_argument("--new-since", metavar="T", help="only those never seen before this time")


def ranges(args: argparse.Namespace, now: int) -> dict[str, Any]:
    """The range of a request, and the one to compare with."""
    local = args.local
    asked = {
        "from": typed(args.from_, local=local),
        "to": typed(args.to, local=local),
        "compare_from": typed(args.compare_from, local=local),
        "compare_to": typed(args.compare_to, local=local),
        "new_since": typed(args.new_since, local=local),
    }
    if args.compare is None:
        return asked
    if not asked["from"]:
        raise RequestInvalid("cannot use --compare: there is no start of the range", "say --from as well")
    low, high = _instant("--from", asked["from"], now), _instant("--to", asked["to"] or "now", now)
    ago = high - low if args.compare == JUST_BEFORE else _ago(args.compare)
    # One moment for both ranges, so that they do not move against one another.
    return {**asked, "from": low, "to": high, "compare_from": low - ago, "compare_to": high - ago}


def _instant(option: str, text: str, now: int) -> int:
    try:
        return parse_instant(text, now)
    except BadTime as error:
        raise RequestInvalid(
            f"cannot use {option}: {str(error).partition('; ')[0]}", "15m, 2026-01-31T12:00"
        ) from None


def _ago(text: str) -> int:
    try:
        return parse_duration(text)
    except BadTime:
        hint = "write --compare=1d, and the query before it where --compare stands alone"
        raise RequestInvalid(f"cannot use --compare: {text[:40]!r} is no duration", hint) from None


def show(args: argparse.Namespace, client: Client, screen: Screen, asked: dict[str, Any]) -> dict[str, Any]:
    """Ask and print; the statistics of the answer."""
    answer = client.get("/api/v1/patterns", {**asked, **ranges(args, time.time_ns()), "limit": args.limit})
    found = answer["patterns"]
    if args.json:
        for pattern in found:
            screen.line(json.dumps(pattern, ensure_ascii=not screen.terminal))
    else:
        compared = any(pattern["previous_count"] is not None for pattern in found)
        columns = ["count", "share", *(["before", "change"] if compared else [])]
        columns += ["first_seen"] if args.new_since else []
        columns += ["fingerprint", "template", *(["name"] if any(p["name"] for p in found) else [])]
        screen.table(columns, [[_cell(pattern, column, screen) for column in columns] for pattern in found])
    stats: dict[str, Any] = answer["stats"]
    return stats


def _cell(pattern: dict[str, Any], column: str, screen: Screen) -> Any:
    match column:
        case "share":
            return f"{pattern['share']:.2%}"
        case "before":
            return pattern["previous_count"]
        case "change":
            before = pattern["previous_count"]
            return f"{(pattern['count'] - before) / before:+.0%}" if before else "new"
        case "first_seen":
            return screen.time(pattern["first_seen"])
        case "name":
            return pattern["name"] or ""
    return pattern[column]
