"""What a filter means, typed and resolved: the step between the AST (what was typed) and SQL.

A condition is two-valued on every event: an event without the field simply does not pass, and passes the negation.
The empty text is the same as an absent field.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from query.quantities import Unit, unit_of
from query.words import WordPattern


class Kind(Enum):
    """How the values of a field compare."""

    TEXT = "string"
    LEVEL = "level"
    TIME = "time"
    NUMBER = "number"
    FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Column:
    """A column of the events table."""

    name: str
    kind: Kind = Kind.TEXT
    unit: Unit | None = None


@dataclass(frozen=True)
class Tag:
    """A tag, in the map that its key's hash names."""

    key: str
    kind: Kind = Kind.TEXT

    @property
    def unit(self) -> Unit | None:
        return unit_of(self.key)


@dataclass(frozen=True)
class Expression:
    """What a pipe made: SQL over columns of ours. Texts may be '', numbers and times NULL, where they are absent.

    Times are nanoseconds since 1970 (Int64).
    """

    sql: str
    kind: Kind
    unit: Unit | None = None


FieldRef = Column | Tag | Expression


@dataclass(frozen=True)
class Everything:
    """Every event."""


@dataclass(frozen=True)
class AllOf:
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Negation:
    condition: Condition


@dataclass(frozen=True)
class Words:
    """The message holds the term."""

    pattern: WordPattern


@dataclass(frozen=True)
class Matches:
    """RE2 finds the pattern in a value that is there."""

    field: FieldRef
    pattern: str
    offset: int = 0


@dataclass(frozen=True)
class IsIn:
    """The value is one of these; the empty text is the absent value."""

    field: FieldRef
    values: tuple[str, ...]


@dataclass(frozen=True)
class LooksLike:
    """A glob over the whole value: literal parts with any characters between them."""

    field: FieldRef
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Present:
    field: FieldRef


@dataclass(frozen=True)
class NumberIs:
    """The value reads as a number, and compares so (= < <= > >=) with this one, which is in the field's unit.

    `unit`: numbers with a unit count only if it is of this kind.
    """

    field: FieldRef
    op: str
    number: float
    unit: str | None = None


@dataclass(frozen=True)
class TextIs:
    """The value is there and compares so (< <= > >=), byte by byte, with this text."""

    field: FieldRef
    op: str
    text: str


@dataclass(frozen=True)
class TimeIn:
    """Nanoseconds since 1970, low <= time < high; None is open. `field` is None for the event's own time."""

    low: int | None
    high: int | None
    field: Expression | None = None


@dataclass(frozen=True)
class FingerprintIs:
    fingerprint: int


Condition = (
    Everything | AllOf | AnyOf | Negation | Words | Matches | IsIn | LooksLike | Present
    | NumberIs | TextIs | TimeIn | FingerprintIs
)  # fmt: skip


def any_of(conditions: tuple[Condition, ...]) -> Condition:
    """At least one holds. Equalities of one field become one set."""
    first = conditions[0]
    if isinstance(first, IsIn) and all(isinstance(c, IsIn) and c.field == first.field for c in conditions):
        return IsIn(
            first.field, tuple(value for c in conditions if isinstance(c, IsIn) for value in c.values)
        )
    return first if len(conditions) == 1 else AnyOf(conditions)


def all_of(conditions: tuple[Condition, ...]) -> Condition:
    """All hold."""
    kept = tuple(c for c in conditions if not isinstance(c, Everything))
    return Everything() if not kept else kept[0] if len(kept) == 1 else AllOf(kept)
