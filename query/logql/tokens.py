"""The tokens of LogQL that hold a value: texts with escapes, numbers, durations, sizes."""

from __future__ import annotations

import re
from typing import Any

from lark import Token

DURATION_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
    "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9, "y": 365 * 86_400 * 10**9,
}  # fmt: skip
SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
MAX_NANOS = (1 << 63) - 1
_STEP = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d|w|y)")
_DURATION = re.compile(rf"(?:{_STEP.pattern})+")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([abfnrtv\\\"'])|(.?))", re.DOTALL
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Misread(ValueError):
    """A token that cannot be used; the message, and its place."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def parse_duration(text: str) -> int | None:
    """Nanoseconds of `1h30m`, with or without a sign; None for what is none."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not _DURATION.fullmatch(digits):
        return None
    total = sum(round(float(number) * DURATION_UNITS[unit]) for number, unit in _STEP.findall(digits))
    return sign * total if total <= MAX_NANOS else None


def start_of(token: Any) -> int:
    """Where a token was typed."""
    return int(token.start_pos or 0) if isinstance(token, Token) else 0


def string_of(token: Token) -> str:
    """The text of a literal. In backticks nothing is an escape."""
    if token[0] == "`":
        return str(token)[1:-1].replace("\r", "")
    return unescaped(str(token)[1:-1], start_of(token) + 1)


def unescaped(text: str, offset: int) -> str:
    """A text between quotes with its escapes read; Misread for what is none. `offset`: where it was typed."""

    def character(match: re.Match[str]) -> str:
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if match[group]:
                code = int(match[group], base)
                if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                    raise Misread("invalid syntax: there is no such character", offset + match.start())
                return chr(code)
        if match[5]:
            return _PLAIN.get(match[5], match[5])
        raise Misread("invalid syntax: there is no such escape", offset + match.start())

    return _ESCAPE.sub(character, text)


def number_of(token: Token) -> float:
    """The number of a token."""
    return float(int(token, 16)) if token[:2].lower() == "0x" else float(token)


def duration_of(token: Token) -> int:
    """Nanoseconds of a duration that is a token."""
    nanos = parse_duration(str(token))
    if nanos is None:
        raise Misread(f"not a valid duration string: {str(token)[:40]!r}", start_of(token))
    return nanos


def range_of(token: Token) -> int:
    """Nanoseconds of a range in its brackets."""
    nanos = parse_duration(token[1:-1].strip())
    if not nanos or nanos < 0:
        raise Misread(f'not a valid duration string: "{token[1:-1][:40]}"', start_of(token))
    return nanos


def bytes_of(token: Token) -> float:
    """Bytes of a size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKMGTP]?)(i?)B", token)
    assert found
    scale: int = (1024 if found[3] else 1000) ** SIZE_POWERS[found[2].lower()]
    return float(found[1]) * scale
