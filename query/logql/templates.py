"""`{{.x}}`: the templates of line_format and label_format → SQL of the text they make.

A template is text, labels, and functions of one text. Conditions, loops and variables of Go's templates are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from query.errors import QueryInvalid, invalid_at
from query.logql.tokens import Misread, unescaped
from query.sql import Params

LINE = "__line__"
_ACTION = re.compile(r"\{\{(-?)((?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|[^}\"`]|\}(?!\}))*?)(-?)\}\}", re.DOTALL)
_WORD = re.compile(
    r"\s*(?:(\|)|\.([A-Za-z_]\w*)|([A-Za-z_]\w*)|\"((?:\\.|[^\"\\])*)\"|`([^`]*)`|(\d+))", re.ASCII
)

# Of one text, which comes last, and stands once in the SQL; what stands before it in the call are texts too.
FUNCTIONS: dict[str, tuple[int, str]] = {
    "ToLower": (0, "lowerUTF8({0})"), "lower": (0, "lowerUTF8({0})"),
    "ToUpper": (0, "upperUTF8({0})"), "upper": (0, "upperUTF8({0})"),
    "trim": (0, "trimBoth({0})"), "TrimSpace": (0, "trimBoth({0})"),
    "trimPrefix": (1, "arrayMap(v -> if(startsWith(v, {0}), substring(v, length({0}) + 1), v), [{1}])[1]"),
    "trimSuffix": (1, "arrayMap(v -> if(endsWith(v, {0}), left(v, -length({0})), v), [{1}])[1]"),
    "replace": (2, "replaceAll({2}, {0}, {1})"),
    "default": (1, "arrayMap(v -> if(v = '', {0}, v), [{1}])[1]"),
    "b64enc": (0, "base64Encode({0})"), "b64dec": (0, "tryBase64Decode({0})"),
    "urlencode": (0, "encodeURLFormComponent({0})"), "urldecode": (0, "decodeURLFormComponent({0})"),
}  # fmt: skip


@dataclass(frozen=True)
class Template:
    """The text of a template, its place in the query, and what its names mean."""

    text: str
    query: str
    offset: int
    value: Callable[[str], str]
    params: Params

    def sql(self) -> str:
        """The SQL of what it makes; QueryInvalid for what it cannot say."""
        parts, at, trim = [], 0, False
        for action in _ACTION.finditer(self.text):
            parts += self._literal(self.text[at : action.start()], trim, bool(action[1]))
            parts.append(self._pipeline(action[2], action.start(2)))
            at, trim = action.end(), bool(action[3])
        rest = self.text[at:]
        if "{{" in rest:
            raise self._wrong(at + rest.index("{{"), "unclosed action")
        parts += self._literal(rest, trim, False)
        return f"concat({', '.join((*parts, chr(39) * 2))})" if parts else "''"

    def _literal(self, text: str, left: bool, right: bool) -> list[str]:
        text = text.lstrip() if left else text
        text = text.rstrip() if right else text
        return [self.params.add(text)] if text else []

    def _pipeline(self, text: str, at: int) -> str:
        """`.x | ToUpper`, `ToUpper .x`: the words from left to right."""
        words = self._words(text, at)
        made, call = "", []
        for kind, word, place in [*words, ("|", "", at)]:
            if kind != "|":
                call.append((kind, word, place))
                continue
            made = self._call(call, made, at)
            call = []
        return made

    def _words(self, text: str, at: int) -> list[tuple[str, str, int]]:
        words, place = [], 0
        while text[place:].strip():
            found = _WORD.match(text, place)
            if not found:
                raise self._wrong(at + place, "this template is not supported")
            bar, label, function, quoted, raw, number = found.groups()
            kind = "|" if bar else "label" if label else "name" if function else "text"
            word = bar or label or function or raw or number or self._unquoted(quoted or "", at + place)
            words.append((kind, word, at + place))
            place = found.end()
        return words

    def _unquoted(self, text: str, place: int) -> str:
        try:
            return unescaped(text, 0)
        except Misread as error:
            raise self._wrong(place, str(error).rpartition(": ")[2]) from None

    def _call(self, call: list[tuple[str, str, int]], before: str, at: int) -> str:
        if not call:
            raise self._wrong(at, "missing value for command")
        kind, word, place = call[0]
        if kind == "name" and word != LINE:
            if word not in FUNCTIONS:
                raise self._wrong(place, f"function {word[:40]!r} of templates is not supported")
            arguments = [self._value(*one) for one in call[1:]] + ([before] if before else [])
            count, sql = FUNCTIONS[word]
            if len(arguments) != count + 1:
                raise self._wrong(
                    place, f"wrong number of arguments for {word}: want {count + 1} got {len(arguments)}"
                )
            return sql.format(*arguments)
        if len(call) > 1 or before:
            raise self._wrong(place, "this template is not supported")
        return self._value(kind, word, place)

    def _value(self, kind: str, word: str, place: int) -> str:
        if kind == "text":
            return self.params.add(word)
        if kind == "name" and word != LINE:
            raise self._wrong(place, "this template is not supported")
        return self.value(word)

    def _wrong(self, _place: int, message: str) -> QueryInvalid:
        return invalid_at(self.query, self.offset, f"invalid template: {message}")
