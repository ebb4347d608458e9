"""How templates become patterns: where enough words alternate, a place is a variable.

Two ways to find such places, in turns, until nothing more is found. `_neighbours`: templates that are equal but for one
place. `_lookalikes`: templates that are equal once every word that looks like a value is hidden, so that several
values may differ at once. What the words at a place say is weighed in one function, `_evidence`. All of it is linear in
the length of the templates, whatever they are, and depends on the set of templates and their counts, not on order.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import log2
from typing import NamedTuple

from lexer.matching import Matcher, Tokens, variable_for
from lexer.words import KEPT, VARIABLE, Shape, announces_value, is_known_word, shape

NEEDED = 5.0  # for a variable where few lines were seen: five plain words, two that look like values
GROWTH = 0.3  # more for each doubling of the lines: what varies freely keeps showing new words
KNOWN_VALUE = 2.5  # the weight of a name that alternates at other places too
MORE_KNOWN = 0.5
MOST_KNOWN = 4.0
CONTEXTS = 2  # how many places make a name known
MARKED = 1.5  # factor where values usually stand: after `user` or `from`, in quotes, in brackets
PAIR = 0.75  # factor where only two words alternate: these may as well be two statements
FIRST = 0.8  # factor of the first word, which is more often a verb that tells lines apart
SPAN_AROUND = 2  # words that must be left to know a template by when more than one word is taken away
SPAN = 6  # words that one variable may have
ROUNDS = 8
MOST_TOKENS = 400  # a template with more is kept as it is

_WORD = rb"[\w/@#$%&*+~\\\x80-\xff-]"
_TOKEN = re.compile(rb"\s*(?:<\*>|\x02[^\x03]*\x03|\.*" + _WORD + rb"+(?:\.+" + _WORD + rb"+)*|[^\w\s])|\s+$")
# A variable and what is glued to it by marks that hold values together: `<*>:<*>`, `<*>-<*>`, `fe:<*>`.
_GLUED = re.compile(
    rb"(?<![\w.<>])(?:[0-9A-Fa-f]{2}:){0,15}<\*>(?:[:/#-](?:<\*>|[0-9A-Fa-f]{2}(?!\w)))*(?!\w)"
)
_REPEATED = re.compile(rb"<\*>(?:[ ,;|]{0,2}<\*>)+")
_CLOSING = {b'"': b'"', b"'": b"'", b"`": b"`", b"(": b")", b"[": b"]", b"<": b">", b"{": b"}"}
_HIDDEN = b"<?>"

Words = Mapping[bytes, int]  # what was seen at a place, with the lines of each
Values = dict[bytes, float]  # names that were values elsewhere, with their weight


class _Place(NamedTuple):
    """Tokens `start` to `end` of a template, and what other templates must share to be compared there."""

    start: int
    end: int
    left: int  # number of what stands before
    right: int  # number of what stands behind


def merge(templates: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """The pattern's text of each template. The number of a template says how many lines had it."""
    texts = {template: normal(template) for template in templates}
    values: Values = {}
    for _ in range(ROUNDS):
        before = texts
        for step in (_lookalikes, _neighbours, _joiners):
            lines: Counter[bytes] = Counter()
            for template, text in texts.items():
                lines[text] += templates[template]
            found = step({tokens(text): n for text, n in lines.items()}, values)
            merged = {b"".join(old): normal(b"".join(new)) for old, new in found.items()}
            texts = {template: merged.get(text, text) for template, text in texts.items()}
        if texts == before:
            break
    return texts


def normal(text: bytes) -> bytes:
    """A list of values is one variable, and so is a value of several parts."""
    for _ in range(4):
        before, text = text, _REPEATED.sub(VARIABLE, _GLUED.sub(VARIABLE, text))
        if text == before:
            break
    return text


def tokens(text: bytes) -> Tokens:
    """Words and marks, each with the white space before it: joined they are the text again."""
    found = tuple(_TOKEN.findall(text))
    return found if len(found) <= MOST_TOKENS else (text,)


def may_stand(word: bytes, template: Tokens, place: int) -> bool:
    """Whether a word may be what a pattern has a variable for at this place of a template."""
    if shape(word) in (Shape.MARK, Shape.FUNCTION) or _is_key(template, place):
        return False
    return _evidence({VARIABLE: 1, word: 1}, _factor(template, place, place + 1), {}) >= 1


# --- evidence ----------------------------------------------------------------------------------------------


def _evidence(words: Words, factor: float, values: Values) -> float:
    """How surely a place is a variable, by the words seen there: 1 is sure enough."""
    proven, weight = False, 0.0
    for word in words:
        kind = shape(word)
        proven |= kind is Shape.VARIABLE
        weight += max(kind.value, values.get(word.strip(), 0.0)) if kind.is_name else kind.value
    needed = NEEDED if proven else NEEDED + GROWTH * log2(max(1.0, sum(words.values()) / 2))
    if len(words) == 2 and not proven:
        factor *= PAIR
    return weight * factor / needed


def _remember(values: Values, words: Iterable[bytes]) -> None:
    """These were values; only now, when a step is over: what it finds must not depend on order."""
    for word in words:
        values[word] = max(values.get(word, 0.0), KNOWN_VALUE)


def _factor(template: Tokens, start: int, end: int) -> float:
    """What the neighbours of a place say: values stand in quotes, in brackets, and after some words."""
    if start == 0:
        return FIRST
    before = template[start - 1].strip()
    if end < len(template) and _CLOSING.get(before) == template[end].strip():
        return MARKED
    if before == b":" and start > 1:
        before = template[start - 2]
    return MARKED if announces_value(before) else 1.0


def _is_key(template: Tokens, place: int) -> bool:
    """What stands left of `=` names a value, and is none."""
    return place + 1 < len(template) and template[place + 1].strip() == b"="


# --- several places at once --------------------------------------------------------------------------------


def _lookalikes(templates: Mapping[Tokens, int], values: Values) -> dict[Tokens, Tokens]:
    """Templates that are the same but for words that look like values, with variables where these vary."""
    alike: defaultdict[Tokens, list[Tokens]] = defaultdict(list)
    for template in templates:
        alike[_hidden(template, values)].append(template)
    merged: dict[Tokens, Tokens] = {}
    found: set[bytes] = set()
    for hidden, members in alike.items():
        if len(members) < 2 or not any(is_known_word(word) for word in hidden):
            continue
        varying = _varying(hidden, members, templates, values)
        for template in members:
            new = tuple(variable_for(w) if i in varying else w for i, w in enumerate(template))
            if new != template:
                merged[template] = new
                found.update(template[place].strip() for place in varying)
    _remember(values, found)
    return merged


def _hidden(template: Tokens, values: Values) -> Tokens:
    return tuple(_HIDDEN if _may_hide(template, i, values) else word for i, word in enumerate(template))


def _may_hide(template: Tokens, place: int, values: Values) -> bool:
    kind = shape(template[place])
    if kind in (Shape.VARIABLE, Shape.VALUE):
        return not _is_key(template, place)
    if not kind.is_name or _is_key(template, place):
        return False
    if template[place].strip() in values:
        return True
    before = template[place - 1].strip() if place else b""
    return place + 1 < len(template) and _CLOSING.get(before) == template[place + 1].strip()


def _varying(hidden: Tokens, members: list[Tokens], lines: Mapping[Tokens, int], values: Values) -> set[int]:
    """The hidden places that are variables, by what the members have there."""
    found = set()
    for place in (i for i, word in enumerate(hidden) if word == _HIDDEN):
        words: Counter[bytes] = Counter()
        for template in members:
            words[template[place].strip()] += lines[template]
        factor = max(_factor(template, place, place + 1) for template in members)
        if len(words) > 1 and _evidence(words, factor, values) >= 1:
            found.add(place)
    return found


# --- patterns that are there already -----------------------------------------------------------------------


def _joiners(templates: Mapping[Tokens, int], _values: Values) -> dict[Tokens, Tokens]:
    """Templates that another one with variables matches."""
    matcher = Matcher((t for t in templates if any(w.strip() == VARIABLE for w in t)), may_stand)
    found = ((template, matcher.find(template)) for template in templates)
    return {template: pattern for template, pattern in found if pattern is not None}


# --- one place ---------------------------------------------------------------------------------------------


def _neighbours(templates: Mapping[Tokens, int], values: Values) -> dict[Tokens, Tokens]:
    """Templates that are the same but for one place, with a variable there if enough speaks for one."""
    heads: dict[tuple[int, bytes], int] = {}
    tails: dict[tuple[int, bytes], int] = {}
    seen: defaultdict[tuple[int, int], Counter[bytes]] = defaultdict(Counter)
    places = {}
    for template, lines in templates.items():
        places[template] = list(_places(template, heads, tails))
        for at in places[template]:
            seen[at.left, at.right][b"".join(template[at.start : at.end])] += lines
    _learn_values(values, seen.values())
    rates: dict[tuple[int, int], float] = {}
    merged: dict[Tokens, Tokens] = {}
    found: set[bytes] = set()
    for template, its in places.items():
        place = _best(template, its, seen, rates, values)
        if place is not None:
            merged[template] = (
                *template[: place.start],
                variable_for(template[place.start]),
                *template[place.end :],
            )
            found.update(
                word.strip() for word in template[place.start : place.end] if place.end - place.start == 1
            )
    _remember(values, found)
    return merged


def _best(
    template: Tokens,
    places: list[_Place],
    seen: Mapping[tuple[int, int], Words],
    rates: dict[tuple[int, int], float],
    values: Values,
) -> _Place | None:
    """The place that is most surely a variable. What was weighed once is kept: many templates share it."""
    best, most = None, 1.0
    for place in places:
        key = place.left, place.right
        words = seen[key]
        if len(words) < 2 or template[place.start].strip() == VARIABLE:
            continue
        if key not in rates:
            rates[key] = _evidence(words, _factor(template, place.start, place.end), values)
        if rates[key] > most or (best is None and rates[key] == most):
            best, most = place, rates[key]
    return best


def _places(
    template: Tokens, heads: dict[tuple[int, bytes], int], tails: dict[tuple[int, bytes], int]
) -> Iterator[_Place]:
    """Where a variable may be: at words that leave enough others to know the template by."""
    before, behind = _numbers(template, heads), _numbers(template[::-1], tails)[::-1]
    known = [is_known_word(word) for word in template]
    count = sum(known)
    for start, word in enumerate(template):
        kind = shape(word)
        if kind not in (Shape.MARK, Shape.FUNCTION) and not _is_key(template, start) and count > known[start]:
            yield _Place(start, start + 1, before[start], behind[start + 1])
        end = _span_end(template, start)
        if end > start + 1 and count - sum(known[start:end]) >= SPAN_AROUND:
            yield _Place(start, end, before[start], behind[end])


def _numbers(words: Tokens, numbers: dict[tuple[int, bytes], int]) -> list[int]:
    """A number for what stands before each word: equal for equal beginnings, so that comparing costs nothing."""
    found = [0]
    for word in words:
        found.append(numbers.setdefault((found[-1], word), len(numbers) + 1))
    return found


def _span_end(template: Tokens, start: int) -> int:
    """Where several words end that stand in quotes, in brackets, or behind a colon until a mark; 0 if they don't."""
    before = template[start - 1].strip() if start else b""
    closing = _CLOSING.get(before)
    if closing is None and not (before == b":" and template[start][:1].isspace()):
        return 0
    for end in range(start, min(len(template), start + SPAN) + 1):
        word = template[end].strip() if end < len(template) else b""
        if word == closing or (closing is None and word in (b"", b".", b",", b";")):
            return end
        if word == VARIABLE or word.startswith(KEPT):
            return 0
    return 0


def _learn_values(values: Values, places: Iterable[Words]) -> None:
    """Names that alternate at several places are rather values than words of a sentence: the more places, the surer."""
    contexts: Counter[bytes] = Counter()
    for words in places:
        names = {word.strip() for word in words if shape(word).is_name and b" " not in word.strip()}
        if len(names) > 1:
            contexts.update(names)
    for name, count in contexts.items():
        if count >= CONTEXTS:
            values[name] = max(
                values.get(name, 0.0), min(MOST_KNOWN, KNOWN_VALUE + MORE_KNOWN * (count - CONTEXTS))
            )
