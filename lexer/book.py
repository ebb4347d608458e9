"""Which pattern each template has, and keeps, while more templates come.

What was given stays given: a new template joins a pattern that matches it; only what is left is learnt, together with
the texts of the patterns that are there. Where that shows patterns to be one, the one with the most lines keeps its id,
and the ids of the others lead to it. A pattern's text may so become more general; its id does not change.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lexer._lexer import hash64
from lexer.matching import Matcher
from lexer.merging import may_stand, normal, tokens
from lexer.patterns import learn_texts
from lexer.pins import Pattern, Pins

MOST_LEARNT = (
    20_000  # templates and patterns in one go, which takes a few seconds; the others follow in the next
)


@dataclass(frozen=True)
class Entry:
    """The pattern of one template. `rule`: what of the operators' file gave it; empty for what was learnt."""

    pattern: Pattern
    rule: bytes = b""
    is_alias: bool = False  # the number was a pattern's id too, and leads to this pattern now


class Book:
    """Templates by fingerprint, and their patterns. Change it by `update`."""

    def __init__(self, entries: Mapping[int, Entry], pins: Pins) -> None:
        self._entries = dict(entries)
        self._pins = pins
        self._changed: dict[int, Entry] = {}
        self._taken = {entry.pattern.id for entry in entries.values()}

    def update(self, templates: Mapping[int, bytes], lines: Mapping[int, int]) -> dict[int, Entry]:
        """Give every template a pattern, as far as one go reaches; what has changed since the book was made."""
        fresh = self._fresh(templates)
        most = sorted(fresh, key=lambda number: (-lines.get(number, 1), number))[:MOST_LEARNT]
        left = self._join({number: fresh[number] for number in self._fix({n: fresh[n] for n in most})})
        if left:
            self._learn(left, lines)
        self._name()
        return dict(self._changed)

    def _set(self, number: int, entry: Entry) -> None:
        if self._entries.get(number) != entry:
            self._entries[number] = self._changed[number] = entry

    def _fresh(self, templates: Mapping[int, bytes]) -> dict[int, bytes]:
        """Templates that have no pattern yet, or one by a rule that is another now."""
        return {
            number: template
            for number, template in templates.items()
            if number not in self._entries or self._entries[number].rule != self._pins.rule(template)
        }

    def _fix(self, fresh: Mapping[int, bytes]) -> list[int]:
        """Give the patterns that operators fixed; which templates are left."""
        left = []
        for number, template in fresh.items():
            pattern = self._pins.pattern_of(template)
            if pattern is None:
                left.append(number)
                self._entries.pop(number, None)
            else:
                self._set(number, Entry(pattern, self._pins.rule(template)))
        return left

    # --- what is there already -----------------------------------------------------------------------------

    def _learnt(self) -> dict[int, list[int]]:
        """The patterns that were learnt, by id, with their templates' numbers."""
        members: defaultdict[int, list[int]] = defaultdict(list)
        for number, entry in self._entries.items():
            if not entry.rule.startswith(b"pattern "):
                members[entry.pattern.id].append(number)
        return members

    def _text(self, members: Iterable[int]) -> bytes:
        return self._entries[next(iter(members))].pattern.template

    def _join(self, fresh: Mapping[int, bytes]) -> dict[int, bytes]:
        """Give new templates the patterns that match them; which are left."""
        texts = {self._kept_tokens(self._text(members)): members[0] for members in self._learnt().values()}
        matcher = Matcher(texts, may_stand)
        left = {}
        for number, template in sorted(fresh.items()):
            own = self._kept_tokens(template)
            match = own if own in texts else matcher.find(own)
            if match is None:
                left[number] = template
            else:
                self._set(number, Entry(self._entries[texts[match]].pattern, self._pins.rule(template)))
        return left

    def _kept_tokens(self, text: bytes) -> tuple[bytes, ...]:
        return tokens(normal(self._pins.kept(text)))

    # --- what is new ---------------------------------------------------------------------------------------

    def _learn(self, fresh: Mapping[int, bytes], lines: Mapping[int, int]) -> None:
        patterns = self._learnt()
        weight = {id_: sum(lines.get(n, 1) for n in members) for id_, members in patterns.items()}
        known = sorted(patterns, key=lambda id_: (-weight[id_], id_))[: max(0, MOST_LEARNT - len(fresh))]
        counts: Counter[bytes] = Counter({self._text(patterns[id_]): weight[id_] for id_ in known})
        for number, template in fresh.items():
            counts[template] += lines.get(number, 1)
        texts = learn_texts(counts, self._pins)
        groups: defaultdict[bytes, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for id_ in known:
            groups[texts[self._text(patterns[id_])]][0].append(id_)
        for number, template in fresh.items():
            groups[texts[template]][1].append(number)
        for text, (ids, numbers) in sorted(groups.items()):
            if len(ids) != 1 or numbers:
                self._group(text, ids, numbers, fresh, patterns)

    def _group(
        self,
        text: bytes,
        ids: list[int],
        numbers: list[int],
        fresh: Mapping[int, bytes],
        patterns: Mapping[int, list[int]],
    ) -> None:
        """One pattern of those with `ids`, the most common first, and of new templates."""
        pattern = Pattern(ids[0] if ids else self._new_id(text), text)
        for number in numbers:
            self._set(number, Entry(pattern, self._pins.rule(fresh[number])))
        for id_ in ids:
            for number in patterns[id_]:
                self._set(number, replace(self._entries[number], pattern=pattern))
            if id_ != pattern.id and (len(patterns[id_]) > 1 or id_ not in self._entries):
                self._set(id_, replace(self._entries.get(id_, Entry(pattern)), is_alias=True))

    def _new_id(self, text: bytes) -> int:
        """The hash of the text, or of a little more where another pattern has that id."""
        while (id_ := hash64(text)) in self._taken:
            text += b"\0"
        self._taken.add(id_)
        return id_

    def _name(self) -> None:
        for number, entry in list(self._entries.items()):
            named = self._pins.named(replace(entry.pattern, name=""))
            self._set(number, replace(entry, pattern=named))
