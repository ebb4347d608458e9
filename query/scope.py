"""What names mean on events: the event's own fields, and over them what `extract` and `unpack` took out of a text.

What was taken out hides the field of the same name in those events where it is there; in the others that field stays.
The event's time and fingerprint are never hidden: they say which event it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

from query import unpack
from query.analyze import COLUMNS, field_ref
from query.conditions import Expression, FieldRef, Kind
from query.events import ALL_TAGS, TEXTS, event_columns
from query.extract import Pattern
from query.levels import ALIASES, LEVELS
from query.quantities import unit_of
from query.sql import Params, expression_of, number_of, text_of, valid_utf8
from storage.tags import SHARDS, column_name

OWN = (Kind.TIME, Kind.FINGERPRINT)
NO_TAGS = "CAST(map(), 'Map(String, String)')"


class Layer(Protocol):
    """What one pipe took out of a text, kept beside the event in one column of the stage."""

    @property
    def column(self) -> str:
        """Its name in the SQL."""

    def prepare(self, text: str, params: Params) -> str:
        """The SQL of that column."""

    def value(self, name: str, params: Params) -> Expression | None:
        """A field, '' or NULL where it is not there; None for a name that this never gives."""

    def tags(self, params: Params) -> str:
        """The SQL of a map of all fields."""


@dataclass(frozen=True)
class Extracted:
    column: str
    pattern: Pattern

    def prepare(self, text: str, params: Params) -> str:
        regex = params.add(f"(?-s){self.pattern.regex}")  # as in sql.py: `.` is no line break
        return f"extractGroups({valid_utf8(text)}, {regex})"

    def value(self, name: str, params: Params) -> Expression | None:  # noqa: ARG002 - as others
        for index, place in enumerate(self.pattern.places, 1):
            if place.name == name:
                group = f"{self.column}[{index}]"
                sql = f"(toFloat64OrNull({group}) + 0.)" if place.kind is Kind.NUMBER else group
                return Expression(sql, place.kind, unit_of(name))
        return None

    def tags(self, params: Params) -> str:
        names = ", ".join(params.add(place.name) for place in self.pattern.places)
        # Where nothing was found the array is empty: the two must be of one length.
        values = f"arrayResize({self.column}, {len(self.pattern.places)}, '')"
        return f"CAST(arrayFilter(kv -> kv.2 != '', arrayZip([{names}], {values})), 'Map(String, String)')"


@dataclass(frozen=True)
class Json:
    column: str

    def prepare(self, text: str, params: Params) -> str:  # noqa: ARG002 - as others
        return unpack.json_sql(text)

    def value(self, name: str, params: Params) -> Expression | None:
        return Expression(unpack.json_field(self.column, name, params), Kind.TEXT, unit_of(name))

    def tags(self, params: Params) -> str:  # noqa: ARG002 - as others
        return unpack.json_map(self.column)


@dataclass(frozen=True)
class Logfmt:
    column: str

    def prepare(self, text: str, params: Params) -> str:  # noqa: ARG002 - as others
        return unpack.logfmt_sql(text)

    def value(self, name: str, params: Params) -> Expression | None:
        return Expression(f"{self.column}[{params.add(name)}]", Kind.TEXT, unit_of(name))

    def tags(self, params: Params) -> str:  # noqa: ARG002 - as others
        return self.column


UNPACKERS: dict[str, Callable[[str], Layer]] = {"json": Json, "logfmt": Logfmt}


@dataclass(frozen=True)
class Scope:
    """The names of a stage over events. Later layers lie over earlier ones."""

    layers: tuple[Layer, ...] = ()

    def field(self, name: str, params: Params) -> FieldRef:
        """What a name is."""
        ref = field_ref(name)
        if ref.kind in OWN:
            return ref
        for layer in self.layers:
            made = layer.value(name, params)
            if made is not None:
                ref = over(made, ref, params)
        return ref

    def text(self, name: str, params: Params) -> str:
        """The SQL of a field as a text, '' where it is not there."""
        value = expression_of(self.field(name, params), params)
        return value.sql if value.kind in (Kind.TEXT, Kind.LEVEL) else f"ifNull(toString({value.sql}), '')"

    def keys(self, params: Params) -> str:
        """The SQL of an array: the names of an event's tags, and of what was taken out beside them."""
        if not self.layers:
            return f"arrayConcat({', '.join(f'mapKeys({column_name(shard)})' for shard in range(SHARDS))})"
        return f"mapKeys({self._tags(params)})"

    def pairs(self, params: Params) -> str:
        """The SQL of an array of (name, value): the tags of an event, and what was taken out beside them."""
        type_ = "'Array(Tuple(String, String))'"
        if not self.layers:
            return (
                f"arrayConcat({', '.join(f'CAST({column_name(shard)}, {type_})' for shard in range(SHARDS))})"
            )
        return f"CAST({self._tags(params)}, {type_})"

    def event_columns(self, tier: str, params: Params) -> str:
        """What a SELECT of whole events asks for: what was taken out is shown as a tag or in the column of its name."""
        if not self.layers:
            return event_columns(tier)
        texts = {name: text_of(self.field(name, params), params) for name in TEXTS}
        return event_columns(tier, texts, self._tags(params))

    def _tags(self, params: Params) -> str:
        made = reduce(lambda below, layer: f"mapUpdate({below}, {layer.tags(params)})", self.layers, NO_TAGS)
        new = f"mapFilter((k, v) -> NOT has({params.add(list(COLUMNS), 'Array(String)')}, k), {made})"
        return f"mapUpdate(CAST({ALL_TAGS}, 'Map(String, String)'), {new})"


EVENTS = Scope()
"""Events as they are stored."""


def over(made: Expression, below: FieldRef, params: Params) -> Expression:
    """One value where it is there, else the one below."""
    under = expression_of(below, params)
    if below.kind is Kind.LEVEL:
        names = [*LEVELS, *ALIASES]
        levels = [*LEVELS, *ALIASES.values()]
        known = f"transform(lower({made.sql}), {_texts(names)}, {_texts(levels)}, '')"
        return Expression(f"if({known} != '', {known}, {under.sql})", Kind.LEVEL)
    if Kind.NUMBER in (made.kind, under.kind):  # what was taken out as a number stays one
        return Expression(f"ifNull({number_of(made)}, {number_of(under)})", Kind.NUMBER, made.unit)
    return Expression(f"if({made.sql} != '', {made.sql}, toString({under.sql}))", made.kind, made.unit)


def _texts(values: list[str]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"
