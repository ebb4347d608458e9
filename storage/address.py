"""Where a running Neve is: what every command that talks to one takes."""

from __future__ import annotations

import os
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8780"


def add_address(parser: Any, also_to: bool = False, what: str = "address of neve") -> None:
    """Add `--url`, as `url`; where `--to` is no time it means the same, and both are `to`."""
    names = ("--to", "--url") if also_to else ("--url",)
    help_ = f"{what}; default: $NEVE_URL or {DEFAULT_URL}"
    parser.add_argument(*names, dest=names[0].strip("-"), metavar="URL", help=help_)


def address(url: str | None) -> str:
    """What was given, else what the environment says, else this machine's."""
    return url or os.environ.get("NEVE_URL") or DEFAULT_URL
