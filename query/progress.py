"""A line on the terminal that says a long command still works. Standard output is for answers, so it is on stderr."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

PATIENCE_SECONDS = 0.5  # most answers are there by then
TICK_SECONDS = 0.2
ERASE = "\r\x1b[K"


class Progress:
    """For a with statement. Shows itself only on a terminal, and not before somebody would wonder."""

    def __init__(self, out: TextIO | None = None, *, wanted: bool = True) -> None:
        self._out = out or sys.stderr
        self._wanted = wanted and self._out.isatty()
        self._begun = time.monotonic()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._shown = False
        self.lines = 0  # that were written elsewhere

    def __enter__(self) -> Progress:
        if self._wanted:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if self._wanted:
            self._thread.join()

    def end(self) -> None:
        """Take the line away, for good. Harmless when repeated."""
        self._done.set()
        with self._lock:
            if self._shown:
                self._shown = False
                self._out.write(ERASE)
                self._out.flush()

    def text(self) -> str:
        """What the line says now."""
        seconds = f"{time.monotonic() - self._begun:.0f} s"
        return f"{self.lines:,} lines, {seconds}" if self.lines else f"searching, {seconds}"

    def _run(self) -> None:
        pause = PATIENCE_SECONDS
        while not self._done.wait(pause):
            pause = TICK_SECONDS
            with self._lock:
                if self._done.is_set():
                    return
                self._shown = True
                self._out.write(f"{ERASE}{self.text()}")
                self._out.flush()
