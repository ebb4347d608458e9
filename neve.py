"""The one program: its commands are those of the rooms, wired together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import ingest.cli
import lexer.cli
import neve_serve
import query.cli
from storage.errors import ConfigError, NeveError

DONE, FAILED, MISUSED = 0, 1, 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the rest is."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(MISUSED, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="neve", description="Log ingestion and search.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for room in (neve_serve, ingest.cli, query.cli, lexer.cli):
        room.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0 done, 1 failed, 2 used wrongly."""
    args = build_parser().parse_args(arguments)
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
