"""The second stage: from templates to patterns.

A template keeps every word that looks like one. Where the same words stand around one place and many different
words in it, that place is a variable too: a user's name, a state, a program. This stage sees templates, not
lines, so its cost a line is next to nothing, and it can be done again at any time: the fingerprints stay.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lexer._lexer import hash64

VARIABLE = b"<*>"
DIFFERENT_WORDS = 5  # that a place must have shown before it is a variable
DIFFERENT_FIRST_WORDS = 6  # the same for the first word, which is more often a verb that tells lines apart
WORDS_AROUND = 2  # that must stand in the other places: "link <*>" says too little
ROUNDS = 3  # places of one template that may be found, one a round
_TOKEN = re.compile(rb"<\*>|[\w./@#$%&*+~\\\x80-\xff-]+|[^\w\s]")
_REPEATED = re.compile(rb"<\*>(?:[ ,;|]{0,2}<\*>)+")

Tokens = tuple[bytes, ...]


@dataclass(frozen=True)
class Pattern:
    """A class of lines: `id` is the hash of `template`."""

    id: int
    template: bytes


def learn(templates: Iterable[bytes]) -> dict[bytes, Pattern]:
    """The pattern of each template, learnt from all of them. The order does not matter."""
    spans = {template: list(_TOKEN.finditer(template)) for template in set(templates)}
    tokens = {template: tuple(m.group() for m in found) for template, found in spans.items()}
    for _ in range(ROUNDS):
        merged = _merge(set(tokens.values()))
        if not merged:
            break
        tokens = {template: merged.get(words, words) for template, words in tokens.items()}
    return {template: _pattern(template, spans[template], words) for template, words in tokens.items()}


def _merge(templates: set[Tokens]) -> dict[Tokens, Tokens]:
    """For each template that has a place where enough others differ: itself with a variable there."""
    seen: defaultdict[tuple[int, Tokens], set[bytes]] = defaultdict(set)
    for words in templates:
        for place in _places(words):
            seen[place, _without(words, place)].add(words[place])
    merged = {}
    for words in templates:
        fits = [
            (len(others), -place)
            for place in _places(words)
            if words[place] != VARIABLE and _enough(others := seen[place, _without(words, place)], place)
        ]
        if fits:
            merged[words] = _without(words, -max(fits)[1])
    return merged


def _enough(words: set[bytes], place: int) -> bool:
    """Whether a place is a variable: the lexer found one there in other lines, or many words were seen."""
    return VARIABLE in words or len(words) >= (DIFFERENT_WORDS if place else DIFFERENT_FIRST_WORDS)


def _places(words: Tokens) -> list[int]:
    """Where a variable may be: at words, if enough other words are left to know the template by."""
    known = [place for place, word in enumerate(words) if word[:1].isalpha()]
    return [
        place
        for place, word in enumerate(words)
        if (len(word) > 1 or word.isalnum()) and len(known) - (place in known) >= WORDS_AROUND
    ]


def _without(words: Tokens, place: int) -> Tokens:
    return (*words[:place], VARIABLE, *words[place + 1 :])


def _pattern(template: bytes, spans: list[re.Match[bytes]], words: Tokens) -> Pattern:
    """Put the variables into the template's text, white space and all."""
    pieces, at = [], 0
    for match, word in zip(spans, words, strict=True):
        pieces += [template[at : match.start()], word]
        at = match.end()
    text = _REPEATED.sub(VARIABLE, b"".join([*pieces, template[at:]]))
    return Pattern(hash64(text), text)
