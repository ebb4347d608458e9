"""`neve ship`: the agent on the command line."""

import argparse
import queue
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ingest.batch import DEFAULT_NAMESPACE, Labels
from ingest.errors import StateInUse, UsageError
from ingest.pipeline import Agent, AgentSettings, default_state
from ingest.progress import Progress, summary
from ingest.sources.journal import JournalSettings
from ingest.spool import DEFAULT_QUOTA_BYTES
from lexer import Multiline, Redaction
from lexer.errors import RedactionInvalid
from lexer.redaction import ALL, RedactionConfig
from storage.access.carried import carried
from storage.address import DEFAULT_URL, address
from storage.config import SCHEMES, ClickHouseConfig, without_password
from storage.errors import ConfigError, NeveError
from storage.processes import give_memory_back
from storage.schema import namespace_database

DONE, FAILED, USED_WRONGLY = 0, 1, 2
MAX_PIPES = 64
"""Agents on standard input that may share a default state folder's place, each with a folder of its own."""


def add_commands(subparsers: Any) -> None:
    """Add this package's commands to the program's."""
    parser = subparsers.add_parser(
        "ship",
        help="ship log lines from files or standard input",
        description="Follow files over rotation, or read standard input, and ship every line exactly once.",
        epilog=_EPILOG,
    )
    parser.add_argument("sources", nargs="*", metavar="PATH|GLOB|-", help=_SOURCES_HELP)
    parser.add_argument(
        "--journal", action="store_true", help="read systemd's journal too, all of it at first"
    )
    parser.add_argument(
        "--unit",
        metavar="U",
        action="append",
        default=[],
        help="of the journal only this unit; may be repeated",
    )
    parser.add_argument(
        "--journal-directory",
        metavar="DIR",
        type=Path,
        help="read the journal files in DIR; default: this machine's",
    )
    parser.add_argument("--to", "--url", dest="to", metavar="URL", action="append", help=_TO_HELP)
    parser.add_argument(
        "--namespace", default=DEFAULT_NAMESPACE, help="where the lines are stored; default: %(default)s"
    )
    parser.add_argument("--service", default="", help="service of every line; default: the file's name")
    parser.add_argument(
        "--host", default=socket.gethostname(), help="host of every line; default: %(default)s"
    )
    parser.add_argument(
        "--tag", metavar="K=V", action="append", default=[], help="a tag of every line; may be repeated"
    )
    parser.add_argument(
        "--format", choices=("auto", "text", "json", "logfmt"), default="auto", help=_FORMAT_HELP
    )
    parser.add_argument("--container", action="store_true", help=_CONTAINER_HELP)
    parser.add_argument("--multiline", metavar="HOW", help=_MULTILINE_HELP)
    parser.add_argument(
        "--once", action="store_true", help="read to the end, wait for acknowledgement, and exit"
    )
    parser.add_argument("--state", metavar="DIR", type=Path, help=_STATE_HELP)
    parser.add_argument(
        "--spool-mib", metavar="N", type=int, default=DEFAULT_QUOTA_BYTES >> 20, help=_SPOOL_HELP
    )
    add_redaction(parser)
    who = parser.add_argument_group("who ships", "a key also from $NEVE_KEY or $NEVE_KEY_FILE")
    who.add_argument("--key-file", metavar="FILE", type=Path, help="a file with an API key of scope ingest")
    who.add_argument(
        "--cert", metavar="FILE", default="", help="PEM file of a client certificate; also $NEVE_CERT"
    )
    who.add_argument(
        "--key", metavar="FILE", default="", help="PEM file of its private key; also $NEVE_CERT_KEY"
    )
    who.add_argument(
        "--ca", metavar="FILE", default="", help="PEM file of the authorities to trust; also $NEVE_CA"
    )
    parser.set_defaults(run=run)


def add_redaction(parser: argparse.ArgumentParser) -> None:
    """The options that say what is masked."""
    parser.add_argument("--redact", metavar="CLASS,…", action="append", default=[], help=_REDACT_HELP)
    parser.add_argument("--redact-key", metavar="NAME,…", action="append", default=[], help=_REDACT_KEY_HELP)
    parser.add_argument("--redact-hash", metavar="KEYFILE", default="", help=_REDACT_HASH_HELP)


def redaction_of(args: argparse.Namespace) -> RedactionConfig:
    """What the options of `add_redaction` say."""
    classes, keys = (
        tuple(name.strip() for given in texts for name in given.split(",") if name.strip())
        for texts in (args.redact, args.redact_key)
    )
    return RedactionConfig(classes, keys, args.redact_hash)


_REDACT_HELP = f"mask these before anything is written: {', '.join(ALL)}, secrets, or all; docs/redaction.md"
_REDACT_KEY_HELP = "mask the values of keys by these names, too"
_REDACT_HASH_HELP = "a file of 16 to 64 bytes: masks show a hash under this key, the same for equal values"
_TO_HELP = (
    "a gateway, or clickhouse://user:password@host:port; several gateways, repeated or with commas: what one does not "
    f"take goes to the next; default: $NEVE_URL or {DEFAULT_URL}"
)
_FORMAT_HELP = "how to read lines; auto takes a line that starts with { as JSON; default: auto"
_CONTAINER_HELP = (
    "take off what container runtimes (containerd, CRI-O) put before each line; without asking for the files of "
    "/var/log/containers and /var/log/pods, which get the names of pod, namespace and container as tags, too"
)
_SOURCES_HELP = "files, globs in quotes, folders (all files below); - is standard input"
_MULTILINE_HELP = (
    "lines that are one record: java, python or go (stack traces; several with commas), auto (all of them, and "
    "lines that start with white space), or start:REGEX (a record starts where a line matches from its "
    "beginning); default: every line is a record"
)
_EPILOG = "Exit codes: 0 done, 1 failed, 2 used wrongly. docs/delivery.md says what happens to files that are rotated."
_SPOOL_HELP = "what may wait on disk to be sent, in MiB; beyond it, reading pauses; default: %(default)s"
_STATE_HELP = "spool and checkpoints; default: a folder below ~/.local/state/neve for each URL and namespace"


def run(args: argparse.Namespace) -> int:
    """Ship; return the exit code."""
    give_memory_back()
    try:
        agent = _open(args)
    except (UsageError, ConfigError) as error:
        return _fail(error, USED_WRONGLY)
    except (NeveError, OSError) as error:
        return _fail(error, FAILED)
    with Progress(agent), _signals(agent) as stopped:
        try:
            agent.run()
        except (NeveError, OSError) as error:
            return _fail(error, FAILED)
    return _finish(agent, once=args.once, stopped=stopped.is_set())


def _finish(agent: Agent, *, once: bool, stopped: bool) -> int:
    for line in agent.counters.news():
        print(f"neve ship: warning: {line}", file=sys.stderr)
    if once:
        print(summary(agent))
    if agent.unfinished:
        print(f"neve ship: {'stopped' if stopped else 'failed'}: {agent.unfinished}", file=sys.stderr)
    lost = agent.counters.get("blocks_refused") or agent.counters.troubles()
    return FAILED if once and (lost or agent.unfinished or stopped) else DONE


def _open(args: argparse.Namespace) -> Agent:
    """The agent that the arguments ask for. Raises UsageError, ConfigError, NeveError, OSError."""
    first, *others = _destinations(args.to)
    _check(args, [first, *others])
    settings = AgentSettings(
        sources=tuple(args.sources),
        to=first,
        others=tuple(others),
        state=args.state or default_state(first, args.namespace),
        namespace=args.namespace,
        labels=Labels(
            args.service,
            args.host,
            _tags(args.tag),
            args.format,
            _multiline(args.multiline, args.format),
            args.container,
        ),
        once=args.once,
        quota_bytes=args.spool_mib << 20,
        redaction=_redaction(args),
        journal=_journal(args),
        shown=carried(args.key_file, args.ca, args.cert, args.key),
    )
    if args.state is None and set(args.sources) == {"-"}:
        return _open_pipe(settings)
    return Agent(settings)


def _journal(args: argparse.Namespace) -> JournalSettings | None:
    if not args.journal:
        if args.unit or args.journal_directory:
            raise UsageError("cannot choose from the journal without reading it", "give --journal")
        if not args.sources:
            raise UsageError("cannot ship nothing", "name files, -, or give --journal")
        return None
    if args.journal_directory is not None and not args.journal_directory.is_dir():
        raise UsageError(f"cannot read journal: {args.journal_directory}", "give a folder with journal files")
    return JournalSettings(tuple(args.unit), args.journal_directory)


def _open_pipe(settings: AgentSettings) -> Agent:
    """Several agents may read pipes at once: each takes the first folder that is free."""
    for number in range(MAX_PIPES):
        try:
            return Agent(AgentSettings(**{**vars(settings), "state": settings.state / f"stdin-{number}"}))
        except StateInUse:
            continue
    raise StateInUse(
        f"cannot use state folder: {settings.state}: {MAX_PIPES} agents read standard input already"
    )


def _destinations(given: list[str] | None) -> list[str]:
    """The addresses of `--to`, each once."""
    texts = given or [address(None)]
    found = [one.strip() for text in texts for one in ([text] if _is_clickhouse(text) else text.split(","))]
    return list(dict.fromkeys(found))


def _is_clickhouse(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES


def _check(args: argparse.Namespace, destinations: list[str]) -> None:
    for to in destinations:
        scheme, separator, place = to.partition("://")
        if _is_clickhouse(to):
            ClickHouseConfig.from_url(to)
            if len(destinations) > 1:
                raise UsageError(
                    "cannot ship to clickhouse and to others", "give one --to, or gateways alone"
                )
        elif scheme not in ("http", "https") or not separator or not place.strip("/"):
            raise UsageError(
                f"cannot ship to: {without_password(to)}",
                "give http://host:port or clickhouse://user:password@host:port",
            )
    if args.spool_mib < 1:
        raise UsageError(f"cannot use spool of {args.spool_mib} MiB", "give 1 or more")
    if args.sources.count("-") > 1:
        raise UsageError("cannot read standard input twice: -", "give - once")
    try:
        namespace_database(args.namespace)
    except NeveError as error:
        raise UsageError(error.message, error.hint) from error


def _redaction(args: argparse.Namespace) -> Redaction | None:
    try:
        return redaction_of(args).policy()
    except RedactionInvalid as error:
        raise UsageError(error.message, error.hint) from None


def _tags(given: list[str]) -> dict[str, str]:
    tags = {}
    for one in given:
        key, separator, value = one.partition("=")
        if not key or not separator:
            raise UsageError(f"cannot read tag: {one}", "write --tag key=value")
        tags[key] = value
    return tags


def _multiline(how: str | None, format: str) -> Multiline | None:
    if how is None:
        return None
    if format not in ("auto", "text"):
        raise UsageError(f"cannot join lines of format: {format}", "leave out --multiline or --format")
    try:
        return Multiline(how)
    except ValueError as error:
        raise UsageError(str(error), "give java, python, go, auto or start:REGEX") from error


@contextmanager
def _signals(agent: Agent) -> Iterator[threading.Event]:
    """While inside, SIGINT and SIGTERM stop the agent cleanly, once; the second one kills."""
    stopped = threading.Event()
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def stop(number: int, _frame: FrameType | None) -> None:
        # Not an Event's `set`, which takes a lock that this very thread may hold when the signal comes.
        told.put(number)
        signal.signal(number, signal.SIG_DFL)

    def pass_on() -> None:
        if told.get():
            stopped.set()
            agent.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    follower = threading.Thread(target=pass_on, name="signals", daemon=True)
    follower.start()
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        told.put(0)
        follower.join()


def _fail(error: NeveError | OSError, code: int) -> int:
    if isinstance(error, NeveError):
        text = str(error)
    else:
        reason = (error.strerror or str(error)).lower()
        text = f"cannot use {error.filename or 'state folder'}: {reason}; give another folder with --state"
    print(f"neve ship: {text}", file=sys.stderr)
    return code
