"""The nodes of a query. Each is frozen and prints itself back: parsing the print gives the node again.

    Query ── filter: Match | And | Or | Not        Match ── field (None: the message's words), test
          └─ pipes:  Stats, Top, Where, Sort, …    test  ── Text | Glob | Regex | Compare | Range | OneOf

Nodes say what was typed, not what it means: `status:>=500` holds the text "500". Meaning is analyze.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as option

KEYWORDS = frozenset({"AND", "OR", "NOT", "TO"})

# What may stand unquoted. They are narrower than the grammar's tokens on purpose: printing may quote more.
BARE_VALUE = re.compile(r"[\w.@#$%&+~^;?][\w.@#$%&+~^;?/:,=<>!-]*")
BARE_WORD = re.compile(r"[\w.@#$%&+~^;?][\w.@#$%&+~^;?/,=<>!-]*")
BARE_PART = re.compile(r"(?!-)[\w.@#$%&+~^;?-]*")
BARE_NAME = re.compile(r"[^\W\d][\w.@/#$-]*")
PIPE_WORDS = frozenset({"as", "by", "from", "and", "or", "not", "asc", "desc", "bin"})


def quote(text: str) -> str:
    """A quoted literal: only the quote and the backslash are escaped, every other character is itself."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(text: str, bare: re.Pattern[str]) -> str:
    return text if bare.fullmatch(text) and text not in KEYWORDS else quote(text)


def name(text: str) -> str:
    """A field name as it is typed: bare where that is possible, else quoted."""
    return text if BARE_NAME.fullmatch(text) and text.lower() not in PIPE_WORDS else quote(text)


# --- tests of one field ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A literal: the words of the message, or the value of a field."""

    text: str

    def __str__(self) -> str:
        return _plain(self.text, BARE_VALUE)


@dataclass(frozen=True)
class Glob:
    """Literal parts with a `*` between each two: `time*` is ("time", ""), `*` alone is ("", "")."""

    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ValueError("a glob holds at least one *")
        if not all(self.parts[1:-1]):
            raise ValueError("a glob holds no two * in a row")

    def __str__(self) -> str:
        return "*".join(part if BARE_PART.fullmatch(part) else quote(part) for part in self.parts)


EVERYTHING = ("", "")  # the parts of a lone *


@dataclass(frozen=True)
class Regex:
    """An RE2 pattern, without its slashes; a slash in it is not escaped here."""

    pattern: str

    def __str__(self) -> str:
        escaped = re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], self.pattern, flags=re.DOTALL)
        return f"/{escaped}/"


@dataclass(frozen=True)
class Compare:
    """`>=500`; the operators are = != < <= > >=."""

    op: str
    value: str

    def __str__(self) -> str:
        return self.op + _plain(self.value, BARE_VALUE)


@dataclass(frozen=True)
class Range:
    """`[100 TO 500}`: a bracket takes its end in, a brace leaves it out; None is an open end, typed `*`."""

    low: str | None
    high: str | None
    low_closed: bool = True
    high_closed: bool = True

    def __str__(self) -> str:
        left, right = "[" if self.low_closed else "{", "]" if self.high_closed else "}"
        return f"{left}{_end(self.low)} TO {_end(self.high)}{right}"


def _end(value: str | None) -> str:
    return "*" if value is None else _plain(value, BARE_VALUE)


@dataclass(frozen=True)
class OneOf:
    """`(eu OR us)`: at least one of the tests holds."""

    tests: tuple[Text | Glob | Regex | Compare | Range, ...]

    def __str__(self) -> str:
        return "(" + " OR ".join(map(str, self.tests)) + ")"


Test = Text | Glob | Regex | Compare | Range | OneOf

# --- filters ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """A test of a field, or, where `field` is None, of the words of the message (Text, Glob or Regex)."""

    field: str | None
    test: Test
    offset: int = option(default=0, compare=False, repr=False)  # where it was typed, for errors

    def __str__(self) -> str:
        if self.field is not None:
            return f"{name(self.field)}:{self.test}"
        return _plain(self.test.text, BARE_WORD) if isinstance(self.test, Text) else str(self.test)


@dataclass(frozen=True)
class Not:
    child: Filter

    def __str__(self) -> str:
        return f"NOT {_within(self.child, (And, Or))}"


@dataclass(frozen=True)
class And:
    children: tuple[Filter, ...]

    def __str__(self) -> str:
        return " AND ".join(_within(child, (And, Or)) for child in self.children)


@dataclass(frozen=True)
class Or:
    children: tuple[Filter, ...]

    def __str__(self) -> str:
        return " OR ".join(_within(child, (Or,)) for child in self.children)


Filter = Match | Not | And | Or

ALL = Match(None, Glob(EVERYTHING))
"""Every event, typed `*` or nothing."""


def _within(child: Filter, grouped: tuple[type, ...]) -> str:
    return f"({child})" if isinstance(child, grouped) else str(child)


# --- pipes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """An aggregate: `p95(latency_ms) as slow`, `quantile(latency_ms, 0.9)`; `level` is the quantile's."""

    function: str
    fields: tuple[str, ...] = ()
    level: str | None = None
    alias: str | None = None
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.label() + _alias(self.alias)

    def label(self) -> str:
        """The call without its alias, which is the column's name where there is none."""
        arguments = [*map(name, self.fields), *([self.level] if self.level is not None else [])]
        return f"{self.function}({', '.join(arguments)})"


@dataclass(frozen=True)
class Key:
    """What to group by: a field, or `bin(5m)` of the time, or `bin(latency_ms, 100)` of a number."""

    field: str | None
    width: str | None = None
    alias: str | None = None
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return self.label() + _alias(self.alias)

    def label(self) -> str:
        """The key without its alias."""
        if self.width is None:
            return name(self.field or "")
        return f"bin({self.width})" if self.field is None else f"bin({name(self.field)}, {self.width})"

    def column(self) -> str:
        """The name of the column it makes."""
        if self.alias is not None:
            return self.alias
        return self.field if self.width is None and self.field is not None else self.label()


def _alias(alias: str | None) -> str:
    return f" as {name(alias)}" if alias is not None else ""


def _joined(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _names(fields: tuple[str, ...]) -> str:
    return ", ".join(map(name, fields))


@dataclass(frozen=True)
class Stats:
    calls: tuple[Call, ...]
    by: tuple[Key, ...] = ()
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"stats {_joined(self.calls)}" + (f" by {_joined(self.by)}" if self.by else "")


@dataclass(frozen=True)
class Top:
    """The most (or, for `rare`, least) common values."""

    limit: int
    fields: tuple[str, ...]
    rare: bool = False
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{'rare' if self.rare else 'top'} {self.limit} {_names(self.fields)}"


@dataclass(frozen=True)
class Uniq:
    """The distinct values of fields, and how often each is there."""

    fields: tuple[str, ...]
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"uniq {_names(self.fields)}"


@dataclass(frozen=True)
class Where:
    """A condition on columns: And, Or and Not over a Match with a Compare, which is typed `n > 10` here."""

    condition: Filter
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"where {_infix(self.condition)}"


def _infix(node: Filter) -> str:
    if isinstance(node, Match):
        if node.field is None or not isinstance(node.test, Compare):
            raise ValueError(f"cannot print condition: {node!r}")
        return f"{name(node.field)} {node.test.op} {_plain(node.test.value, BARE_VALUE)}"
    if isinstance(node, Not):
        return f"not {_infix_within(node.child)}"
    if isinstance(node, And):
        return " and ".join(map(_infix_within, node.children))
    return " or ".join(f"({_infix(c)})" if isinstance(c, Or) else _infix(c) for c in node.children)


def _infix_within(child: Filter) -> str:
    return f"({_infix(child)})" if isinstance(child, And | Or) else _infix(child)


@dataclass(frozen=True)
class SortKey:
    field: str
    descending: bool = False

    def __str__(self) -> str:
        return ("-" if self.descending else "") + name(self.field)


@dataclass(frozen=True)
class Sort:
    keys: tuple[SortKey, ...]
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"sort {_joined(self.keys)}"


@dataclass(frozen=True)
class Fields:
    fields: tuple[str, ...]
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"fields {_names(self.fields)}"


@dataclass(frozen=True)
class Limit:
    count: int
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"limit {self.count}"


@dataclass(frozen=True)
class Patterns:
    """The shapes of the messages, most common first."""

    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return "patterns"


@dataclass(frozen=True)
class Histogram:
    width: str
    by: tuple[str, ...] = ()
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"histogram({self.width})" + (f" by {_names(self.by)}" if self.by else "")


@dataclass(frozen=True)
class Extract:
    """Fields taken out of a text by a pattern such as `took <ms:number>ms`."""

    pattern: str
    source: str | None = None
    offset: int = option(default=0, compare=False, repr=False)
    at: int = option(default=0, compare=False, repr=False)  # of the pattern

    def __str__(self) -> str:
        return f"extract {quote(self.pattern)}" + (f" from {name(self.source)}" if self.source else "")


@dataclass(frozen=True)
class Unpack:
    """Fields of a text that is JSON or logfmt."""

    format: str
    source: str | None = None
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"unpack {self.format}" + (f" from {name(self.source)}" if self.source else "")


Pipe = Stats | Top | Uniq | Where | Sort | Fields | Limit | Patterns | Histogram | Extract | Unpack


@dataclass(frozen=True)
class Query:
    """A whole query: which events, and what to make of them."""

    filter: Filter = ALL
    pipes: tuple[Pipe, ...] = ()

    def __str__(self) -> str:
        return " | ".join(map(str, (self.filter, *self.pipes)))
