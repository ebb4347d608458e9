"""The nodes of a LogQL query. Each is frozen and prints itself back: parsing the print gives the node again.

LogQuery ── selector: Matcher…, stages      Metric ── RangeAggregation ── LogRange ── LogQuery
                                                   ├─ VectorAggregation, Binary, LabelReplace
                                                   └─ Literal, Constant
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as option

ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
UNITS = (("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
         ("ms", 1_000_000), ("us", 1_000), ("ns", 1))  # fmt: skip


def quote(text: str) -> str:
    """A string literal."""
    return '"' + "".join(ESCAPES.get(c, c if ord(c) >= 32 else f"\\x{ord(c):02x}") for c in text) + '"'


def duration(nanos: int) -> str:
    """`1h30m`: a duration as it is typed."""
    sign, left, said = "-" if nanos < 0 else "", abs(nanos), ""
    for unit, size in UNITS:
        count, left = divmod(left, size)
        said += f"{count}{unit}" if count else ""
    return sign + (said or "0s")


def number(value: float) -> str:
    """A number as it is typed: digits, a point, an exponent where there must be one."""
    return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)


# --- log queries -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matcher:
    """`name="value"`; the operators are = != =~ !~."""

    name: str
    op: str
    value: str
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}{self.op}{quote(self.value)}"


@dataclass(frozen=True)
class LineTest:
    """What a line filter looks for; `ip`: in addresses."""

    text: str
    ip: bool = False
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"ip({quote(self.text)})" if self.ip else quote(self.text)


@dataclass(frozen=True)
class LineFilter:
    """`|= "a" or "b"`; the operators are |= != |~ !~ |> !>."""

    op: str
    tests: tuple[LineTest, ...]

    def __str__(self) -> str:
        return f"{self.op} {' or '.join(map(str, self.tests))}"


@dataclass(frozen=True)
class Extraction:
    """`name="path"`: what a parser is to take out."""

    name: str
    path: str
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}={quote(self.path)}"


@dataclass(frozen=True)
class Json:
    extractions: tuple[Extraction, ...] = ()

    def __str__(self) -> str:
        return f"| json{_spaced(self.extractions)}"


@dataclass(frozen=True)
class Logfmt:
    extractions: tuple[Extraction, ...] = ()
    flags: tuple[str, ...] = ()
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"| logfmt{''.join(f' {flag}' for flag in self.flags)}{_spaced(self.extractions)}"


@dataclass(frozen=True)
class Parser:
    """`| regexp "…"`, `| pattern "…"` or `| unpack`."""

    kind: str
    pattern: str | None = None
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"| {self.kind}" + ("" if self.pattern is None else f" {quote(self.pattern)}")


@dataclass(frozen=True)
class Comparison:
    """`name > 5`; `unit` says how the value is read: number, duration (in nanoseconds) or bytes."""

    name: str
    op: str
    value: float
    unit: str = "number"
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        said = number(self.value)
        if self.unit == "duration":
            said = duration(int(self.value))
        elif self.unit == "bytes":
            said += "B"
        return f"{self.name}{self.op}{said}"


@dataclass(frozen=True)
class IpMatch:
    """`name = ip("10.0.0.0/8")`."""

    name: str
    op: str
    value: str
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}{self.op}ip({quote(self.value)})"


@dataclass(frozen=True)
class Both:
    children: tuple[LabelTest, ...]

    def __str__(self) -> str:
        return " and ".join(f"({c})" if isinstance(c, Both | Either) else str(c) for c in self.children)


@dataclass(frozen=True)
class Either:
    children: tuple[LabelTest, ...]

    def __str__(self) -> str:
        return " or ".join(f"({c})" if isinstance(c, Either) else str(c) for c in self.children)


LabelTest = Matcher | Comparison | IpMatch | Both | Either


@dataclass(frozen=True)
class LabelFilter:
    test: LabelTest

    def __str__(self) -> str:
        return f"| {self.test}"


@dataclass(frozen=True)
class LineFormat:
    template: str
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"| line_format {quote(self.template)}"


@dataclass(frozen=True)
class Format:
    """`name=source` renames a label, `name="{{.x}}"` makes one."""

    name: str
    source: str
    is_template: bool
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}={quote(self.source) if self.is_template else self.source}"


@dataclass(frozen=True)
class LabelFormat:
    formats: tuple[Format, ...]

    def __str__(self) -> str:
        return f"| label_format {_joined(self.formats)}"


@dataclass(frozen=True)
class Choose:
    """`| drop a, b="c"` and `| keep …`: a name alone, or a label whose value matches."""

    keep: bool
    items: tuple[str | Matcher, ...]

    def __str__(self) -> str:
        return f"| {'keep' if self.keep else 'drop'} {_joined(self.items)}"


@dataclass(frozen=True)
class Decolorize:
    def __str__(self) -> str:
        return "| decolorize"


Stage = LineFilter | Json | Logfmt | Parser | LabelFilter | LineFormat | LabelFormat | Choose | Decolorize


@dataclass(frozen=True)
class LogQuery:
    """Which lines, and what is done with each."""

    matchers: tuple[Matcher, ...]
    stages: tuple[Stage, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{{{_joined(self.matchers)}}}", *map(str, self.stages)))


# --- metric queries --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unwrap:
    """`| unwrap duration(x) | filters`: the label whose value is the sample."""

    name: str
    conversion: str = ""
    filters: tuple[LabelFilter, ...] = ()
    offset: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        label = f"{self.conversion}({self.name})" if self.conversion else self.name
        return " ".join((f"| unwrap {label}", *map(str, self.filters)))


@dataclass(frozen=True)
class LogRange:
    """`{…} | … [5m] offset 1h`; nanoseconds."""

    query: LogQuery
    width: int
    unwrap: Unwrap | None = None
    offset: int = 0

    def __str__(self) -> str:
        unwrap = f" {self.unwrap}" if self.unwrap else ""
        offset = f" offset {duration(self.offset)}" if self.offset else ""
        return f"{self.query}{unwrap} [{duration(self.width)}]{offset}"


@dataclass(frozen=True)
class Grouping:
    """`by (a, b)` or `without (a)`."""

    without: bool
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{'without' if self.without else 'by'} ({', '.join(self.names)})"


@dataclass(frozen=True)
class RangeAggregation:
    function: str
    range: LogRange
    grouping: Grouping | None = None
    parameter: float | None = None
    at: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        parameter = "" if self.parameter is None else f"{number(self.parameter)}, "
        return f"{self.function}({parameter}{self.range})" + (f" {self.grouping}" if self.grouping else "")


@dataclass(frozen=True)
class VectorAggregation:
    function: str
    inner: Metric
    grouping: Grouping | None = None
    parameter: float | None = None
    at: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        by = f" {self.grouping} " if self.grouping else ""
        parameter = "" if self.parameter is None else f"{number(self.parameter)}, "
        return f"{self.function}{by}({parameter}{self.inner})"


@dataclass(frozen=True)
class Matching:
    """`on (a)` or `ignoring (a)`, and `group_left (b)`: which series of two sides belong together."""

    on: bool = False
    names: tuple[str, ...] = ()
    group: str = ""
    include: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{'on' if self.on else 'ignoring'} ({', '.join(self.names)})"
        return said + (f" {self.group} ({', '.join(self.include)})" if self.group else "")


@dataclass(frozen=True)
class Binary:
    op: str
    left: Metric
    right: Metric
    returns_bool: bool = False
    matching: Matching | None = None
    at: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        words = [
            self.op,
            *(["bool"] if self.returns_bool else []),
            *([str(self.matching)] if self.matching else []),
        ]
        return f"{_operand(self.left)} {' '.join(words)} {_operand(self.right)}"


def _operand(side: Metric) -> str:
    return f"({side})" if isinstance(side, Binary) else str(side)


@dataclass(frozen=True)
class Literal:
    """A number."""

    value: float

    def __str__(self) -> str:
        return number(self.value)


@dataclass(frozen=True)
class Constant:
    """`vector(1)`: a series without labels."""

    value: float

    def __str__(self) -> str:
        return f"vector({number(self.value)})"


@dataclass(frozen=True)
class LabelReplace:
    inner: Metric
    target: str
    replacement: str
    source: str
    regex: str
    at: int = option(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        texts = _joined(map(quote, (self.target, self.replacement, self.source, self.regex)))
        return f"label_replace({self.inner}, {texts})"


Metric = RangeAggregation | VectorAggregation | Binary | Literal | Constant | LabelReplace
Query = LogQuery | Metric


def _joined(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _spaced(items: tuple[Extraction, ...]) -> str:
    return f" {_joined(items)}" if items else ""
