"""The command `neve mcp`; what it needs is imported when it runs, since no other command does."""

from __future__ import annotations

import argparse
from typing import Any

from storage.address import add_address
from storage.errors import NeveError


def add_commands(subparsers: Any) -> None:
    """Add the command to an argparse sub-parsers object."""
    text = "search as tools of the Model Context Protocol, over standard input and output"
    parser = subparsers.add_parser("mcp", help=text, description=text)
    add_address(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    try:
        from query import mcp_server
    except ModuleNotFoundError as error:
        raise NeveError(f"cannot serve tools: {error.name} is missing", "pip install 'neve[mcp]'") from None
    return mcp_server.run(args)
