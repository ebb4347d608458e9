"""Errors of the query floor. All are NeveErrors: a stable code, one readable line, a hint, an HTTP status.

NeveError
├── QueryInvalid        the query text is wrong; carries line, column and a caret excerpt
├── RequestInvalid      a parameter of the request is wrong
├── NotFound            no such event, field or path
├── TooLarge            the body of a request is too large
├── Busy                too many queries at once
└── Unavailable         another part of the server does not answer
"""

from __future__ import annotations

from storage.errors import NeveError

LANGUAGE = "docs/query.md has the whole language"
MAX_EXCERPT = 72  # characters of the query shown around the caret: fits a terminal of 80


class QueryInvalid(NeveError):
    """The query text is wrong at a place; the hint ends with the line and a caret below the place."""

    code = "query_invalid"

    def __init__(self, message: str, hint: str = "", *, position: tuple[int, int], excerpt: str = "") -> None:
        line, column = position
        super().__init__(f"line {line}, column {column}: {message}", hint, position=position)
        if excerpt:
            self.hint = f"{hint}\n{excerpt}".lstrip("\n")


class RequestInvalid(NeveError):
    code = "request_invalid"


class NotFound(NeveError):
    code = "not_found"
    status = 404


class TooLarge(NeveError):
    code = "too_large"
    status = 413


class Busy(NeveError):
    code = "busy"
    status = 429
    default_hint = "try again in a moment"


class Unavailable(NeveError):
    code = "unavailable"
    status = 503
    default_hint = "try again in a moment"


def position_of(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character offset."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def excerpt_of(text: str, offset: int) -> str:
    """The line around an offset, cut to a terminal's width, and a caret below the place."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start:] if end < 0 else text[start:end]
    column = offset - start
    left = max(0, column - MAX_EXCERPT * 2 // 3)
    shown = "".join(c if c.isprintable() else " " for c in line[left : left + MAX_EXCERPT])
    return f"{shown}\n{' ' * (column - left)}^"


def invalid_at(text: str, offset: int, message: str, hint: str = "") -> QueryInvalid:
    """A QueryInvalid that points at an offset of the query text."""
    return QueryInvalid(message, hint, position=position_of(text, offset), excerpt=excerpt_of(text, offset))
