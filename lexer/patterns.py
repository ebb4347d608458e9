"""The second stage: from templates to patterns.

A template keeps every word that looks like one. Where the same words stand around one place and enough different
words in it, that place is a variable too: a user's name, a state, a program. This stage sees templates, not lines, so
its cost a line is next to nothing, and it can be done again at any time: the fingerprints stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lexer._lexer import hash64
from lexer.merging import merge


@dataclass(frozen=True)
class Pattern:
    """A class of lines. `id` is the hash of the template that it had when it was found."""

    id: int
    template: bytes
    name: str = ""


def learn(templates: Iterable[bytes]) -> dict[bytes, Pattern]:
    """The pattern of each template, learnt from all of them; how often a template comes counts, order does not."""
    return {template: Pattern(hash64(text), text) for template, text in merge(Counter(templates)).items()}
