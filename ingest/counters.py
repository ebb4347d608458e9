"""What happened, by name: numbers that only grow, and what stands in the way now. Safe from any thread."""

import threading
from collections.abc import Callable, Mapping

REDACTED = "redacted_"
"""Starts the names of counters of masks, by class."""
LIMITS_HIT = "limits_hit_"
"""Starts the names of counters of requests that met a limit, by which."""


def redacted(counts: Mapping[str, int]) -> dict[str, int]:
    """Masks by class, of counters by name."""
    return {
        name.removeprefix(REDACTED).replace("_", "-"): count
        for name, count in counts.items()
        if name.startswith(REDACTED)
    }


class Counters:
    """Counts by name, and present troubles by subject, for progress lines, summaries and status answers."""

    def __init__(self, say: Callable[[str, str], None] = lambda _subject, _reason: None) -> None:
        """`say` is told of each trouble once, and with no reason when it is over."""
        self._say = say
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._log: list[str] = []

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + amount

    def add_all(self, counts: Mapping[str, int]) -> None:
        for name, amount in counts.items():
            self.add(name, amount)

    def get(self, name: str) -> int:
        with self._lock:
            return self._counts.get(name, 0)

    def all(self) -> dict[str, int]:
        with self._lock:
            return dict(sorted(self._counts.items()))

    def trouble(self, subject: str, reason: str) -> None:
        """Say that `subject` is in trouble; said again, it counts and is told only once."""
        with self._lock:
            if self._troubles.get(subject) == reason:
                return
            self._troubles[subject] = reason
            self._counts["warnings"] = self._counts.get("warnings", 0) + 1
            self._log.append(f"{subject}: {reason}")
        self._say(subject, reason)

    def well(self, subject: str) -> None:
        """Say that the trouble with `subject` is over, if there was one."""
        with self._lock:
            over = self._troubles.pop(subject, None) is not None
        if over:
            self._say(subject, "")

    def troubles(self) -> dict[str, str]:
        """What is in trouble now, and why."""
        with self._lock:
            return dict(self._troubles)

    def news(self) -> list[str]:
        """Troubles since the last call, one line each."""
        with self._lock:
            news, self._log = self._log, []
        return news
