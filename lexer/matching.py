"""Which pattern is a template of? A tree of the patterns' tokens, walked along the template's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lexer.words import VARIABLE

Tokens = tuple[bytes, ...]
MayStand = Callable[[bytes, Tokens, int], bool]
MOST_STEPS = 500  # for one template: patterns made to be confused must not cost more than others


class Matcher:
    """Patterns with variables. A variable stands for one word, where `may_stand` agrees."""

    def __init__(self, patterns: Iterable[Tokens], may_stand: MayStand) -> None:
        self._root: _Node = _Node()
        self._may_stand = may_stand
        for pattern in patterns:
            node = self._root
            for word in pattern:
                node = node.children.setdefault(word, _Node())
            node.pattern = pattern

    def find(self, template: Tokens) -> Tokens | None:
        """The pattern that matches a template and is not the template itself: the most exact one, from the left."""
        waiting = [(self._root, 0)]
        for _ in range(MOST_STEPS):
            if not waiting:
                break
            node, place = waiting.pop()
            if place == len(template):
                if node.pattern is not None and node.pattern != template:
                    return node.pattern
                continue
            word = template[place]
            variable = variable_for(word)
            general = node.children.get(variable) if word != variable else None
            if general is not None and self._may_stand(word, template, place):
                waiting.append((general, place + 1))
            exact = node.children.get(word)
            if exact is not None:
                waiting.append((exact, place + 1))
        return None


class _Node:
    __slots__ = ("children", "pattern")

    def __init__(self) -> None:
        self.children: dict[bytes, _Node] = {}
        self.pattern: Tokens | None = None


def variable_for(word: bytes) -> bytes:
    """A variable in a word's place, white space and all."""
    return word[: len(word) - len(word.lstrip())] + VARIABLE
