"""A pager for what is longer than the screen, as git has it: on a terminal answers go through one.

`NEVE_PAGER`, else `PAGER`, else `less` says which; empty, or `cat`: none. With `LESS` unset, less ends by itself when
all fits on the screen, shows colours, and leaves what it showed.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

LESS = "FRX"


def command() -> list[str]:
    """What to start; empty for none."""
    for name in ("NEVE_PAGER", "PAGER"):
        if (said := os.environ.get(name)) is not None:
            try:
                words = shlex.split(said)
            except ValueError as error:
                print(f"neve: cannot read {name}: {str(error).lower()}; set it to a command", file=sys.stderr)
                return []
            return [] if words in ([], ["cat"]) else words
    return ["less"] if shutil.which("less") else []


class Pager(io.TextIOBase):
    """Starts the pager when there is something to show: an error alone needs none."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[str] | None = None
        self._to: IO[str] | None = None

    def write(self, text: str) -> int:
        """Raises BrokenPipeError where the reader has seen enough."""
        return (self._to or self._start()).write(text)

    def flush(self) -> None:
        if self._to is not None:
            self._to.flush()

    def isatty(self) -> bool:
        return True

    def wait(self) -> None:
        """Until its reader has left it. Ctrl-C is for the pager meanwhile, which goes on."""
        if self._process is None or self._to is None:
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with suppress(BrokenPipeError):
                self._to.close()
            self._process.wait()
        finally:
            signal.signal(signal.SIGINT, before)

    def _start(self) -> IO[str]:
        environment = {"LESS": LESS, **os.environ}
        try:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, text=True, errors="surrogateescape", env=environment
            )
            self._to = self._process.stdin
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            print(f"neve: cannot start pager {self._words[0]}: {reason}; set PAGER", file=sys.stderr)
        self._to = self._to or sys.stdout
        return self._to


@contextmanager
def paged(*, wanted: bool) -> Iterator[TextIO | None]:
    """Where to write; None: to standard output, because that is no terminal, or there is no pager."""
    words = command() if wanted and sys.stdout.isatty() else []
    if not words:
        yield None
        return
    pager = Pager(words)
    try:
        yield pager  # type: ignore[misc]  # all of a TextIO that is used
    finally:
        pager.wait()
