"""`neve lex`: fingerprints and templates of lines, for a look at what the lexer makes of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from lexer._lexer import Lexer
from lexer.errors import PinsInvalid
from lexer.patterns import learn
from lexer.pins import Pins, read_pins


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lex`."""
    parser = commands.add_parser("lex", help="print the fingerprint and the template of each line")
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="a file, or - for standard input"
    )
    parser.add_argument(
        "--patterns", action="store_true", help="print patterns instead, learnt over the whole input"
    )
    parser.add_argument(
        "--pins", type=Path, metavar="FILE", help="a TOML file that pins, names, splits and merges patterns"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line for each line read. 1 where the file can't be read, 2 where the pins can't."""
    try:
        pins = read_pins(args.pins) if args.pins else Pins()
    except PinsInvalid as error:
        print(f"neve: {error}", file=sys.stderr)
        return 2
    try:
        source = nullcontext(sys.stdin.buffer) if args.file == "-" else open(args.file, "rb")  # noqa: SIM115
    except OSError as error:
        print(f"neve: cannot read {Path(args.file)}: {error.strerror}; give a file or -", file=sys.stderr)
        return 1
    with source as stream:
        if args.patterns or args.pins:
            print_patterns(stream, sys.stdout.buffer, pins)
        else:
            print_templates(stream, sys.stdout.buffer)
    sys.stdout.flush()
    return 0


def lex(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Fingerprint and template of each line."""
    lexer = Lexer()
    for line in stream:
        lexer.lex(line.rstrip(b"\r\n"))
        yield lexer.fingerprint, lexer.template


def print_templates(stream: BinaryIO, out: BinaryIO) -> None:
    for fingerprint, template in lex(stream):
        write(out, fingerprint, template)


def print_patterns(stream: BinaryIO, out: BinaryIO, pins: Pins) -> None:
    """Two passes: patterns are known when all templates are."""
    templates = [template for _, template in lex(stream)]
    patterns = learn(templates, pins)
    for template in templates:
        write(out, patterns[template].id, patterns[template].template)


def write(out: BinaryIO, number: int, text: bytes) -> None:
    out.write(b"%016x\t%s\n" % (number, text.replace(b"\t", b"\\t")))
