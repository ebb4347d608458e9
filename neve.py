"""The one program: its commands are those of the rooms, wired together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from storage.errors import ConfigError, NeveError
from storage.lean import load_lean
from storage.sections import meant

DONE, FAILED, MISUSED = 0, 1, 2
EPILOG = "neve COMMAND --help says more of each"
ROOMS = {
    "ship": "ingest.cli",
    "lex": "lexer.cli",
    "serve": "neve_serve",
    "config": "neve_config",
    "keys": "neve_admin",
    "roles": "neve_admin",
    "namespaces": "neve_admin",
    "search": "query.cli",
    "mcp": "query.mcp_cli",
    "tail": "query.cli",
    "patterns": "query.cli",
    "fields": "query.cli",
    "context": "query.cli",
    "status": "ingest.operate",
    "deadletter": "ingest.operate",
    "evict": "ingest.operate",
    "age": "neve_cold_cli",
    "delete": "neve_cold_cli",
    "restore": "neve_cold_cli",
    "backup": "neve_backup_cli",
    "alerts": "neve_alerts",
    "canary": "ingest.canary",
    "redact": "ingest.redact",
    "completion": "neve_completion",
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the rest is."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(MISUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of all commands; of one room's alone where `command` tells which: loading them all takes a second."""
    parser = Parser(prog="neve", description="Log ingestion and search.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"neve {version('neve')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for room in [ROOMS[command]] if command in ROOMS else dict.fromkeys(ROOMS.values()):
        import_module(room).add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 used wrongly."""
    load_lean()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-") and arguments[0] not in ROOMS:
        near = meant(arguments[0], list(ROOMS), "commands")
        print(f"neve: there is no command {arguments[0]!r}; {near}", file=sys.stderr)
        return MISUSED
    args = build_parser(arguments[0] if arguments else "").parse_args(arguments)
    try:
        return int(args.run(args))
    except NeveError as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"neve: {error.message}{hint}", file=sys.stderr)
        return MISUSED if isinstance(error, ConfigError) else FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe left: nothing more to say, and nobody to say it to
        return FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
