"""Levels, in the order of OpenTelemetry, and the names that people type for them."""

from __future__ import annotations

LEVELS = ("trace", "debug", "info", "notice", "warn", "error", "critical", "fatal")
ALIASES = {
    "warning": "warn", "err": "error", "crit": "critical", "information": "info", "informational": "info",
    "dbg": "debug", "verbose": "trace", "severe": "error", "emerg": "fatal", "emergency": "fatal",
    "panic": "fatal", "alert": "critical",
}  # fmt: skip


def level_of(text: str) -> str | None:
    """The stored name of a level, in any case or a common alias; None when it is none."""
    lowered = text.lower()
    name = ALIASES.get(lowered, lowered)
    return name if name in LEVELS else None


def levels_where(op: str, level: str) -> tuple[str, ...]:
    """The levels that are `>=` (or another order) a level."""
    at = LEVELS.index(level)
    bounds = {">=": (at, None), ">": (at + 1, None), "<=": (0, at + 1), "<": (0, at)}
    low, high = bounds[op]
    return LEVELS[low:high]
