"""Word search: which lines hold a word, a prefix or a phrase, and how RE2 is asked that exactly.

The rule is that of `grep -i -w`: the term stands between word edges, a word character being a letter of any
script, a digit or an underscore, and case does not count. Two exceptions: no edge is asked at a side where the term
begins or ends with a character of a script without spaces (there are no edges to find), nor where it begins or ends
with a character that is no word character.

Case: an ASCII letter is itself and its other case, nothing else (no long s, no Kelvin sign); another letter is what
its simple upper, lower and title case make of it.

Bytes that are not UTF-8 count as characters that are no word characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

# Letters of scripts that are written without spaces: first and last code point of each run.
SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),  # Myanmar
    (0x1780, 0x17FF), (0x19E0, 0x19FF),  # Khmer
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F),  # Hiragana, Katakana
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303B),  # Han
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip
NOT_WORD = r"[^\pL\pN_]"
ASCII_RUN = re.compile("[A-Za-z0-9]+")
LAST_CASED = 0x1E943  # the last letter that has a case: Adlam


def is_word_character(character: str) -> bool:
    """A letter of any script, a digit or number sign of any script, or an underscore."""
    return character == "_" or unicodedata.category(character)[0] in "LN"


def is_spaceless(character: str) -> bool:
    """Whether a character is of a script that is written without spaces between words."""
    return any(first <= ord(character) <= last for first, last in SPACELESS)


def _asks_edge(character: str) -> bool:
    return bool(character) and is_word_character(character) and not is_spaceless(character)


@dataclass(frozen=True)
class WordPattern:
    """Literal parts with any characters but spaces between them, and whether edges are asked at both sides."""

    parts: tuple[str, ...]
    left_edge: bool
    right_edge: bool

    @classmethod
    def of(cls, parts: tuple[str, ...]) -> WordPattern:
        """The pattern of a term; a part that is empty stands for a `*` at that side."""
        return cls(parts, _asks_edge(parts[0][:1]), _asks_edge(parts[-1][-1:]))

    @property
    def is_ascii(self) -> bool:
        return all(part.isascii() for part in self.parts)

    @property
    def is_substring(self) -> bool:
        """Whether finding the one part anywhere is all: no edges, nothing between."""
        return len([part for part in self.parts if part]) == 1 and not self.left_edge and not self.right_edge

    def needle(self) -> tuple[str, bool]:
        """The longest run that every match must hold, and whether case counts in it; "" when there is none.

        Runs are of ASCII characters, whose case is simple, or of characters that have no case.
        """
        ascii_run = max((run for part in self.parts for run in _runs(part, str.isascii)), key=len, default="")
        caseless = max((run for part in self.parts for run in _runs(part, _has_no_case)), key=len, default="")
        return (ascii_run, False) if len(ascii_run) >= len(caseless.encode()) else (caseless, True)

    def tokens(self) -> list[str]:
        """Runs of ASCII letters and digits, in lower case, that stand whole in every message that matches.

        Whole: what is beside such a run in the message is not an ASCII letter or digit.
        """
        found = []
        for number, part in enumerate(self.parts):
            first, last = number == 0, number == len(self.parts) - 1
            for run in ASCII_RUN.finditer(part):
                begins = run.start() > 0 or (first and self.left_edge)
                ends = run.end() < len(part) or (last and self.right_edge)
                if begins and ends:
                    found.append(run[0].lower())
        return list(dict.fromkeys(found))

    def spaceless(self) -> list[str]:
        """Runs of two or more characters of scripts without spaces: every message that matches holds them."""
        runs = [run for part in self.parts for run in _runs(part, is_spaceless) if len(run) > 1]
        return list(dict.fromkeys(runs))

    def ascii_regex(self) -> str:
        """RE2 pattern that is exact on lines of ASCII only. Faster: its edges need no tables of letters."""
        body = r"\S*".join(map(escape, self.parts))
        left, right = self._edge(self.left_edge, r"\b"), self._edge(self.right_edge, r"\b")
        return f"(?i){left}{body}{right}"

    def regex(self) -> str:
        """RE2 pattern that is exact on valid UTF-8."""
        body = r"\S*".join("".join(map(_any_case, part)) for part in self.parts)
        left, right = rf"(?:^|{NOT_WORD})", rf"(?:{NOT_WORD}|$)"
        return f"{self._edge(self.left_edge, left)}{body}{self._edge(self.right_edge, right)}"

    @staticmethod
    def _edge(asked: bool, pattern: str) -> str:
        return pattern if asked else ""


def escape(text: str) -> str:
    """A literal for RE2. Control characters cannot all stand in a pattern as they are."""
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if ord(character) < 32 or ord(character) == 127:
        return f"\\x{ord(character):02x}"
    special = character.isascii() and not character.isalnum() and character != "_"
    return "\\" + character if special else character


def variants(character: str) -> frozenset[str]:
    """The characters that count as one with this one when case does not."""
    if character.isascii():
        return frozenset({character.lower(), character.upper()})
    return _case_groups().get(_folded(character), frozenset()) | {character}


def _folded(character: str) -> str:
    folded = character.casefold()
    return folded if len(folded) == 1 else character.lower()


@cache
def _case_groups() -> dict[str, frozenset[str]]:
    """Letters outside ASCII that differ in case only, by what they fold to."""
    groups: dict[str, set[str]] = {}
    for character in map(chr, range(0x80, LAST_CASED + 1)):
        if character.lower() != character or character.upper() != character:
            groups.setdefault(_folded(character), set()).add(character)
    return {folded: frozenset(group) for folded, group in groups.items() if not folded.isascii()}


def _any_case(character: str) -> str:
    found = variants(character)
    return _escape(character) if len(found) == 1 else "[" + "".join(sorted(map(_escape, found))) + "]"


def _has_no_case(text: str) -> bool:
    return len(variants(text)) == 1


def _runs(text: str, belongs: Callable[[str], bool]) -> list[str]:
    """Maximal runs of characters for which `belongs` holds."""
    runs, run = [], ""
    for character in text:
        if belongs(character):
            run += character
        elif run:
            runs.append(run)
            run = ""
    return [*runs, run] if run else runs
