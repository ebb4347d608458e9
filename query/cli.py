"""`neve search`, `tail`, `patterns`, `fields` and `context`: what the API does, for a terminal and for scripts.

Each command sets `run`, which takes the parsed arguments and gives the exit code: 0 done, 1 failed or incomplete,
2 used wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from query import cli_patterns
from query.client import Client
from query.errors import RequestInvalid
from query.follow import event_of, follow, followed
from query.pager import paged
from query.progress import Progress
from query.terminal import Screen
from query.zones import typed
from storage.address import add_address, address
from storage.errors import NeveError

SHARD = "shard:"  # starts what `limits_hit` has of a shard that is away
EVENTS = 100  # that a search shows, where nothing else is said
FOLLOWED_FIRST = 10  # lines that --follow starts with
AS_FIELD = re.compile(
    r"(?<!\S)([A-Za-z_][\w.@-]*)=([\w.@*-]+)(?!\S)"
)  # how others write what is `name:value` here
EXIT_CODES = (
    "a key comes from $NEVE_KEY or $NEVE_KEY_FILE; exit codes: 0 done, 1 failed or incomplete, 2 used wrongly"
)
EXAMPLES = """examples (docs/query.md has the language, docs/coming-from.md others' words for it):
  neve search 'level:>=error timeout -service:billing' --from 1h
  neve search '"connection refused" status:>=500' --from 2026-01-31T12:00 --to 2026-01-31T13:00
  neve search '* | stats count() as n by service, bin(5m)' --from 1h
  neve search 'trace_id:4bf92f3577b34da6a3ce929d0e0e4736' --oldest --json"""
Command = Callable[[argparse.Namespace, Client, Screen], bool]


def add_commands(subparsers: Any) -> None:
    """Add the commands to an argparse sub-parsers object."""
    _add_search(subparsers)
    tail = _command(subparsers, "tail", _tail, "events as they arrive, until Ctrl-C")
    tail.add_argument(
        "query", nargs="*", metavar="QUERY", help="what to watch for; nothing watches everything"
    )
    tail.add_argument("--namespace", metavar="NS")
    tail.add_argument("--raw", action="store_true", help="the messages alone")
    tail.set_defaults(follow=True)
    patterns = _command(subparsers, "patterns", _patterns, "the shapes of messages, most common first")
    _query_options(patterns)
    cli_patterns.add_options(patterns)
    patterns.set_defaults(follow=False)
    fields = _command(subparsers, "fields", _fields, "the fields that events have, or the values of one")
    fields.add_argument("name", nargs="?", help="a field, to list its values")
    _range_options(fields)
    fields.add_argument("--query", default="", metavar="QUERY", help="only in what this finds")
    fields.add_argument("--limit", type=int, metavar="N", help="how many")
    fields.set_defaults(follow=False)
    context = _command(subparsers, "context", _context, "the lines around one event")
    context.add_argument("id", help="an event's id")
    context.add_argument("--before", type=int, default=10, metavar="N", help="lines before it (10)")
    context.add_argument("--after", type=int, default=10, metavar="N", help="lines after it (10)")
    context.add_argument("--namespace", metavar="NS")
    context.set_defaults(follow=False)


def _add_search(subparsers: Any) -> None:
    search = _command(subparsers, "search", _search, "find events, newest first; with pipes, a table")
    search.formatter_class = argparse.RawDescriptionHelpFormatter
    search.epilog = f"{EXAMPLES}\n\n{EXIT_CODES}"
    _query_options(search)
    search.add_argument("--limit", type=int, metavar="N", help="how many events (100)")
    search.add_argument("--oldest", action="store_true", help="oldest first")
    search.add_argument("--raw", action="store_true", help="the messages alone")
    search.add_argument(
        "--tags", metavar="A,B", help="these tags of events alone, which costs less; '' for none"
    )
    search.add_argument("--follow", action="store_true", help="go on with what arrives, until Ctrl-C")


def _command(subparsers: Any, name: str, work: Command, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help_, description=help_, epilog=EXIT_CODES
    )
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colours; auto: on a terminal"
    )
    zone = parser.add_mutually_exclusive_group()
    zone.add_argument("--utc", action="store_false", dest="local", help="times in UTC (the default)")
    zone.add_argument(
        "--local", action="store_true", help="times in this machine's zone, also those typed without one"
    )
    parser.add_argument(
        "--no-pager", action="store_false", dest="pager", help="long answers straight to the terminal"
    )
    parser.set_defaults(local=False, run=lambda args: _run(args, work))
    return parser


def _query_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", nargs="*", metavar="QUERY", help="what to find; nothing finds everything")
    _range_options(parser)


def _range_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="from_", metavar="T", help="from this time on: 15m, 2026-01-31T12:00:00Z, …"
    )
    parser.add_argument("--to", metavar="T", help="before this time")
    parser.add_argument("--namespace", metavar="NS")


def _run(args: argparse.Namespace, work: Command) -> int:
    try:
        client = Client(address(args.url))
        try:
            still = not getattr(args, "follow", True)
            with Progress(wanted=still) as progress, paged(wanted=still and args.pager) as out:
                screen = Screen(out, colour=args.color, local=args.local, progress=progress)
                return 0 if work(args, client, screen) else 1
        finally:
            client.close()
    except NeveError as error:
        print(f"neve: {error}", file=sys.stderr)
        return 2 if error.status in (400, 404, 405, 413, 422) else 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `| head` has seen enough, or the pager was left
        if not sys.stdout.isatty():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _asked(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    query = args.query if isinstance(args.query, str) else " ".join(args.query)
    low, high = (typed(time, local=args.local) for time in (args.from_, args.to))
    return {"q": query, "from": low, "to": high, "namespace": args.namespace, **more}


# --- search ------------------------------------------------------------------------------------------------


def _search(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    if args.follow and args.oldest:
        raise RequestInvalid(
            "cannot use --oldest with --follow: it begins with the last events", "leave one of them out"
        )
    if args.follow:
        return _follow(args, client, screen)
    order = "oldest" if args.oldest else None
    stats: dict[str, Any] = {}
    shown = 0
    items = client.search(_asked(args, limit=_limit(args), order=order, tags=_tags(args)))
    for item in items:
        if "columns" in item:
            _show_table(args, screen, item["columns"], _rows(items, stats))
        elif "stats" in item:
            stats = item["stats"]
        else:
            _show_event(args, screen, item)
        shown += "stats" not in item
    screen.done()
    if not shown and not args.json and sys.stderr.isatty():
        print(f"neve: {nothing(' '.join(args.query), args.from_ or args.to)}", file=sys.stderr)
    return _complete(stats)


def nothing(query: str, ranged: str | None) -> str:
    """What to say on a terminal where nothing was found."""
    if meant := AS_FIELD.search(query):
        name, value = meant.groups()
        return f"nothing found; {meant[0]} is looked for in messages, a field is written {name}:{value}"
    return f"nothing found; {'widen --from and --to, or ' if ranged else ''}ask for less"


def _tags(args: argparse.Namespace) -> str | None:
    """Those to ask for; None: all."""
    if args.tags is None and args.raw and not args.json:
        return ""  # none is shown
    tags: str | None = args.tags
    return tags


def _rows(items: Iterator[Any], stats: dict[str, Any]) -> Iterator[list[Any]]:
    """The rows of a table that is streamed; the statistics, which come last, are put aside."""
    for item in items:
        if isinstance(item, list):
            yield item
        else:
            stats.update(item["stats"])


def _limit(args: argparse.Namespace) -> int | None:
    """100 events by default. A table has a limit of its own, so a query with pipes says none."""
    query = " ".join(args.query)
    if args.limit is None and "|" in query:
        from query.parse import has_pipes  # its grammar takes some time, and most queries need it not

        return None if has_pipes(query) else EVENTS
    return EVENTS if args.limit is None else args.limit


def _show_event(args: argparse.Namespace, screen: Screen, event: dict[str, Any]) -> None:
    if args.json:
        screen.line(json.dumps(event, ensure_ascii=not screen.terminal))
    elif getattr(args, "raw", False):
        screen.raw(event)
    else:
        screen.event(event)


def _show_table(
    args: argparse.Namespace, screen: Screen, columns: list[dict[str, Any]], rows: Iterator[list[Any]]
) -> None:
    times = [] if args.json else [i for i, column in enumerate(columns) if column["type"] == "time"]

    def shown(row: list[Any]) -> list[Any]:
        for i in times:
            row[i] = row[i] and screen.time(row[i])
        return row

    _show_rows(args, screen, [column["name"] for column in columns], map(shown, rows))


def _show_rows(args: argparse.Namespace, screen: Screen, names: list[str], rows: Iterable[list[Any]]) -> None:
    if not args.json:
        screen.table(names, rows)
        return
    for row in rows:
        screen.line(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=not screen.terminal))


def _complete(stats: dict[str, Any]) -> bool:
    """Say on stderr when an answer lacks something."""
    if stats.get("complete"):
        return True
    hit = stats.get("limits_hit", [])
    away = [name.removeprefix(SHARD) for name in hit if name.startswith(SHARD)]
    limits = [name for name in hit if not name.startswith(SHARD)]
    if away:
        print(f"neve: answer is incomplete: without shard {', '.join(away)}, which is away", file=sys.stderr)
    if limits or not away:
        what = ", ".join(limits) or "the answer broke off"
        print(
            f"neve: answer is incomplete: limit on {what}; narrow the time range or the filter",
            file=sys.stderr,
        )
    return False


def _follow(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    """The last few events, then what arrives."""
    count = args.limit if args.limit is not None else FOLLOWED_FIRST
    watched = {"q": " ".join(args.query), "namespace": args.namespace}
    shown = _tags(args)
    asked = _asked(args, limit=min(count, 10_000), tags=shown)
    for event in followed(client, watched, asked, _complete):
        if shown is not None:  # of what arrives all come
            names = shown.split(",")
            event = {**event, "tags": {key: value for key, value in event["tags"].items() if key in names}}
        _show_event(args, screen, event)
        screen.out.flush()
    return True


def _tail(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    asked = {"q": " ".join(args.query), "namespace": args.namespace}
    for told in follow(client, asked):
        if (event := event_of(told)) is not None:
            _show_event(args, screen, event)
            screen.out.flush()
    return True


# --- the others --------------------------------------------------------------------------------------------


def _patterns(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    return _complete(cli_patterns.show(args, client, screen, _asked(args)))


def _fields(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    asked = _asked(args, limit=args.limit)
    if args.name is None:
        answer = client.get("/api/v1/fields", asked)
        found = [[f["name"], f["kind"], f["type"], f["count"]] for f in answer["fields"]]
        _show_rows(args, screen, ["name", "kind", "type", "count"], found)
    else:
        answer = client.get(f"/api/v1/fields/{quote(args.name, safe='')}/values", asked)
        found = [[v["value"], v["count"]] for v in answer["values"]]
        _show_rows(args, screen, ["value", "count"], found)
    return _complete(answer["stats"])


def _context(args: argparse.Namespace, client: Client, screen: Screen) -> bool:
    asked = {"id": args.id, "before": args.before, "after": args.after, "namespace": args.namespace}
    answer = client.get("/api/v1/context", asked)
    for index, event in enumerate(answer["events"]):
        if screen.terminal and not args.json:
            screen.out.write(">" if index == answer["index"] else " ")
        _show_event(args, screen, event)
    return _complete(answer["stats"])
