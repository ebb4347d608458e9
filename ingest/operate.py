"""`neve status`, `neve deadletter`, `neve evict`: for whoever runs a server."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ingest import status
from ingest.deadletter import DeadLetters
from ingest.destination import Gateway
from ingest.errors import UsageError
from ingest.remote import Remote, ServerError
from ingest.replay import KEPT, REFUSED, replay_offline, send_again
from ingest.state import StateFolder
from storage.access.carried import carried
from storage.address import add_address
from storage.errors import NeveError

DONE, FAILED, USED_WRONGLY = 0, 1, 2
GATEWAY_FOLDER = "gateway"
"""Below the data folder of `neve serve`."""
WAIT_SECONDS = 10.0
"""How long a replay looks what becomes of the blocks."""


def add_commands(subparsers: Any) -> None:
    """Add this module's commands to the program's."""
    parser = _command(subparsers, "status", _status, "how the server is: what waits, since when, and why")
    add_address(parser, also_to=True)
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")

    parser = _command(subparsers, "evict", _evict, "take out an inserter that will not come back")
    parser.description = (
        "Lets the epochs go that an inserter holds. Its blocks whose outcome nobody knew are settled should it ever "
        "come back: those of a closed epoch exactly, while ClickHouse has that epoch; later they are set aside."
    )
    parser.add_argument("inserter", help="its name, as neve status shows it")
    add_address(parser, also_to=True)

    parser = subparsers.add_parser(
        "deadletter", help="blocks that were refused: list them, or try them again"
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _command(actions, "list", _list, "show the refused blocks, and why")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    replaying = _command(actions, "replay", _replay, "try refused blocks again; each is stored once")
    replaying.add_argument("ids", nargs="*", metavar="ID", help="ids, or how they start")
    replaying.add_argument("--all", action="store_true", help="every one")
    for one in (listing, replaying):
        one.add_argument("--state", metavar="DIR", type=Path, help="of an agent's state folder")
        one.add_argument("--data", metavar="DIR", type=Path, help="of a server that does not run")
        add_address(
            one, also_to=True, what="of a running server, or where to send with --state; address of neve"
        )


def _command(subparsers: Any, name: str, work: Callable[[argparse.Namespace], int], help_: str) -> Any:
    parser = subparsers.add_parser(name, help=help_, description=help_)
    parser.set_defaults(run=lambda args: _run(args, work))
    return parser


def _run(args: argparse.Namespace, work: Callable[[argparse.Namespace], int]) -> int:
    try:
        return work(args)
    except UsageError as error:
        print(f"neve: {error}", file=sys.stderr)
        return USED_WRONGLY
    except NeveError as error:
        print(f"neve: {error}", file=sys.stderr)
        return USED_WRONGLY if error.status in (400, 404, 422) and isinstance(error, ServerError) else FAILED
    except OSError as error:
        text = f"cannot use {error.filename or 'folder'}: {(error.strerror or str(error)).lower()}"
        print(f"neve: {text}; check the path and its rights", file=sys.stderr)
        return FAILED


# --- status, evict ------------------------------------------------------------------------------------------


def _status(args: argparse.Namespace) -> int:
    with Remote(args.to) as server:
        said = status.ask(server)
    print(json.dumps(said) if args.json else "\n".join(status.lines(said)))
    return FAILED if said["problems"] else DONE


def _evict(args: argparse.Namespace) -> int:
    with Remote(args.to) as server:
        answer = server.post("/gateway/evict", {"inserter": args.inserter})
    for one in answer["held"]:
        print(f"epoch {one['low']} of {one['namespace']} is not held any more by {answer['inserter']}")
    return DONE


# --- dead letters -------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    folder = _folder(args)
    if folder is not None:
        found = [one.to_json() for one in DeadLetters(folder / "deadletter").all()]
    else:
        with Remote(args.to) as server:
            found = server.get("/gateway/deadletter")["dead_letters"]
    for one in found:
        said = f"{one['id']}  {one['refused_at']}  {one['namespace'] or '?'}  {one['rows']:,} rows  {one['reason']}"
        print(json.dumps(one) if args.json else said)
    if not found and not args.json:
        print("no dead letters")
    return DONE


def _replay(args: argparse.Namespace) -> int:
    if args.ids and args.all:
        raise UsageError("cannot replay: ids and --all", "give one of them")
    if not args.ids and not args.all:
        raise UsageError("cannot replay: no ids", "give some, or --all")
    folder = _folder(args)
    if args.state is not None:
        return _replay_agent(args)
    if folder is not None:
        with StateFolder(folder) as state:
            outcomes = replay_offline(state, args.ids, every=args.all)
        return _tell(one.to_json() for one in outcomes)
    with Remote(args.to) as server:
        asked = {"ids": args.ids, "all": args.all, "seconds": WAIT_SECONDS}
        return _tell(server.post("/gateway/deadletter/replay", asked)["replayed"])


def _replay_agent(args: argparse.Namespace) -> int:
    dead_letters = DeadLetters(args.state / "deadletter")
    letters = dead_letters.choose(args.ids, every=args.all)
    with Remote(args.to) as server:
        gateway = Gateway(server.url, carried())
    try:
        return _tell(one.to_json() for one in send_again(dead_letters, letters, gateway))
    finally:
        gateway.close()


def _tell(outcomes: Iterable[dict[str, Any]]) -> int:
    code, none = DONE, True
    for one in outcomes:
        none = False
        print(
            f"{one['id']}  {one['rows']:,} rows  {one['state']}{': ' if one['reason'] else ''}{one['reason']}"
        )
        if one["state"] in (REFUSED, KEPT):
            code = FAILED
    if none:
        print("no dead letters")
    return code


def _folder(args: argparse.Namespace) -> Path | None:
    """The folder that is meant, None for a running server. Raises UsageError."""
    if args.state is not None and args.data is not None:
        raise UsageError("cannot use --state and --data at once", "give one of them")
    folder: Path | None = args.state if args.state is not None else args.data
    if folder is None:
        return None
    if args.data is not None:
        folder = folder / GATEWAY_FOLDER
    if not folder.is_dir():
        raise UsageError(
            f"cannot find folder: {folder}", "give the one that was used with neve ship or neve serve"
        )
    return folder
