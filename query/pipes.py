"""Pipes → SQL. Each pipe takes a stage and gives the next: first over events, where any name is a field, then over
a table, where only its columns are.

Columns of the second stage are s2_0, s2_1, …; what the user called them is in `Column.name` and never in the SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from query import ast
from query.aggregates import aggregate, bin_of
from query.analyze import Analyzer, field_ref
from query.conditions import Expression, FieldRef, Kind
from query.errors import QueryInvalid, invalid_at
from query.extract import BadPattern, parse_pattern
from query.levels import LEVELS
from query.members import pattern_of
from query.quantities import COUNT
from query.scope import EVENTS, OWN, UNPACKERS, Extracted, Layer, Scope, over
from query.sql import Params, compile_condition, expression_of, number_of, present
from query.times import SECOND, BadTime, parse_duration

TIME_NAMES = ("timestamp", "_time")
MAX_COUNT = 1_000_000_000  # of `limit` and `top`: far more rows than any answer has
TWICE = {
    ast.Fields: "name each field once",
    ast.Top: "use stats count() as n by …",
    ast.Uniq: "use stats count() as n by …",
    ast.Histogram: "use stats count() as n by bin(5m), …",
}
"""Pipe → what to do when two of its columns have one name."""
MAX_PIPES = 32  # nested subqueries: more is no question that a person asks


@dataclass(frozen=True)
class Order:
    """One term of an ORDER BY; what is absent comes last either way."""

    sql: str
    descending: bool = False

    def __str__(self) -> str:
        return f"{self.sql} {'DESC' if self.descending else 'ASC'} NULLS LAST"


NEWEST_FIRST = (Order("timestamp", True), Order("block_id", True), Order("row", True))


@dataclass(frozen=True)
class Column:
    """A column of a result."""

    name: str
    expression: Expression
    approximate: bool = False


@dataclass(frozen=True)
class Stage:
    """`SELECT … FROM source WHERE conditions`, not yet written down."""

    depth: int
    source: str
    conditions: tuple[str, ...] = ()
    columns: tuple[Column, ...] | None = None  # None: events, with every field
    order: tuple[Order, ...] = ()
    scope: Scope = EVENTS  # what names mean on events

    @property
    def is_events(self) -> bool:
        return self.columns is None

    def where(self) -> str:
        """The WHERE clause with its leading space, or nothing."""
        return f" WHERE {' AND '.join(self.conditions)}" if self.conditions else ""

    def total_order(self) -> tuple[Order, ...]:
        """The order, extended so that no two rows are equal in it and a cut is the same each time."""
        if self.columns is None:
            return self.order if self.order == NEWEST_FIRST else self.order + NEWEST_FIRST
        return self.order + tuple(Order(column.expression.sql) for column in self.columns)

    def next_name(self, index: int) -> str:
        """The SQL name of a column of the next stage."""
        return f"s{self.depth + 1}_{index}"

    def order_by(self) -> str:
        """The ORDER BY clause with its leading space."""
        return f" ORDER BY {', '.join(map(str, self.total_order()))}"


@dataclass(frozen=True)
class Compiler:
    """Compiles the pipes of one query. `span` is the seconds of its time range, None when that is open."""

    text: str
    analyzer: Analyzer
    params: Params
    database: str
    span: float | None

    def run(self, stage: Stage, pipes: tuple[ast.Pipe, ...]) -> Stage:
        """The stage after all pipes."""
        if len(pipes) > MAX_PIPES:
            raise self.wrong(pipes[MAX_PIPES], f"too many pipes: {len(pipes)}", f"use at most {MAX_PIPES}")
        for pipe in pipes:
            stage = self._step(stage, pipe)
        return stage

    def wrong(self, pipe: ast.Pipe | ast.Call | ast.Key, message: str, hint: str = "") -> QueryInvalid:
        return self._wrong_at(pipe.offset, message, hint)

    def _wrong_at(self, offset: int, message: str, hint: str = "") -> QueryInvalid:
        return invalid_at(self.text, offset, message, hint)

    def _step(self, stage: Stage, pipe: ast.Pipe) -> Stage:
        match pipe:
            case ast.Stats():
                return self._stats(stage, pipe)
            case ast.Histogram():
                keys = (
                    ast.Key(None, pipe.width, "start", pipe.offset),
                    *(ast.Key(field, offset=pipe.offset) for field in pipe.by),
                )
                count = ast.Call("count", alias="count", offset=pipe.offset)
                return self._stats(stage, ast.Stats((count,), keys, pipe.offset))
            case ast.Top() | ast.Uniq():
                return self._top(stage, pipe)
            case ast.Where():
                return self._where(stage, pipe)
            case ast.Sort():
                order = [term for key in pipe.keys for term in self._sort_key(stage, pipe, key)]
                return replace(stage, order=tuple(order))
            case ast.Fields():
                return self._fields(stage, pipe)
            case ast.Limit():
                return self._limit(stage, pipe, pipe.count)
            case ast.Patterns():
                return self._patterns(stage, pipe)
            case ast.Extract():
                return self._extract(stage, pipe)
            case ast.Unpack():
                return self._unpack(stage, pipe)
        raise AssertionError(f"no SQL for pipe: {pipe!r}")

    # --- fields -----------------------------------------------------------------------------------------------

    def resolve(self, stage: Stage, name: str, pipe: ast.Pipe | ast.Call | ast.Key) -> Expression:
        """What a name is at a stage."""
        return self._named_at(stage, name, pipe.offset)

    def _named_at(self, stage: Stage, name: str, offset: int) -> Expression:
        if stage.columns is None:
            return expression_of(stage.scope.field(name, self.params), self.params)
        for column in stage.columns:
            if column.name == name:
                return column.expression
        times = [column.expression for column in stage.columns if column.expression.kind is Kind.TIME]
        if name in TIME_NAMES and len(times) == 1:  # `bin(5m)` is what is left of the timestamp
            return times[0]
        known = ", ".join(column.name for column in stage.columns)
        raise self._wrong_at(
            offset, f"there is no column {name[:60]!r} at this step", f"columns are {known[:200]}"
        )

    # --- stats ------------------------------------------------------------------------------------------------

    def _stats(self, stage: Stage, pipe: ast.Stats) -> Stage:
        keys = [self._key(stage, key) for key in pipe.by]
        seconds = self._rate_seconds(pipe)
        calls = [self._call(stage, call, seconds) for call in pipe.calls]
        columns = self._named(stage, pipe, keys + calls)
        first_call = columns[len(keys)].expression.sql
        binned = any(key.width is not None for key in pipe.by)
        order = () if binned else (Order(first_call, True),)
        return self._grouped(stage, keys, calls, columns, order)

    def _key(self, stage: Stage, key: ast.Key) -> Column:
        if key.width is None:
            return Column(key.column(), self.resolve(stage, key.field or "", key))
        name = key.field if key.field is not None else "timestamp"
        value = self.resolve(stage, name, key)
        try:
            return Column(key.column(), bin_of(value, key.width, self.params))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise self.wrong(key, message, hint or "write bin(5m), or bin(latency_ms, 100)") from None

    def _call(self, stage: Stage, call: ast.Call, seconds: float | None) -> Column:
        fields = [self.resolve(stage, name, call) for name in call.fields]
        try:
            made = aggregate(call, fields, self.params, events=stage.is_events, seconds=seconds)
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise self.wrong(call, message, hint) from None
        return Column(call.alias or call.label(), made, approximate=call.function == "uniq")

    def _rate_seconds(self, pipe: ast.Stats) -> float | None:
        for key in pipe.by:
            if key.width is not None and key.field in (None, "timestamp", "_time"):
                try:
                    return parse_duration(key.width) / SECOND
                except BadTime:
                    return None
        return self.span

    def _named(self, stage: Stage, pipe: ast.Pipe, columns: list[Column]) -> list[Column]:
        """The columns as the next stage sees them."""
        seen: set[str] = set()
        named = []
        for index, column in enumerate(columns):
            if column.name in seen:
                hint = TWICE.get(type(pipe), "name one with 'as'")
                raise self.wrong(pipe, f"two columns are named {column.name[:60]!r}", hint)
            seen.add(column.name)
            named.append(replace(column, expression=replace(column.expression, sql=stage.next_name(index))))
        return named

    def _grouped(
        self,
        stage: Stage,
        keys: list[Column],
        calls: list[Column],
        columns: list[Column],
        order: tuple[Order, ...],
    ) -> Stage:
        selected = ", ".join(
            f"{col.expression.sql} AS {stage.next_name(i)}" for i, col in enumerate(keys + calls)
        )
        group = f" GROUP BY {', '.join(stage.next_name(i) for i in range(len(keys)))}" if keys else ""
        sql = f"SELECT {selected} FROM {stage.source}{stage.where()}{group}"
        return Stage(stage.depth + 1, f"({sql})", (), tuple(columns), order)

    def _top(self, stage: Stage, pipe: ast.Top | ast.Uniq) -> Stage:
        keys = [Column(name, self.resolve(stage, name, pipe)) for name in pipe.fields]
        there = tuple(present(key.expression) for key in keys)
        count = Column("count", Expression("count()", Kind.NUMBER, COUNT))
        columns = self._named(stage, pipe, [*keys, count])
        rare = isinstance(pipe, ast.Top) and pipe.rare
        order = (Order(columns[-1].expression.sql, not rare),)
        kept = replace(stage, conditions=stage.conditions + there)
        grouped = self._grouped(kept, keys, [count], columns, order)
        return self._limit(grouped, pipe, pipe.limit) if isinstance(pipe, ast.Top) else grouped

    def _patterns(self, stage: Stage, pipe: ast.Patterns) -> Stage:
        if not stage.is_events:
            raise self.wrong(pipe, "patterns needs events", "put it before the pipe that makes a table")
        inner = (
            "SELECT fingerprint AS f, count() AS n, min(message) AS sample, "
            "min(toUnixTimestamp64Nano(timestamp)) AS first, max(toUnixTimestamp64Nano(timestamp)) AS last "
            f"FROM {stage.source}{stage.where()} GROUP BY f"
        )
        grouped = (
            "SELECT id, any(text) AS template, any(name) AS called, sum(n) AS events, min(sample) AS example, "
            f"min(first) AS first_seen, max(last) AS last_seen "
            f"FROM ({pattern_of(inner, self.database, alone=not self.params.database)}) GROUP BY id"
        )
        made = [
            ("fingerprint", Kind.TEXT, "lower(leftPad(hex(id), 16, '0'))"),
            ("template", Kind.TEXT, "if(template = '', example, template)"),
            ("count", Kind.NUMBER, "events"),
            ("share", Kind.NUMBER, "events / sum(events) OVER ()"),
            ("first_seen", Kind.TIME, "first_seen"),
            ("last_seen", Kind.TIME, "last_seen"),
            ("name", Kind.TEXT, "called"),
        ]
        selected = ", ".join(f"{sql} AS {stage.next_name(i)}" for i, (_, _, sql) in enumerate(made))
        sql = f"SELECT {selected} FROM ({grouped})"
        columns = tuple(Column(n, Expression(stage.next_name(i), k)) for i, (n, k, _) in enumerate(made))
        return Stage(stage.depth + 1, f"({sql})", (), columns, (Order(stage.next_name(2), True),))

    # --- fields out of texts ----------------------------------------------------------------------------------

    def _extract(self, stage: Stage, pipe: ast.Extract) -> Stage:
        try:
            pattern = parse_pattern(pipe.pattern)
        except BadPattern as error:
            message, _, hint = str(error).partition("; ")
            raise self._wrong_at(pipe.at + 1 + error.offset, message, hint) from None
        for place in pattern.places:
            if stage.is_events and field_ref(place.name).kind in OWN:
                raise self.wrong(
                    pipe, f"cannot extract {place.name}: it says which event it is", "give it another name"
                )
        layer = Extracted(f"x{stage.depth}", pattern)
        if stage.columns is None:
            return self._with_layer(stage, pipe, layer)
        return self._extract_columns(stage, pipe, stage.columns, layer)

    def _unpack(self, stage: Stage, pipe: ast.Unpack) -> Stage:
        if not stage.is_events:
            raise self.wrong(pipe, "unpack needs events", "put it before the pipe that makes a table")
        return self._with_layer(stage, pipe, UNPACKERS[pipe.format](f"x{stage.depth}"))

    def _with_layer(self, stage: Stage, pipe: ast.Extract | ast.Unpack, layer: Layer) -> Stage:
        """The same events, with what a pipe takes out of them beside them."""
        source = self._prepared(stage, pipe, layer)
        scope = Scope((*stage.scope.layers, layer))
        return replace(stage, depth=stage.depth + 1, source=source, conditions=(), scope=scope)

    def _prepared(self, stage: Stage, pipe: ast.Extract | ast.Unpack, layer: Layer) -> str:
        text = self.resolve(stage, pipe.source or "message", pipe)
        if text.kind not in (Kind.TEXT, Kind.LEVEL):
            raise self.wrong(pipe, f"cannot take fields out of {pipe.source}: it is no text", "name a text")
        prepared = layer.prepare(text.sql, self.params)
        return f"(SELECT *, {prepared} AS {layer.column} FROM {stage.source}{stage.where()})"

    def _extract_columns(
        self, stage: Stage, pipe: ast.Extract, columns: tuple[Column, ...], layer: Extracted
    ) -> Stage:
        """More columns of a table. A column of the same name shows through where nothing was found."""
        source = self._prepared(stage, pipe, layer)
        known = {column.name: column for column in columns}
        for place in layer.pattern.places:
            made = layer.value(place.name, self.params)
            assert made is not None
            if place.name in known:
                made = over(made, known[place.name].expression, self.params)
            known[place.name] = Column(place.name, made)
        return replace(
            stage, depth=stage.depth + 1, source=source, conditions=(), columns=tuple(known.values())
        )

    # --- rows -------------------------------------------------------------------------------------------------

    def _where(self, stage: Stage, pipe: ast.Where) -> Stage:
        def field(name: str, offset: int) -> FieldRef:
            if stage.columns is None:
                return stage.scope.field(name, self.params)
            return self._named_at(stage, name, offset)

        condition = replace(self.analyzer, fields=field).condition(pipe.condition)
        return replace(stage, conditions=(*stage.conditions, compile_condition(condition, self.params)))

    def _sort_key(self, stage: Stage, pipe: ast.Sort, key: ast.SortKey) -> list[Order]:
        value = self.resolve(stage, key.field, pipe)
        if value.kind is Kind.LEVEL:
            names = ", ".join(f"'{level}'" for level in LEVELS)
            return [Order(f"indexOf([{names}], {value.sql})", key.descending)]
        if value.kind is Kind.TEXT:  # numbers among texts sort as numbers, before the others
            return [Order(number_of(value), key.descending), Order(value.sql, key.descending)]
        return [Order(value.sql, key.descending)]

    def _fields(self, stage: Stage, pipe: ast.Fields) -> Stage:
        guessed = {column.name for column in stage.columns or () if column.approximate}
        columns = [Column(name, self.resolve(stage, name, pipe), name in guessed) for name in pipe.fields]
        selected = [f"{column.expression.sql} AS {stage.next_name(i)}" for i, column in enumerate(columns)]
        # The order may be by what is no column any more: it is kept beside them.
        order = stage.total_order()
        selected += [f"{term.sql} AS o{stage.depth}_{i}" for i, term in enumerate(order)]
        sql = f"SELECT {', '.join(selected)} FROM {stage.source}{stage.where()}"
        kept = tuple(Order(f"o{stage.depth}_{i}", term.descending) for i, term in enumerate(order))
        return Stage(stage.depth + 1, f"({sql})", (), tuple(self._named(stage, pipe, columns)), kept)

    def _limit(self, stage: Stage, pipe: ast.Pipe, count: int) -> Stage:
        if count > MAX_COUNT:
            raise self.wrong(pipe, f"cannot use limit: {str(count)[:40]}", f"use at most {MAX_COUNT}")
        limit = self.params.add(count, "UInt64")
        sql = f"SELECT * FROM {stage.source}{stage.where()}{stage.order_by()} LIMIT {limit}"
        return replace(stage, source=f"({sql})", conditions=())
