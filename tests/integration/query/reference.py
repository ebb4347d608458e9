"""The language as docs/query.md reads, in plain Python over events in memory. It shares with Neve only the syntax tree.

An event is a dict with timestamp (nanoseconds), level, service, host (str), message (bytes), fingerprint (int), tags
(bytes by name) and `id` (block, row). Texts are bytes; numbers and times may be None.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from query import ast

LEVELS = ["", "trace", "debug", "info", "notice", "warn", "error", "critical", "fatal"]
ALIASES = {"warning": "warn", "err": "error"}
TEXT, NUMBER, TIME, LEVEL, FINGERPRINT = "text", "number", "time", "level", "fingerprint"
Event = dict[str, Any]
OPS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
}  # fmt: skip


class Mismatch(Exception):
    """A comparison that is an error."""


# --- words -------------------------------------------------------------------------------------------------


def is_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LN"


def has_edges(character: str) -> bool:
    spaceless = any(
        script in unicodedata.name(character, "") for script in ("CJK UNIFIED", "THAI", "KATAKANA")
    )
    return is_word(character) and not spaceless


def same(one: str, other: str) -> bool:
    """Equal but for case; an ASCII letter is only ever an ASCII letter."""
    return one == other or (one.isascii() == other.isascii() and one.casefold() == other.casefold())


def literal_at(text: str, at: int, part: str) -> bool:
    return len(text) - at >= len(part) and all(map(same, text[at : at + len(part)], part))


def ends_of(text: str, at: int, parts: tuple[str, ...]) -> list[int]:
    """Where a match of the parts that starts here may end."""
    if not literal_at(text, at, parts[0]):
        return []
    end = at + len(parts[0])
    if len(parts) == 1:
        return [end]
    ends = []
    for start in range(end, len(text) + 1):
        ends += ends_of(text, start, parts[1:])
        if start < len(text) and text[start] in " \t\n\f\r":
            break
    return ends


def words(parts: tuple[str, ...], message: bytes) -> bool:
    text = message.decode("utf-8", "replace")
    for at in range(len(text) + 1):
        if parts[0] and has_edges(parts[0][0]) and at and is_word(text[at - 1]):
            continue
        for end in ends_of(text, at, parts):
            if not (parts[-1] and has_edges(parts[-1][-1]) and end < len(text) and is_word(text[end])):
                return True
    return False


# --- numbers -----------------------------------------------------------------------------------------------

TYPED_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip
BYTES = {
    "B": 1, "k": 1e3, **{p: 1000.0**n for n, p in enumerate("KMGTP", 1)},
    **{f"{p}b": 1000.0**n for n, p in enumerate("kmgtp", 1)},
    **{f"{p}ib": 1024.0**n for n, p in enumerate("kmgtp", 1)},
}  # fmt: skip
UNITS = {"latency_ms": ("duration", 1e-3), "ms": ("duration", 1e-3), "heap_mb": ("size", 1e6)}
"""Of the names that the tests use."""
Quantity = tuple[float, str | None]


def quantity(text: str) -> Quantity | None:
    """A number in seconds, in bytes, or bare."""
    if TYPED_NUMBER.fullmatch(text):
        return float(text), None
    steps = re.findall(r"(\d+(?:\.\d+)?) ?([a-zµ]+)", text, re.ASCII)
    if steps and re.fullmatch(r"[+-]?(\d+(\.\d+)? ?(ns|us|µs|ms|s|m|h|d|w))+", text, re.ASCII):
        total = sum(float(number) * SECONDS[unit] for number, unit in steps)
        return (-total if text[0] == "-" else total), "duration"
    size = re.fullmatch(
        r"([+-]?\d+(?:\.\d+)?) ?(B|[kKMGTP]|[kKmMgGtTpP]i?[bB]|[kKmMgGtTpP]I[bB])", text, re.ASCII
    )
    if size:
        unit = size[2] if len(size[2]) == 1 else size[2].lower()
        return float(size[1]) * BYTES[unit], "size"
    return None


def number(value: Any, unit: tuple[str, float] | None, kind: str | None = None) -> float | None:
    """The number that a stored value is, in its field's unit."""
    if not isinstance(value, bytes):
        return None if value is None else float(value)
    text = value.decode("utf-8", "surrogateescape")
    plain = text == text.strip() and "_" not in text and text.isascii()
    try:
        return float(text) if plain else None
    except ValueError:
        pass
    found = quantity(text)
    if found is None or (kind and found[1] != kind) or (unit and found[1] != unit[0]):
        return None
    return rounded(found[0] / (unit[1] if unit else 1))


def rounded(value: float) -> float:
    """Without what is left of turning units into one another."""
    return float(f"{value:.12g}")


def typed(text: str, unit: tuple[str, float] | None) -> tuple[float, str | None] | None:
    """A number as typed, in the field's unit, and its kind."""
    found = quantity(text)
    if found is None or found[1] is None:
        return found
    if unit and unit[0] != found[1]:
        raise Mismatch
    return rounded(found[0] / (unit[1] if unit else 1)), found[1]


# --- tests of values ---------------------------------------------------------------------------------------


def bounds(test: ast.Range) -> list[tuple[str, str]]:
    low = [(">=" if test.low_closed else ">", test.low)] if test.low is not None else []
    high = [("<=" if test.high_closed else "<", test.high)] if test.high is not None else []
    return low + high


def compares(value: bytes, ends: list[tuple[str, str]], unit: tuple[str, float] | None) -> bool:
    numbers = [typed(wanted, unit) if quantity(wanted) else None for _, wanted in ends]
    if not all(numbers):
        return value != b"" and all(OPS[op](value, wanted.encode()) for op, wanted in ends)
    kinds = {found[1] for found in numbers if found and found[1]}
    if len(kinds) > 1:
        raise Mismatch
    found = number(value, unit, next(iter(kinds), None))
    return found is not None and all(
        OPS[op](found, wanted[0]) for (op, _), wanted in zip(ends, numbers, strict=True) if wanted
    )


def text_passes(value: bytes, test: ast.Test, unit: tuple[str, float] | None) -> bool:
    match test:
        case ast.OneOf(tests):
            return any(text_passes(value, one, unit) for one in tests)
        case ast.Text(text):
            return value == text.encode()
        case ast.Glob(parts):
            shown = value.decode("utf-8", "replace")
            return (
                value != b"" and re.fullmatch(".*".join(map(re.escape, parts)), shown, re.DOTALL) is not None
            )
        case ast.Regex(pattern):
            return value != b"" and regex_finds(pattern, value)
        case ast.Compare("=", wanted):
            return value == wanted.encode()
        case ast.Compare("!=", wanted):
            return value != wanted.encode()
        case ast.Compare(op, wanted):
            return compares(value, [(op, wanted)], unit)
    assert isinstance(test, ast.Range)
    return compares(value, bounds(test), unit) if bounds(test) else value != b""


def regex_finds(pattern: str, value: bytes) -> bool:
    """RE2's `$` is the very end and its `\\d` is ASCII."""
    pattern = re.sub(r"\$$", r"\\Z", pattern)
    return re.search(pattern, value.decode("utf-8", "replace"), re.ASCII) is not None


def level_passes(level: str, test: ast.Test) -> bool:
    match test:
        case ast.Text(text):
            return level == ALIASES.get(text, text)
        case ast.Glob(parts):
            return level != "" and level.startswith(parts[0].lower())
        case ast.Compare("=", wanted):
            return level == wanted
        case ast.Compare("!=", wanted):
            return level != wanted
        case ast.Compare(op, wanted):
            return level != "" and OPS[op](LEVELS.index(level), LEVELS.index(wanted))
    assert isinstance(test, ast.Range)
    return level != "" and all(
        OPS[op](LEVELS.index(level), LEVELS.index(wanted)) for op, wanted in bounds(test)
    )


def time_passes(at: int | None, test: ast.Test, spans: dict[str, tuple[int, int]]) -> bool:
    """`spans`: what the times that the tests use mean."""
    if at is None:
        return False
    if isinstance(test, ast.Range):
        return all(time_passes(at, ast.Compare(op, wanted), spans) for op, wanted in bounds(test))
    assert isinstance(test, ast.Text | ast.Compare)
    low, high = spans[test.text if isinstance(test, ast.Text) else test.value]
    op = "=" if isinstance(test, ast.Text) else test.op
    if op == "!=":
        return not low <= at < high
    return {"=": low <= at < high, "<": at < low, "<=": at < high, ">": at >= high, ">=": at >= low}[op]


def number_passes(value: float | None, test: ast.Test, unit: tuple[str, float] | None) -> bool:
    assert isinstance(test, ast.Compare)
    if test.value == "":
        return (value is None) == (test.op == "=")
    wanted = typed(test.value, unit)
    if wanted is None:
        raise Mismatch
    if test.op == "!=":
        return value is None or value != wanted[0]
    return value is not None and OPS[test.op](value, wanted[0])


# --- filters -----------------------------------------------------------------------------------------------


@dataclass
class Reading:
    """Reads events. `spans`: by time as typed, the half-open range that it names."""

    spans: dict[str, tuple[int, int]]

    def passes(self, event: Event, node: ast.Filter) -> bool:
        match node:
            case ast.And(children):
                each = [
                    self.passes(event, child) for child in children
                ]  # what is an error is one behind any other
                return all(each)
            case ast.Or(children):
                each = [self.passes(event, child) for child in children]
                return any(each)
            case ast.Not(child):
                return not self.passes(event, child)
            case ast.Match(None, ast.Text(text)) | ast.Match("message", ast.Text(text)):
                return words((text,), event["message"])
            case ast.Match(None, ast.Glob(parts)):
                return parts == ("", "") or words(parts, event["message"])
            case ast.Match(None, ast.Regex(pattern)):
                return event["message"] != b"" and regex_finds(pattern, event["message"])
        assert isinstance(node, ast.Match)
        return self.tested(*event_field(event, node.field or ""), node.test)

    def tested(self, value: Any, kind: str, unit: tuple[str, float] | None, test: ast.Test) -> bool:
        if kind == TIME:
            return time_passes(value, test, self.spans)
        if kind == NUMBER:
            return number_passes(value, test, unit)
        if kind == LEVEL:
            return level_passes(value.decode(), test)
        if kind == FINGERPRINT:
            assert isinstance(test, ast.Text | ast.Compare)
            wanted = test.text if isinstance(test, ast.Text) else test.value
            negated = isinstance(test, ast.Compare) and test.op == "!="
            return (value == wanted.encode()) != negated
        return text_passes(value, test, unit)


Cell = tuple[Any, str, tuple[str, float] | None]
"""A value, its kind and its unit."""


def leveled(taken: bytes | None) -> bytes:
    """The level that a text names, b"" where it is none."""
    text = (taken or b"").decode().lower()
    level = ALIASES.get(text, text)
    return level.encode() if level in LEVELS else b""


def event_field(event: Event, name: str) -> Cell:
    if name in ("timestamp", "_time"):
        return event["timestamp"], TIME, None
    if name == "fingerprint":
        return f"{event['fingerprint']:016x}".encode(), FINGERPRINT, None
    taken = event.get("taken", {}).get(name)
    if name == "level":
        return leveled(taken) or event["level"].encode(), LEVEL, None
    if taken is not None:
        return taken, TEXT, UNITS.get(name)
    if name in ("service", "host", "message"):
        value = event[name]
        return value if isinstance(value, bytes) else value.encode(), TEXT, None
    return event["tags"].get(name, b""), TEXT, UNITS.get(name)


# --- fields out of texts -----------------------------------------------------------------------------------


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, bytes]:
    """A JSON object's fields."""
    found: dict[str, bytes] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= flat(inner, f"{prefix}{key}.")
        else:
            text = (
                inner
                if isinstance(inner, str)
                else json.dumps(inner, separators=(",", ":"), ensure_ascii=False)
            )
            found[prefix + key] = text.encode()
    return {key: text for key, text in found.items() if text}


def unpack_json(text: bytes) -> dict[str, bytes]:
    try:
        value = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        return {}
    return flat(value) if isinstance(value, dict) else {}


NAMED = {"n": "\n", "t": "\t", "r": "\r"}


def unpack_logfmt(text: bytes) -> dict[str, bytes]:
    """Pairs at the beginning or behind a space."""
    shown, found, at = text.decode("utf-8", "replace"), {}, 0
    while at < len(shown):
        behind_space = at == 0 or shown[at - 1] in " \t\r\n"
        pair = re.compile(
            r'([A-Za-z_@\x80-\U0010ffff][\w.@/\x80-\U0010ffff-]*)=("(?:[^"\\\0\n]|\\[^\0\n])*"|[^\s"=][^\s"]*)?',
            re.ASCII,
        )
        match = pair.match(shown, at) if behind_space else None
        if match is None:
            at += 1
            continue
        value = match[2] or ""
        if value.startswith('"'):
            value = re.sub(r"\\(.)", lambda m: NAMED.get(m[1], m[1]), value[1:-1], flags=re.DOTALL)
        found[match[1]] = value.encode()
        at = match.end()
    return {key: text for key, text in found.items() if text}


Extraction = tuple[re.Pattern[str], dict[str, str]]
"""A pattern's plain reading: a Python regex with named groups, and the kinds of those."""


def take_out(text: bytes, extraction: Extraction) -> dict[str, bytes]:
    match = extraction[0].search(text.decode("utf-8", "replace"))
    return {name: value.encode() for name, value in match.groupdict().items() if value} if match else {}


# --- pipes -------------------------------------------------------------------------------------------------

OrderKey = Callable[["Row"], Any]


@dataclass
class Row:
    """A row of a table, or an event. `behind` holds what the order goes by and no column shows."""

    cells: dict[str, Cell]
    event: Event | None = None
    behind: dict[str, Cell] = field(default_factory=dict)


@dataclass
class OneOfThese:
    """Any of these values is right (for `any`)."""

    values: list[Any]


class Descending:
    """Turns an order around."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and bool(self.value == other.value)


def term(value: Any, descending: bool) -> tuple[int, Any]:
    """What is absent comes last either way."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return (1, 0)
    return (0, Descending(value) if descending else value)


def sort_terms(cell: Cell, descending: bool) -> list[tuple[int, Any]]:
    value, kind, unit = cell
    if kind == LEVEL:
        return [term(LEVELS.index(value.decode()), descending)]
    if kind in (TEXT, FINGERPRINT):
        return [term(number(value, unit), descending), term(value, descending)]
    return [term(value, descending)]


NOTHING: Event = {
    "timestamp": 0, "level": "", "service": "", "host": "", "message": b"", "fingerprint": 0, "tags": {},
}  # fmt: skip


class Table:
    """Rows on their way through the pipes."""

    def __init__(
        self, reading: Reading, events: list[Event], extractions: dict[str, Extraction], span: float | None
    ):
        self.reading, self.extractions, self.span = reading, extractions, span
        self.columns: list[str] | None = None
        self.kinds: dict[str, tuple[str, tuple[str, float] | None]] = {}
        self.rows = [Row({}, event) for event in events]
        self.order: list[OrderKey] = [_newest]

    def cell(self, row: Row, name: str) -> Cell:
        if row.event is not None and self.columns is None:
            return self._event_cell(row.event, name)
        if name not in row.cells and name in ("timestamp", "_time"):
            return next(cell for cell in row.cells.values() if cell[1] == TIME)
        return row.cells[name]

    def _event_cell(self, event: Event, name: str) -> Cell:
        value, kind, unit = event_field(event, name)
        if self.kinds.get(name, (TEXT, None))[0] != NUMBER:
            return value, kind, unit
        own = number(value, unit)
        return own if own is not None else number(event["tags"].get(name, b""), unit), NUMBER, unit

    def sorted_rows(self) -> list[Row]:
        def key(row: Row) -> list[Any]:
            ordered = [one(row) for one in self.order]
            if self.columns is None:
                return [*ordered, _newest(row)]
            return [*ordered, *(term(row.cells[name][0], False) for name in self.columns)]

        return sorted(self.rows, key=key)

    def step(self, pipe: ast.Pipe) -> None:
        getattr(self, f"_{type(pipe).__name__.lower()}")(pipe)

    # events and tables

    def _where(self, pipe: ast.Where) -> None:
        self.rows = [row for row in self.rows if self._passes(row, pipe.condition)]

    def _passes(self, row: Row, node: ast.Filter) -> bool:
        match node:
            case ast.And(children):
                return all(self._passes(row, child) for child in children)
            case ast.Or(children):
                return any(self._passes(row, child) for child in children)
            case ast.Not(child):
                return not self._passes(row, child)
        assert isinstance(node, ast.Match)
        value, kind, unit = self.cell(row, node.field or "")
        if kind == FINGERPRINT and self.columns is not None:
            kind = TEXT
        return self.reading.tested(value, kind, unit, node.test)

    def _sort(self, pipe: ast.Sort) -> None:
        def one(key: ast.SortKey) -> OrderKey:
            return lambda row: sort_terms(self.cell(row, key.field), key.descending)

        self._freeze([one(key) for key in pipe.keys])

    def _freeze(self, order: list[OrderKey]) -> None:
        """The order as it is now, whatever becomes of the columns."""
        for row in self.rows:
            row.behind = {"order": ([one(row) for one in order], "", None)}
        self.order = [lambda row: row.behind["order"][0]]

    def _limit(self, pipe: ast.Limit) -> None:
        self.rows = self.sorted_rows()[: pipe.count]

    def _fields(self, pipe: ast.Fields) -> None:
        order = {id(row): place for place, row in enumerate(self.sorted_rows())}
        made = []
        for row in self.rows:
            cells = {name: self.cell(row, name) for name in pipe.fields}
            made.append(Row(cells, behind={"order": (order[id(row)], "", None)}))
        self._tabulate(made, {name: self.kind(name) for name in pipe.fields})
        self.order = [lambda row: row.behind["order"][0]]

    def _extract(self, pipe: ast.Extract) -> None:
        extraction = self.extractions[pipe.pattern]
        self._take(pipe.source, lambda text: take_out(text, extraction), extraction[1])

    def _unpack(self, pipe: ast.Unpack) -> None:
        self._take(pipe.source, unpack_json if pipe.format == "json" else unpack_logfmt, {})

    def _take(
        self, source: str | None, take: Callable[[bytes], dict[str, bytes]], kinds: dict[str, str]
    ) -> None:
        found = [take(self.cell(row, source or "message")[0]) for row in self.rows]
        for name, kind in kinds.items():
            stays = self.kind(name)[0] if self.columns is None or name in self.columns else kind
            self.kinds[name] = (stays if stays in (LEVEL, NUMBER) else kind), UNITS.get(name)
        if self.columns is not None:
            self.columns += [name for name in kinds if name not in self.columns]
        for row, values in zip(self.rows, found, strict=True):
            if self.columns is None:
                assert row.event is not None
                row.event = {**row.event, "taken": self._overlaid(row.event.get("taken", {}), values)}
                continue
            for name in kinds:
                below = row.cells.get(name, (b"", TEXT, None))[0]
                row.cells[name] = self._over(values.get(name, b""), below, name)

    def _overlaid(self, before: dict[str, bytes], found: dict[str, bytes]) -> dict[str, bytes]:
        """What was taken out of an event so far."""
        made = dict(before)
        for name, value in found.items():
            if self.kinds.get(name, (TEXT, None))[0] == NUMBER and number(value, UNITS.get(name)) is None:
                continue  # it stays the number that it was
            made[name] = value
        return made

    def _over(self, value: bytes, below: Any, name: str) -> Cell:
        kind, unit = self.kind(name)
        if kind == LEVEL:
            return leveled(value) or below, LEVEL, None
        if kind == NUMBER:
            own = number(value, unit)
            return own if own is not None else number(below, unit), NUMBER, unit
        return value or below, kind, unit

    def kind(self, name: str) -> tuple[str, tuple[str, float] | None]:
        """Kind and unit of a name, known also where there is no row."""
        if self.columns is not None and name not in self.columns:  # the time that a bin left
            return TIME, None
        if name in self.kinds:
            return self.kinds[name]
        return event_field(NOTHING, name)[1:]

    # tables

    def _stats(self, pipe: ast.Stats) -> None:
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            key = tuple(self._key(row, key) for key in pipe.by)
            groups.setdefault(key, []).append(row)
        if not pipe.by and not groups:
            groups[()] = []
        seconds = self.span
        for key in pipe.by:
            if key.width is not None and key.field in (None, "timestamp", "_time"):
                seconds = WIDTHS[key.width] / 1e9
        made = []
        for keys, rows in groups.items():
            cells = {key.column(): cell for key, cell in zip(pipe.by, keys, strict=True)}
            cells |= {call.alias or call.label(): self._call(call, rows, seconds) for call in pipe.calls}
            made.append(Row(cells))
        first = pipe.calls[0].alias or pipe.calls[0].label()
        binned = any(key.width is not None for key in pipe.by)
        kinds = {key.column(): self._key_kind(key) for key in pipe.by}
        self._tabulate(
            made, kinds | {call.alias or call.label(): self._call_kind(call) for call in pipe.calls}
        )
        self.order = [] if binned else [lambda row: term(row.cells[first][0], True)]

    def _tabulate(self, rows: list[Row], kinds: dict[str, tuple[str, tuple[str, float] | None]]) -> None:
        self.rows, self.columns, self.kinds = rows, list(kinds), kinds

    def _key_kind(self, key: ast.Key) -> tuple[str, tuple[str, float] | None]:
        kind, unit = self.kind(key.field or "timestamp")
        return (kind, unit) if key.width is None or kind == TIME else (NUMBER, unit)

    def _call_kind(self, call: ast.Call) -> tuple[str, tuple[str, float] | None]:
        if call.function in ("count", "rate", "uniq"):
            return NUMBER, None
        kind, unit = self.kind(call.fields[0])
        return (kind, unit) if call.function in ("any", "first", "last") or kind == TIME else (NUMBER, unit)

    def _key(self, row: Row, key: ast.Key) -> Cell:
        if key.width is None:
            return self.cell(row, key.field or "")
        value, kind, unit = self.cell(row, key.field or "timestamp")
        if kind == TIME:
            return (None if value is None else value - value % WIDTHS[key.width]), TIME, None
        width = typed(key.width, unit)
        found = number(value, unit)
        assert width is not None
        binned = None if found is None else math.floor(found / width[0]) * width[0]
        return binned, NUMBER, unit

    def _call(self, call: ast.Call, rows: list[Row], seconds: float | None) -> Cell:
        if call.function == "rate":
            assert seconds is not None
            return len(rows) / seconds, NUMBER, None
        if not call.fields:
            return float(len(rows)), NUMBER, None
        cells = [[self.cell(row, name) for name in call.fields] for row in rows]
        there = [[c for c, _, _ in one] for one in cells if any(c not in (b"", None) for c, _, _ in one)]
        if call.function == "uniq":
            return float(len({tuple(one) for one in there})), NUMBER, None
        if call.function == "count":
            return float(len(there)), NUMBER, None
        kind, unit = self.kind(call.fields[0])
        if call.function in ("any", "first", "last"):
            return self._picked(call, rows), kind, unit
        if kind == TIME:
            times = [one[0] for one in there]
            return (min(times) if call.function == "min" else max(times)) if times else None, TIME, None
        numbers = [n for one in there if (n := number(one[0], unit)) is not None]
        return aggregated(call, numbers), NUMBER, unit

    def _picked(self, call: ast.Call, rows: list[Row]) -> Any:
        pairs = [(row, self.cell(row, call.fields[0])) for row in rows]
        there = [(row, cell[0]) for row, cell in pairs if cell[0] not in (b"", None)]
        absent = None if self.kind(call.fields[0])[0] in (NUMBER, TIME) else b""
        if not there:
            return absent
        if call.function == "any":
            return OneOfThese([value for _, value in there])
        pick = min if call.function == "first" else max
        return pick(there, key=lambda one: event_order(one[0].event))[1]

    def _top(self, pipe: ast.Top) -> None:
        self._counted(pipe.fields, descending=not pipe.rare)
        self.rows = self.sorted_rows()[: pipe.limit]

    def _uniq(self, pipe: ast.Uniq) -> None:
        self._counted(pipe.fields, descending=True)

    def _counted(self, fields: tuple[str, ...], *, descending: bool) -> None:
        groups: dict[tuple[Cell, ...], int] = {}
        for row in self.rows:
            key = tuple(self.cell(row, name) for name in fields)
            if all(cell[0] not in (b"", None) for cell in key):
                groups[key] = groups.get(key, 0) + 1
        made = [
            Row({**dict(zip(fields, key, strict=True)), "count": (float(n), NUMBER, None)})
            for key, n in groups.items()
        ]
        self._tabulate(made, {**{name: self.kind(name) for name in fields}, "count": (NUMBER, None)})
        self.order = [lambda row: term(row.cells["count"][0], descending)]

    def _histogram(self, pipe: ast.Histogram) -> None:
        keys = (ast.Key(None, pipe.width, "start"), *(ast.Key(name) for name in pipe.by))
        self._stats(ast.Stats((ast.Call("count", alias="count"),), keys))

    def _patterns(self, _pipe: ast.Patterns) -> None:
        """Without templates every fingerprint is a pattern of its own."""
        groups: dict[int, list[Event]] = {}
        for row in self.rows:
            assert row.event is not None
            groups.setdefault(row.event["fingerprint"], []).append(row.event)
        kinds: dict[str, Any] = {
            "fingerprint": (TEXT, None), "template": (TEXT, None), "count": (NUMBER, None), "share": (NUMBER, None),
            "first_seen": (TIME, None), "last_seen": (TIME, None), "name": (TEXT, None),
        }  # fmt: skip
        made = []
        for fingerprint, events in groups.items():
            times = [event["timestamp"] for event in events]
            share = len(events) / sum(map(len, groups.values()))
            values = [
                f"{fingerprint:016x}".encode(), OneOfThese([e["message"] for e in events]), float(len(events)), share,
                min(times), max(times), b"",
            ]  # fmt: skip
            made.append(Row({n: (v, *kinds[n]) for n, v in zip(kinds, values, strict=True)}))
        self._tabulate(made, kinds)
        self.order = [lambda row: term(row.cells["count"][0], True)]


WIDTHS = {"1m": 60 * 10**9, "30s": 30 * 10**9, "1h": 3600 * 10**9, "1m30s": 90 * 10**9}
"""Widths of time that the tests use, in nanoseconds."""


def event_order(event: Event | None) -> tuple[Any, ...]:
    assert event is not None
    return (event["timestamp"], *event["id"])


def _newest(row: Row) -> Any:
    return Descending(event_order(row.event)) if row.event is not None else 0


def aggregated(call: ast.Call, numbers: list[float]) -> float | None:
    if not numbers:
        return None
    if call.function in ("sum", "min", "max"):
        return {"sum": sum, "min": min, "max": max}[call.function](numbers)
    if call.function == "avg":
        return sum(numbers) / len(numbers)
    level = float(call.level) if call.function == "quantile" else float(call.function[1:]) / 100  # type: ignore[arg-type]
    ordered = sorted(numbers)
    place = level * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
