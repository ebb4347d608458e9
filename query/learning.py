"""Patterns are learnt when somebody asks for them and there are templates that have none yet.

Any process may do so at any time: what is given stays, the same templates give the same patterns, and where two
processes learnt at once from different ones, the next learning joins what they told apart.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from lexer.book import Book
from lexer.errors import PinsInvalid
from lexer.pins import Pins, read_pins
from storage.errors import NeveError
from storage.patterns import Asks, add_entries, has_new_templates, read_entries, read_lines, read_templates

log = logging.getLogger("neve.query")


class Learner:
    """Keeps the patterns of namespaces up to date. Thread-safe: one learns, others answer with what there is."""

    def __init__(self, hot: Asks, pins_file: Path | None = None) -> None:
        self._hot = hot
        self._file = pins_file
        self._stamp: tuple[int, int] | None = None
        self._pins = Pins()
        self._settled: dict[str, Pins] = {}  # by namespace: what its table was brought to
        self._lock = threading.Lock()

    def load_pins(self) -> None:
        """Read the operators' file if it has changed. Raises PinsInvalid; the last good pins stay."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self._pins = read_pins(self._file) if self._file and stamp else Pins()

    def refresh(self, namespace: str) -> None:
        """Learn what is new. Where that can't be, answers go on with the patterns that there are."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._load_or_say()
            if self._settled.get(namespace) != self._pins or has_new_templates(self._hot, namespace):
                self._learn(namespace)
        except NeveError as error:
            log.info("cannot learn patterns of %s: %s", namespace, error)
        finally:
            self._lock.release()

    def _learn(self, namespace: str) -> None:
        book = Book(read_entries(self._hot, namespace), self._pins)
        changed = book.update(read_templates(self._hot, namespace), read_lines(self._hot, namespace))
        add_entries(self._hot, namespace, changed)
        self._settled[namespace] = self._pins

    def _load_or_say(self) -> None:
        try:
            self.load_pins()
        except PinsInvalid as error:
            log.warning("%s", error)

    def _look(self) -> tuple[int, int] | None:
        """What changes with the file; None without one."""
        try:
            found = self._file.stat() if self._file else None
        except FileNotFoundError:
            return None
        return (found.st_mtime_ns, found.st_size) if found else None
