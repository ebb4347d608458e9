"""What the parsers take out of a line, as SQL: each keeps one column beside the event, and gives a label of it.

Names are made labels' (`a.b` becomes `a_b`). Arrays and nulls are no labels, as with Loki.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from query import unpack
from query.sql import Params, valid_utf8
from query.words import escape

NONE = "CAST(map(), 'Map(String, String)')"
PACKED = "_entry"  # in which `pack` leaves the line
MAX_DEPTH = 8  # of nested objects
_GROUP = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\((\?(?:P?<(\w+)>|.)?)?", re.DOTALL)
_CAPTURE = re.compile(r"<([A-Za-z_]\w*)>", re.ASCII)


class Parsed(Protocol):
    """One parser's column, and its labels."""

    @property
    def column(self) -> str:
        """Its name in the SQL."""

    def prepare(self, line: str, params: Params) -> str:
        """The SQL of that column."""

    def value(self, name: str, params: Params) -> str | None:
        """The SQL of a label, '' where it is not there; None for a name that this never gives."""

    def labels(self, params: Params) -> str:
        """The SQL of a map of all labels."""

    def error(self, line: str) -> str | None:
        """The SQL of the error that a line makes, '' where it makes none; None: it never makes one."""


@dataclass(frozen=True)
class JsonLabels:
    """All members of an object. A line that begins with no `{` was no JSON, or was taken apart when it was stored."""

    column: str

    def prepare(self, line: str, params: Params) -> str:  # noqa: ARG002 - as others
        return f"if({_is_object(line)} AND isValidJSON({line}), {line}, '')"

    def value(self, name: str, params: Params) -> str | None:
        if "_" in name:  # a member's name, or names of nested ones
            return f"{self.labels(params)}[{params.add(name)}]"
        return _scalar(f"JSONExtractRaw({self.column}, {params.add(name)})")

    def labels(self, params: Params) -> str:  # noqa: ARG002 - as others
        inner = "arrayMap(m -> (concat(kv.1, '_', m.1), m.2), JSONExtractKeysAndValuesRaw(kv.2))"
        # No object is deeper in others than there are braces: flat ones, as most are, are opened without a round.
        braces = f"toInt64(countSubstrings({self.column}, '{{')) - 1"
        rounds = f"toUInt64(greatest(0, least({MAX_DEPTH}, {braces})))"
        opened = f"arrayFlatten(arrayMap(kv -> if(startsWith(kv.2, '{{'), {inner}, [kv]), fields))"
        all_ = (
            f"arrayFold((fields, _) -> {opened}, range({rounds}), JSONExtractKeysAndValuesRaw({self.column}))"
        )
        return _named(f"arrayMap(kv -> (kv.1, {_scalar('kv.2')}), {all_})")

    def error(self, line: str) -> str | None:
        return f"if({_is_object(line)} AND {self.column} = '', 'JSONParserErr', '')"


@dataclass(frozen=True)
class JsonPaths:
    """`json a="b.c[0]"`: members by their paths; keys are strings, places in arrays numbers."""

    column: str
    paths: tuple[tuple[str, tuple[str | int, ...]], ...]

    def prepare(self, line: str, params: Params) -> str:
        return JsonLabels(self.column).prepare(line, params)

    def value(self, name: str, params: Params) -> str | None:
        path = dict(self.paths).get(name)
        if path is None:
            return None
        steps = ", ".join(
            params.add(step) if isinstance(step, str) else params.add(step + 1, "Int64") for step in path
        )
        raw = f"JSONExtractRaw({self.column}, {steps})"
        return f"multiIf(startsWith({raw}, '\"'), JSONExtractString({raw}), {raw} = 'null', '', {raw})"

    def labels(self, params: Params) -> str:
        return _listed([(name, str(self.value(name, params))) for name, _ in self.paths], params)

    def error(self, line: str) -> str | None:
        return JsonLabels(self.column).error(line)


@dataclass(frozen=True)
class LogfmtLabels:
    """The `key=value` pairs of a line; `names`: only these, by label, from these keys."""

    column: str
    names: tuple[tuple[str, str], ...] | None = None

    def prepare(self, line: str, params: Params) -> str:  # noqa: ARG002 - as others
        pairs = unpack.logfmt_sql(line)
        return f"CAST({_pairs(pairs)}, 'Map(String, String)')"

    def value(self, name: str, params: Params) -> str | None:
        key = name if self.names is None else dict(self.names).get(name)
        return None if key is None else f"{self.column}[{params.add(key)}]"

    def labels(self, params: Params) -> str:
        if self.names is None:
            return self.column
        return _listed([(name, str(self.value(name, params))) for name, _ in self.names], params)

    def error(self, line: str) -> str | None:  # noqa: ARG002 - as others
        return None


@dataclass(frozen=True)
class Groups:
    """What the groups of a regex find, by their names; `index` counts from 1."""

    column: str
    regex: str
    names: tuple[tuple[str, int], ...]

    def prepare(self, line: str, params: Params) -> str:
        return f"extractGroups({valid_utf8(line)}, {params.add(self.regex)})"

    def value(self, name: str, params: Params) -> str | None:  # noqa: ARG002 - as others
        index = dict(self.names).get(name)
        return None if index is None else f"{self.column}[{index}]"

    def labels(self, params: Params) -> str:
        return _listed([(name, f"{self.column}[{index}]") for name, index in self.names], params)

    def error(self, line: str) -> str | None:  # noqa: ARG002 - as others
        return None


@dataclass(frozen=True)
class Packed:
    """What `pack` made of a line: an object of texts, of which one is the line."""

    column: str

    def prepare(self, line: str, params: Params) -> str:  # noqa: ARG002 - as others
        packed = f"{_is_object(line)} AND isValidJSON({line}) AND JSONType({line}, '{PACKED}') = 'String'"
        return f"if({packed}, {line}, '')"

    def value(self, name: str, params: Params) -> str | None:
        return f"{self.labels(params)}[{params.add(name)}]"

    def labels(self, params: Params) -> str:  # noqa: ARG002 - as others
        members = f"JSONExtractKeysAndValuesRaw({self.column})"
        texts = f"arrayFilter(kv -> startsWith(kv.2, '\"') AND kv.1 != '{PACKED}', {members})"
        return _named(f"arrayMap(kv -> (kv.1, JSONExtractString(kv.2)), {texts})")

    def line(self, line: str) -> str:
        """The SQL of the line that was packed."""
        return f"if({self.column} != '', JSONExtractString({self.column}, '{PACKED}'), {line})"

    def error(self, line: str) -> str | None:
        return f"if(NOT ({_is_object(line)} AND isValidJSON({line})), 'JSONParserErr', '')"


def group_names(pattern: str) -> list[tuple[str, int]]:
    """The named groups of a regex that can be used, and which group each is."""
    found, index = [], 0
    for match in _GROUP.finditer(pattern):
        if match[0][0] == "(" and (match[1] is None or match[2]):
            index += 1
            if match[2]:
                found.append((match[2], index))
    return found


def places(pattern: str) -> list[tuple[str, str]]:
    """The pieces of a pattern: ("text", literal) and ("place", name), of which "_" is without a name."""
    pieces, at = [], 0
    for place in _CAPTURE.finditer(pattern):
        if place.start() > at:
            pieces.append(("text", pattern[at : place.start()]))
        pieces.append(("place", place[1]))
        at = place.end()
    return pieces + ([("text", pattern[at:])] if at < len(pattern) else [])


def place_regex(pieces: list[tuple[str, str]]) -> str:
    """What `| pattern` looks for: a text that is not found ends the search, and the place before it takes the rest."""
    regex = ""
    for kind, text in reversed(pieces):
        if kind == "place":
            regex = f"({'.*?' if regex else '.*'}){f'(?:{regex}|$)' if regex else ''}"
        else:
            regex = escape(text) + regex
    return f"(?s)^{regex}"


def filter_regex(pieces: list[tuple[str, str]]) -> str:
    """What `|>` looks for: the whole line, with at least a character at each place."""
    return "(?s)^" + "".join(".+?" if kind == "place" else escape(text) for kind, text in pieces) + "$"


def _is_object(line: str) -> str:
    return f"startsWith(trimLeft({line}), '{{')"


def _scalar(raw: str) -> str:
    nothing = f"match({raw}, '^(?:null$|[\\\\[{{])')"
    return f"multiIf(startsWith({raw}, '\"'), JSONExtractString({raw}), {nothing}, '', {raw})"


def _pairs(map_: str) -> str:
    """A map with labels' names; of two that become one the first holds."""
    return f"arrayMap((k, v) -> ({_sanitized('k')}, v), mapKeys({map_}), mapValues({map_}))"


def _named(pairs: str) -> str:
    kept = f"arrayFilter(kv -> kv.2 != '', {pairs})"
    return f"CAST(arrayMap(kv -> ({_sanitized('kv.1')}, kv.2), {kept}), 'Map(String, String)')"


def _sanitized(name: str) -> str:
    return f"replaceRegexpAll({name}, '[^a-zA-Z0-9_]', '_')"


def _listed(values: list[tuple[str, str]], params: Params) -> str:
    if not values:
        return NONE
    names = ", ".join(params.add(name) for name, _ in values)
    each = f"arrayZip([{names}], [{', '.join(value for _, value in values)}])"
    return f"CAST(arrayFilter(kv -> kv.2 != '', {each}), 'Map(String, String)')"
