"""Sleeping until a folder changes: inotify where there is one, a poll in any case."""

import os
import threading
from collections.abc import Iterable

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

POLL_SECONDS = 0.25
"""How long a change can stay unseen where inotify tells nothing (network file systems, too few watches)."""
SETTLE_SECONDS = 0.03
"""Sleep at least so long between two passes: a line at a time costs more than a chunk, and nobody sees 30 ms.
"""
_STEP_MS = 5
_MODIFIED = 2


class Wake:
    """Sleeps for the reading thread. `stop` ends every sleep at once."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._folders: frozenset[str] = frozenset()
        self._notify: RustNotify | None = None

    def watch(self, folders: Iterable[str]) -> None:
        """Look at these folders from now on (not below them); those that cannot be watched are polled."""
        wanted = frozenset(folder for folder in folders if os.path.isdir(folder))
        if wanted == self._folders:
            return
        self.close()
        self._folders = wanted
        if wanted:
            try:
                self._notify = RustNotify(sorted(wanted), False, False, 0, False, True)
            except (
                OSError,
                WatchfilesRustInternalError,
            ):  # no inotify, or none left: the poll alone has to do
                self._notify = None

    def sleep(self, seconds: float = POLL_SECONDS) -> bool:
        """Return when a watched folder changed, after `seconds` at the latest, at once when stopped.

        True if files came, went or were renamed.
        """
        if self._stop.wait(min(SETTLE_SECONDS, seconds)):
            return False
        rest = int((seconds - SETTLE_SECONDS) * 1000)
        if rest <= 0:
            return False
        if self._notify is None:
            self._stop.wait(rest / 1000)
            return False
        changes = self._notify.watch(_STEP_MS, _STEP_MS, rest, self._stop)
        return isinstance(changes, set) and any(kind != _MODIFIED for kind, _ in changes)

    def close(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        self._folders = frozenset()
