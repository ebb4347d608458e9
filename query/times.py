"""Times as people type them → nanoseconds since 1970, and back to RFC 3339. All times are UTC unless they say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000_000
UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND,
    "h": 3600 * SECOND, "d": 86_400 * SECOND, "w": 7 * 86_400 * SECOND,
}  # fmt: skip
# What DateTime64(9) can hold, with a margin.
MIN_NS = -2_208_988_800 * SECOND  # 1900
MAX_NS = 9_214_646_400 * SECOND  # 2262
EXPECTED = "use RFC 3339 (2026-01-31T12:00:00Z), Unix time, or relative (now-15m, 15m, 1d)"

_STEP = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d|w)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|μs|ms|s|m|h|d|w))+")
_RELATIVE = re.compile(r"now(?:([+-])(.+))?")
_UNIX = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:([Zz])|[ +]?(?<=[ +])(\d\d:?\d\d)|(-\d\d:?\d\d))?)?"
)


class BadTime(ValueError):
    """A text that is no time; the message says what would be."""


def parse_duration(text: str) -> int:
    """Nanoseconds of `15m`, `1.5h` or `1h30m`. More than zero."""
    if not _DURATION.fullmatch(text):
        raise BadTime(f"cannot read duration: {text[:40]}; use a number and ns, us, ms, s, m, h, d or w")
    exact = sum(float(number) * UNITS[unit] for number, unit in _STEP.findall(text))
    total = round(exact) if exact <= MAX_NS else 0
    if not 0 < total <= MAX_NS:
        raise BadTime(f"cannot use duration: {text[:40]}; use more than 0 and less than 290 years")
    return total


def is_duration(text: str) -> bool:
    """Whether a text looks like a duration."""
    return _DURATION.fullmatch(text) is not None


def parse_instant(text: str, now: int) -> int:
    """A moment. `15m` is 15 minutes before `now`."""
    return parse_span(text, now)[0]


def parse_span(text: str, now: int) -> tuple[int, int]:
    """The half-open range that a time names as precisely as it was typed: a date is its day.

    A relative or Unix time is one moment, one nanosecond long.
    """
    low, width = _parse(text.strip(), now)
    if not MIN_NS <= low <= MAX_NS:
        raise BadTime(f"cannot use time: {text[:40]}; use one between the years 1900 and 2262")
    return low, low + width


def _parse(text: str, now: int) -> tuple[int, int]:
    relative = _RELATIVE.fullmatch(text)
    if relative:
        sign, duration = relative.groups()
        return now + (parse_duration(duration) * (1 if sign == "+" else -1) if sign else 0), 1
    if is_duration(text.removeprefix("-")):
        return now - parse_duration(text.removeprefix("-")), 1
    if _UNIX.fullmatch(text):
        return _from_unix(text), 1
    written = _RFC3339.fullmatch(text)
    if not written:
        raise BadTime(f"cannot read time: {text[:40]}; {EXPECTED}")
    return _from_rfc3339(text, *written.groups())


def _from_unix(text: str) -> int:
    """Seconds, milliseconds, microseconds or nanoseconds, told by magnitude."""
    whole, _, fraction = text.partition(".")
    digits = len(whole.lstrip("-").lstrip("0"))
    if digits > 19:
        raise BadTime(f"cannot use time: {text[:40]}; {EXPECTED}")
    scale = 9 if digits < 12 else 6 if digits < 15 else 3 if digits < 18 else 0
    nanos = (fraction + "0" * scale)[:scale]
    sign = -1 if whole.startswith("-") else 1
    unit: int = 10**scale
    return int(whole) * unit + sign * int(nanos or 0)


def _from_rfc3339(
    text: str, date: str, minute: str | None, second: str | None, fraction: str | None,
    _zulu: str | None, east: str | None, west: str | None,
) -> tuple[int, int]:  # fmt: skip
    leap = second == "60"  # a leap second counts as the first of the next minute, as Unix time has it
    try:
        clock = f"{date}T{minute or '00:00'}:{'59' if leap else second or '00'}+00:00"
        moment = datetime.fromisoformat(clock)
        if east or west:
            moment -= _offset(east or str(west))
    except (ValueError, OverflowError):
        raise BadTime(f"cannot read time: {text[:40]}; there is no such date or hour") from None
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) + leap
    if fraction:
        return seconds * SECOND + int(fraction.ljust(9, "0")), 10 ** (9 - len(fraction))
    return seconds * SECOND, UNITS["s"] if second else UNITS["m"] if minute else UNITS["d"]


def _offset(text: str) -> timedelta:
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-").replace(":", "")
    return sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))


def to_rfc3339(nanos: int) -> str:
    """`2026-01-31T12:00:00.000000000Z`: always nine digits and Z."""
    seconds, fraction = divmod(nanos, SECOND)
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{moment.isoformat()}.{fraction:09d}Z"
