"""`neve redact --preview`: what lines would look like, before anything is shipped."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from ingest.cli import add_redaction, redaction_of
from ingest.errors import UsageError
from lexer import Carry, Redaction
from lexer.errors import RedactionInvalid
from lexer.redaction import RedactionConfig

DONE, FAILED, USED_WRONGLY = 0, 1, 2


def add_commands(subparsers: Any) -> None:
    """Add `redact`."""
    help_ = "show what redaction makes of lines; nothing is stored"
    parser = subparsers.add_parser("redact", help=help_, description=help_)
    parser.add_argument("--preview", action="store_true", required=True, help="print the lines, masked")
    parser.add_argument("--changed", action="store_true", help="only lines that hold something to mask")
    parser.add_argument("files", nargs="*", default=["-"], metavar="FILE|-", help="default: standard input")
    add_redaction(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print; the counts of all masks come last, on standard error. Without classes or names, all are masked."""
    try:
        config = redaction_of(args)
        policy = (config if config.on else RedactionConfig(("all",), (), config.hash_key)).policy()
    except RedactionInvalid as error:
        print(f"neve redact: {UsageError(error.message, error.hint)}", file=sys.stderr)
        return USED_WRONGLY
    assert policy is not None
    counts: Counter[str] = Counter()
    for name in args.files:
        try:
            with open(0 if name == "-" else name, "rb") as file:
                for line, masked in _lines(file, policy, counts):
                    if not args.changed or line != masked:
                        sys.stdout.buffer.write(masked + b"\n")
        except BrokenPipeError:
            raise  # of standard output, which nobody reads any more
        except OSError as error:
            print(f"neve redact: cannot read {name}: {(error.strerror or '').lower()}", file=sys.stderr)
            return FAILED
    sys.stdout.flush()
    said = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "nothing"
    print(f"neve redact: masked {said}", file=sys.stderr)
    return DONE


def _lines(file: BinaryIO, policy: Redaction, counts: Counter[str]) -> Iterator[tuple[bytes, bytes]]:
    carry = Carry()
    for line in file:
        text = line.rstrip(b"\r\n")
        masked, found = policy.mask(text, carry)
        counts.update(found)
        yield text, masked
