"""Lines between stages: where they come from, what each one's text is, and what its labels are by now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from query.logql.labels import ERROR, ERROR_DETAILS, SAME, STREAM, fields_of, is_stream
from query.logql.parsers import NONE, Parsed
from query.sql import Params, text_of

EXTRACTED = "_extracted"  # behind the name of what a parser found and a stream's label is called


@dataclass(frozen=True)
class Layer:
    """What one stage did to labels. `value` of a label over what it was `below`; `made`: the same for all of them."""

    value: Callable[[str, str, Params], str]
    made: Callable[[str, Params], str]


@dataclass(frozen=True)
class Lines:
    """`SELECT … FROM source WHERE conditions`, not yet written down: lines with their labels after some stages.

    `kept`: of the labels that events come with, only these are left; None: all.
    """

    source: str
    conditions: tuple[str, ...]
    line: str = "message"
    layers: tuple[Layer, ...] = ()
    errors: tuple[str, ...] = ()
    kept: frozenset[str] | None = None
    depth: int = 0

    def where(self) -> str:
        return f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""

    def label(self, name: str, params: Params) -> str:
        """The SQL of a label's text, '' where it is absent."""
        if name == ERROR:
            return self.error
        if name == ERROR_DETAILS:
            return "''"
        value = own_label(name, params)
        for layer in self.layers:
            value = layer.value(name, value, params)
        return value

    def made(self, params: Params) -> str:
        """The SQL of a map of what stages did to labels: '' for one that they took away."""
        value = NONE
        for layer in self.layers:
            value = layer.made(value, params)
        return value

    @property
    def error(self) -> str:
        """The SQL of the first error that stages made of a line, '' where there is none."""
        return f"arrayFirst(error -> error != '', [{', '.join(self.errors)}])" if self.errors else "''"

    def filtered(self, sql: str) -> Lines:
        """Only the lines of which something holds."""
        return replace(self, conditions=(*self.conditions, sql))

    def failing(self, error: str | None) -> Lines:
        """Lines that a stage makes an error of."""
        return self if error is None else replace(self, errors=(*self.errors, error))

    def prepared(self, sql: str, column: str) -> Lines:
        """The same lines, with a column of what some SQL makes of each: said once, however often it is used."""
        source = f"(SELECT *, {sql} AS {column} FROM {self.source}{self.where()})"
        return replace(self, source=source, conditions=(), depth=self.depth + 1)


def own_label(name: str, params: Params) -> str:
    """The SQL of a label that an event comes with."""
    fields = [text_of(field, params) for field in fields_of(name)]
    *others, last = (f"toString({field})" for field in fields)
    if not others:
        return last
    return f"multiIf({', '.join(f'{one} != {chr(39) * 2}, {one}' for one in others)}, {last})"


def parsed_layer(parsed: Parsed) -> Layer:
    """What a parser found hides a tag of its name, but no label of a stream: that one's is `name_extracted`."""

    def value(name: str, below: str, params: Params) -> str:
        asked = name
        if is_stream(name):
            return below
        if name.endswith(EXTRACTED) and is_stream(name.removesuffix(EXTRACTED)):
            asked = name.removesuffix(EXTRACTED)
        found = parsed.value(asked, params)
        return below if found is None else f"if({found} != '', {found}, {below})"

    def made(below: str, params: Params) -> str:
        names = ", ".join(f"'{name}'" for name in (*STREAM, *SAME))
        keys = f"arrayMap(k -> if(k IN ({names}), concat(k, '{EXTRACTED}'), k), mapKeys(found))"
        renamed = f"mapFromArrays({keys}, mapValues(found))"
        found = f"arrayMap(found -> {renamed}, [{parsed.labels(params)}])[1]"
        return found if below == NONE else f"mapUpdate({below}, {found})"

    return Layer(value, made)


def set_layer(label: str, sql: str) -> Layer:
    """One label is what an expression makes; '' takes it away."""
    name = SAME.get(label, label)

    def value(asked: str, below: str, params: Params) -> str:  # noqa: ARG001 - as others
        return sql if SAME.get(asked, asked) == name else below

    def made(below: str, params: Params) -> str:
        return f"mapUpdate({below}, map({params.add(name)}, toString({sql})))"

    return Layer(value, made)


def drop_layer(label: str, condition: str) -> Layer:
    """One label is taken away where a condition holds."""
    name = SAME.get(label, label)

    def value(asked: str, below: str, params: Params) -> str:  # noqa: ARG001 - as others
        return f"if({condition}, '', {below})" if SAME.get(asked, asked) == name else below

    def made(below: str, params: Params) -> str:
        return f"mapUpdate({below}, if({condition}, map({params.add(name)}, ''), {NONE}))"

    return Layer(value, made)


def keep_layer(names: frozenset[str]) -> Layer:
    """Only these labels are left."""

    def value(asked: str, below: str, params: Params) -> str:  # noqa: ARG001 - as others
        return below if SAME.get(asked, asked) in names else "''"

    def made(below: str, params: Params) -> str:
        return f"mapFilter((k, v) -> has({params.add(sorted(names), 'Array(String)')}, k), {below})"

    return Layer(value, made)


def stream_labels(params: Params, lines: Lines) -> str:
    """The SQL of an array of (name, value): the labels of a line's stream, and what stages made, without tags."""
    own = ", ".join(f"'{label}', toString({column})" for label, column in STREAM.items())
    base = f"CAST(map({own}), 'Map(String, String)')"
    if lines.kept is not None:
        base = f"mapFilter((k, v) -> has({params.add(sorted(lines.kept), 'Array(String)')}, k), {base})"
    whole = base if not lines.layers else f"mapUpdate({base}, {lines.made(params)})"
    present = f"mapFilter((k, v) -> v != '', {whole})"
    return f"arraySort(arrayZip(mapKeys({present}), mapValues({present})))"
