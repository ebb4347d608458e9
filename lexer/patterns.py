"""The second stage: from templates to patterns.

A template keeps every word that looks like one. Where the same words stand around one place and enough different
words in it, that place is a variable too: a user's name, a state, a program. This stage sees templates, not lines, so
its cost a line is next to nothing, and it can be done again at any time: the fingerprints stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from lexer._lexer import hash64
from lexer.merging import merge
from lexer.pins import Pattern, Pins
from lexer.words import KEPT, KEPT_END

__all__ = ["Pattern", "Pins", "learn", "learn_texts"]


def learn(templates: Iterable[bytes], pins: Pins | None = None) -> dict[bytes, Pattern]:
    """The pattern of each template, learnt from all of them; how often a template comes counts, order does not."""
    pins = pins or Pins()
    counts = Counter(templates)
    fixed = {template: pattern for template in counts if (pattern := pins.pattern_of(template)) is not None}
    texts = learn_texts(
        {template: lines for template, lines in counts.items() if template not in fixed}, pins
    )
    return {
        **{template: pins.named(Pattern(hash64(text), text)) for template, text in texts.items()},
        **fixed,
    }


def learn_texts(templates: Mapping[bytes, int], pins: Pins) -> dict[bytes, bytes]:
    """The text of each template's pattern. Words that operators keep apart are no variables."""
    kept = {template: pins.kept(template) for template in templates}
    lines: Counter[bytes] = Counter()
    for template, text in kept.items():
        lines[text] += templates[template]
    texts = merge(lines)
    return {
        template: texts[text].replace(KEPT, b"").replace(KEPT_END, b"") for template, text in kept.items()
    }
