"""`extract "took <ms:number>ms"`: a text with places → an RE2 pattern with a group for each field.

What stands between places is found as it is written. `<name>` takes as little as it can, or at the end of the pattern
the rest of the line; `<name:kind>` takes one of KINDS; `<_>` takes and forgets. `\\<` is a `<` itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from query.conditions import Kind
from query.words import escape

MAX_FIELDS = 32

_NUMBER = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
KINDS: dict[str, tuple[str, Kind]] = {
    "number": (_NUMBER, Kind.NUMBER),
    "int": (r"[+-]?\d+", Kind.NUMBER),
    "word": (r"[\pL\pN_]+", Kind.TEXT),
    "token": (r"[^\s]+", Kind.TEXT),
    "hex": (r"(?:0[xX])?[0-9a-fA-F]+", Kind.TEXT),
    "ip": (r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7})", Kind.TEXT),
    "uuid": (r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", Kind.TEXT),
    "duration": (r"[+-]?(?:\d+(?:\.\d+)? ?(?:ns|us|µs|μs|ms|s|m|h|d|w))+", Kind.TEXT),
    "size": (r"[+-]?\d+(?:\.\d+)? ?(?:(?i:[kmgtp]i?b)|[BKMGTPk])", Kind.TEXT),
    "quoted": (r'(?:[^"\\]|\\.)*', Kind.TEXT),
}
KIND_NAMES = ", ".join(KINDS)
_PIECE = re.compile(r"\\<|<([^<>]*)>|<|[^<\\]+|\\", re.DOTALL)
_PLACE = re.compile(r"([^\W\d][\w.@/#$-]*|_)?(?::(\w+))?")


@dataclass(frozen=True)
class Place:
    """A field that a pattern takes out, and how its values compare."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Pattern:
    """What RE2 is asked, and what its groups are, in order."""

    regex: str
    places: tuple[Place, ...]


class BadPattern(ValueError):
    """A pattern that cannot be used: "message; hint", and the offset in its text."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def parse_pattern(text: str) -> Pattern:
    """The pattern of a text; BadPattern where it is none."""
    regex, places = "", []
    pieces = list(_PIECE.finditer(text))
    for index, piece in enumerate(pieces):
        if piece[1] is None and piece[0] != "<":
            regex += escape("<" if piece[0] == r"\<" else piece[0])
            continue
        name, kind = _place(piece)
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if following is not None and following[1] is not None and not kind:
            raise BadPattern(
                f"cannot tell where <{name}> ends; write text between it and the next, or <{name}:word>",
                piece.start(),
            )
        found, made = KINDS[kind] if kind else (r"[^\n]*?" if following else r"[^\n]*", Kind.TEXT)
        quoted = kind == "quoted"
        group = f"(?:{found})" if name in ("", "_") else f"({found})"
        regex += f'"{group}"' if quoted else group
        if name not in ("", "_"):
            places.append(Place(name, made))
    _check(places)
    return Pattern(regex, tuple(places))


def _place(piece: re.Match[str]) -> tuple[str, str]:
    """Name and kind of what stands between < and >."""
    parts = _PLACE.fullmatch(piece[1]) if piece[1] is not None else None
    if parts is None:
        raise BadPattern(
            r"cannot read a place; write <name> or <name:number>, and \< for a < itself", piece.start()
        )
    name, kind = parts[1] or "", parts[2] or ""
    if kind and kind not in KINDS:
        raise BadPattern(f"there is no kind {kind[:40]!r}; kinds are {KIND_NAMES}", piece.start())
    return name, kind


def _check(places: list[Place]) -> None:
    names = [place.name for place in places]
    if not names:
        raise BadPattern('expected a place such as <name>; write "took <ms:number>ms"', 0)
    if len(names) > MAX_FIELDS:
        raise BadPattern(f"too many places: {len(names)}; use at most {MAX_FIELDS}", 0)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadPattern(f"two places are named {twice[:40]!r}; give each its own name, or <_>", 0)
