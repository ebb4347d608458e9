"""Answers as text: for a terminal with colour and alignment, for a pipe plain."""

from __future__ import annotations

import base64
import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from query import zones
from query.progress import Progress

COLOURS = {
    "trace": "90", "debug": "90", "info": "32", "notice": "36", "warn": "33",
    "error": "31", "critical": "1;31", "fatal": "1;41",
}  # fmt: skip
DIM = "90"
BOLD = "1"
MAX_CELL = 120  # characters of one cell on a terminal


class Screen:
    """Where answers go. `colour` auto: on a terminal, unless NO_COLOR is set; `local`: times of this machine's zone."""

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        colour: str = "auto",
        local: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.out = out or sys.stdout
        self.terminal = self.out.isatty()
        auto = self.terminal and not os.environ.get("NO_COLOR")
        self.colour = auto if colour == "auto" else colour == "always"
        self._local = local
        self._progress = progress

    def time(self, time: str) -> str:
        """A time of the API as it is to be shown."""
        return zones.shown(time, local=self._local)

    def _moved_on(self) -> None:
        """Something is shown: where answers are for a terminal, they are the progress."""
        if self._progress is not None:
            self._progress.lines += 1
            if self.terminal:
                self._progress.end()

    def done(self) -> None:
        """Nothing more is shown here: what is said on standard error may begin."""
        if self._progress is not None:
            self._progress.end()

    def line(self, text: str) -> None:
        self._moved_on()
        print(text, file=self.out, flush=self.terminal)

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and text else text

    def safe(self, text: str) -> str:
        """A log's text must not drive the terminal that shows it; a pipe gets it as it is, but on one line."""
        if not self.terminal:
            return text.replace("\n", "\\n").replace("\r", "\\r")
        return "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)

    def raw(self, event: Mapping[str, Any]) -> None:
        """The message alone; in a pipe its very bytes."""
        encoded = event.get("message_base64")
        if encoded is None or self.terminal:
            self.line(self.safe(event["message"]) if self.terminal else event["message"])
            return
        self._moved_on()
        self.out.flush()
        buffer = getattr(self.out, "buffer", None)
        if buffer is not None:
            buffer.write(base64.b64decode(encoded) + b"\n")

    def event(self, event: Mapping[str, Any]) -> None:
        """One line: time, level, service, host, message, tags."""
        level = event["level"]
        head = [
            self.paint(self.time(event["timestamp"]), DIM),
            self.paint(f"{level or '-':<5}", COLOURS.get(level, DIM)),
        ]
        head.append(self.paint(self.safe(event["service"] or "-"), BOLD))
        head.append(self.paint(self.safe(event["host"] or "-"), DIM))
        tags = " ".join(
            f"{self.safe(key)}={_quoted(self.safe(value))}"
            for key, value in event["tags"].items()
            if not (self.terminal and _said(key, value, event["message"]))
        )
        self.line(" ".join([*head, self.safe(event["message"]), self.paint(tags, DIM)]).rstrip())

    def table(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Aligned columns on a terminal; in a pipe tabs between them, and each row as it comes."""
        cells = ([self.safe(_cell(value)) for value in row] for row in rows)
        if not self.terminal:
            for row in itertools.chain([list(names)], cells):
                self.line("\t".join(cell.replace("\t", "\\t") for cell in row))
            return
        cut = [[cell[:MAX_CELL] for cell in row] for row in cells]
        widths = [max(map(len, column)) for column in zip(names, *cut, strict=True)]
        self.line(
            self.paint("  ".join(f"{n:<{w}}" for n, w in zip(names, widths, strict=True)).rstrip(), BOLD)
        )
        for row in cut:
            self.line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _said(key: str, value: str, message: str) -> bool:
    """Whether the message itself has the tag, which need not be read twice."""
    pair = f"{key}={value}"
    at = message.find(pair)
    after = message[at + len(pair) :][:1]
    return at >= 0 and (at == 0 or message[at - 1].isspace()) and (not after or after.isspace())


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_quoted(str(item))}" for key, item in value.items())
    return str(value)


def _quoted(value: str) -> str:
    if value and not any(c.isspace() or c in '"=' for c in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
