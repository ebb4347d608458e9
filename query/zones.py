"""Times for people: as the API says them (UTC), or in the zone of the machine; typed ones likewise."""

from __future__ import annotations

from datetime import datetime


def shown(time: str, *, local: bool) -> str:
    """A time of the API, RFC 3339 in UTC, with all of its digits."""
    if not local:
        return time
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    there = datetime.fromisoformat(f"{seconds}+00:00").astimezone()
    text = there.isoformat(timespec="seconds")
    return f"{text[:19]}.{fraction}{text[19:]}" if fraction else text


def typed(time: str | None, *, local: bool) -> str | None:
    """A time as the API takes it: one that names no zone is in that of the machine where `local` is asked for."""
    if not time or not local:
        return time
    try:
        there = datetime.fromisoformat(time)
    except ValueError:
        return time  # relative, Unix, or wrong: the server knows
    if there.tzinfo is not None or time.isdigit():
        return time
    return there.astimezone().isoformat()
