"""The stages of a LogQL query → SQL. Each takes the lines as they are and gives them as they are next.

What asks an event's own fields alone (the selector, and filters before a line is changed) becomes a condition of Neve,
which both tiers' indexes and bounds serve. What stands behind a parser becomes SQL over what the parser took out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from query import conditions as c
from query.logql import ast
from query.logql.labels import (
    COLUMN_LABELS,
    ERROR,
    ERROR_DETAILS,
    SAME,
    STREAM,
    accepts,
    anchored,
    check_regex,
    condition,
    fields_of,
    is_stream,
    levels,
    unsupported,
)  # fmt: skip
from query.logql.parsers import (
    NONE,
    Groups,
    JsonLabels,
    JsonPaths,
    LogfmtLabels,
    Packed,
    Parsed,
    filter_regex,
    group_names,
    place_regex,
    places,
)  # fmt: skip
from query.logql.templates import LINE, Template
from query.quantities import DURATION, SIZE, Unit, number_sql
from query.sql import Params, compile_condition, text_of, valid_utf8

MAX_STAGES = 64  # nested subqueries: more is no question that a person asks
EXTRACTED = "_extracted"  # behind the name of what a parser found and a stream's label is called
MESSAGE = c.Column("message")
_PATH = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[("(?:\\.|[^"\\])*")\]""", re.ASCII)


# --- what events are asked -------------------------------------------------------------------------------


def split(query: ast.LogQuery, text: str) -> tuple[c.Condition, tuple[ast.Stage, ...]]:
    """The condition of the events that a query is about, and the stages that are left to do for each of them."""
    conditions = [condition(matcher, text) for matcher in query.matchers]
    left: list[ast.Stage] = []
    same_line = same_labels = True
    for stage in query.stages:
        if isinstance(stage, ast.LineFilter) and same_line:
            conditions.append(line_condition(stage, text))
            continue
        if isinstance(stage, ast.LabelFilter) and same_labels and isinstance(stage.test, ast.Matcher):
            if stage.test.name not in (ERROR, ERROR_DETAILS):
                conditions.append(condition(stage.test, text))
                continue
        left.append(stage)
        same_line &= not isinstance(stage, ast.LineFormat | ast.Decolorize) and not _is_unpack(stage)
        same_labels &= isinstance(stage, ast.LineFilter | ast.LabelFilter | ast.LineFormat | ast.Decolorize)
    return c.all_of(tuple(conditions)) if conditions else c.Everything(), tuple(left)


def _is_unpack(stage: ast.Stage) -> bool:
    return isinstance(stage, ast.Parser) and stage.kind == "unpack"


def line_condition(stage: ast.LineFilter, text: str) -> c.Condition:
    """What a line filter asks of the message as it is stored."""
    positive = {"!=": "|=", "!~": "|~", "!>": "|>"}.get(stage.op, stage.op)
    found = c.any_of(tuple(_line_test(positive, test, text) for test in stage.tests))
    return found if positive == stage.op else c.Negation(found)


def _line_test(op: str, test: ast.LineTest, text: str) -> c.Condition:
    if test.ip:
        raise unsupported(text, test.offset, "ip()", "filter by the address's text")
    if op == "|=":
        return contains(test.text)
    if op == "|~":
        check_regex(text, test.text, test.offset)
        found = c.Matches(MESSAGE, test.text, test.offset)
        return c.AnyOf((found, c.IsIn(MESSAGE, ("",)))) if _finds_nothing(test.text) else found
    pieces = places(test.text)
    if not pieces:
        return c.IsIn(MESSAGE, ("",))
    literals = tuple(contains(piece) for kind, piece in pieces if kind == "text")
    return c.all_of((*literals, c.Matches(MESSAGE, filter_regex(pieces), test.offset)))


def _finds_nothing(pattern: str) -> bool:
    """Does a regex find the empty line?"""
    return accepts(f"(?:{pattern})", [""])[0]


def contains(text: str) -> c.Condition:
    """The message holds a text, letter by letter."""
    return c.LooksLike(MESSAGE, ("", text, "")) if text else c.Everything()


# --- lines between stages --------------------------------------------------------------------------------

Resolve = Callable[[str, Params], str | None]
"""The SQL of a label, '' where it is absent, or None where the layer does not say."""


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
    error: str = "''"
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

    def filtered(self, sql: str) -> Lines:
        return replace(self, conditions=(*self.conditions, sql))


def own_label(name: str, params: Params) -> str:
    """The SQL of a label that an event comes with."""
    fields = [text_of(field, params) for field in fields_of(name)]
    *others, last = (f"toString({field})" for field in fields)
    if not others:
        return last
    return f"multiIf({', '.join(f'{one} != {chr(39) * 2}, {one}' for one in others)}, {last})"


@dataclass(frozen=True)
class Stages:
    """Compiles the stages of one query text."""

    text: str
    params: Params

    def run(self, lines: Lines, stages: tuple[ast.Stage, ...]) -> Lines:
        """The lines after all stages. QueryInvalid, with its place, for what is not supported."""
        if len(stages) > MAX_STAGES:
            raise unsupported(self.text, 0, f"a query of more than {MAX_STAGES} stages")
        for stage in stages:
            lines = self._step(lines, stage)
        return lines

    def _step(self, lines: Lines, stage: ast.Stage) -> Lines:
        match stage:
            case ast.LineFilter():
                return lines.filtered(self._line_filter(lines.line, stage))
            case ast.LabelFilter(test):
                return self.label_filter(lines, test)
            case ast.LineFormat(template, offset):
                return replace(lines, line=self._template(lines, template, offset))
            case ast.LabelFormat(formats):
                for one in formats:
                    lines = self._format(lines, one)
                return lines
            case ast.Choose():
                return self._choose(lines, stage)
            case ast.Decolorize():
                return replace(lines, line=f"replaceRegexpAll({lines.line}, '\\\\x1b\\\\[[0-9;]*m', '')")
        return self._parse(lines, self._parser(lines, stage))

    # --- lines ---------------------------------------------------------------------------------------------

    def _line_filter(self, line: str, stage: ast.LineFilter) -> str:
        positive = {"!=": "|=", "!~": "|~", "!>": "|>"}.get(stage.op, stage.op)
        tests = " OR ".join(self._line_test(line, positive, test) for test in stage.tests)
        return f"({tests})" if positive == stage.op else f"NOT ({tests})"

    def _line_test(self, line: str, op: str, test: ast.LineTest) -> str:
        if test.ip:
            raise unsupported(self.text, test.offset, "ip()", "filter by the address's text")
        if op == "|=":
            return f"position({line}, {self.params.add(test.text)}) > 0" if test.text else "1"
        if op == "|~":
            check_regex(self.text, test.text, test.offset)
            return self._matches(line, test.text)
        pieces = places(test.text)
        return self._matches(line, filter_regex(pieces)) if pieces else f"{line} = ''"

    def _matches(self, value: str, pattern: str) -> str:
        return f"match({valid_utf8(value)}, {self.params.add(f'(?-s){pattern}')})"

    def _template(self, lines: Lines, template: str, offset: int) -> str:
        def value(name: str) -> str:
            return lines.line if name == LINE else lines.label(name, self.params)

        return Template(template, self.text, offset, value, self.params).sql()

    # --- parsers -------------------------------------------------------------------------------------------

    def _parser(self, lines: Lines, stage: ast.Stage) -> Parsed:
        column = f"x{lines.depth}"
        match stage:
            case ast.Json(extractions):
                return (
                    JsonPaths(column, tuple(map(self._path, extractions)))
                    if extractions
                    else JsonLabels(column)
                )
            case ast.Logfmt(extractions, flags, offset):
                if "--strict" in flags:
                    raise unsupported(self.text, offset, "logfmt --strict", "leave the flag out")
                named = tuple((one.name, one.path) for one in extractions)
                return LogfmtLabels(column, named or None)
            case ast.Parser("unpack"):
                return Packed(column)
            case ast.Parser("regexp", pattern, offset):
                return self._regexp(column, pattern or "", offset)
            case ast.Parser("pattern", pattern, offset):
                return self._pattern(column, pattern or "", offset)
        raise AssertionError(f"no SQL for stage: {stage!r}")

    def _path(self, one: ast.Extraction) -> tuple[str, tuple[str | int, ...]]:
        """`a.b[0]["c d"]`: the steps into a JSON value."""
        steps: list[str | int] = []
        at = 0
        while at < len(one.path):
            step = _PATH.match(one.path, at)
            if not step:
                raise unsupported(self.text, one.offset, f"the path {one.path[:40]!r}", 'write a.b[0]["c d"]')
            name, index, quoted = step.groups()
            steps.append(name if name else int(index) if index else re.sub(r"\\(.)", r"\1", quoted[1:-1]))
            at = step.end()
        if not steps:
            raise unsupported(self.text, one.offset, "an empty path")
        return one.name, tuple(steps)

    def _regexp(self, column: str, pattern: str, offset: int) -> Groups:
        check_regex(self.text, pattern, offset)
        names = group_names(pattern)
        if not names:
            raise unsupported(self.text, offset, "a regexp without a named group", "write (?P<name>…)")
        self._no_twins([name for name, _ in names], offset)
        return Groups(column, f"(?-s){pattern}", tuple(names))

    def _pattern(self, column: str, pattern: str, offset: int) -> Groups:
        pieces = places(pattern)
        names = [text for kind, text in pieces if kind == "place"]
        if not any(name != "_" for name in names):
            raise unsupported(self.text, offset, "a pattern without a named place", "write <name>")
        if any(a[0] == b[0] == "place" for a, b in zip(pieces, pieces[1:], strict=False)):
            raise unsupported(
                self.text, offset, "a pattern with two places side by side", "write text between them"
            )
        self._no_twins([name for name in names if name != "_"], offset)
        numbered = tuple((name, index) for index, name in enumerate(names, 1) if name != "_")
        return Groups(column, place_regex(pieces), numbered)

    def _no_twins(self, names: list[str], offset: int) -> None:
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise unsupported(self.text, offset, f"two places named {twice[:40]!r}")

    def _parse(self, lines: Lines, parsed: Parsed) -> Lines:
        prepared = f"{parsed.prepare(lines.line, self.params)} AS {parsed.column}"
        error = parsed.error(lines.line)
        return replace(
            lines,
            source=f"(SELECT *, {prepared} FROM {lines.source}{lines.where()})",
            conditions=(),
            line=parsed.line(lines.line) if isinstance(parsed, Packed) else lines.line,
            layers=(*lines.layers, _parsed_layer(parsed)),
            error=lines.error if error is None else first_error(lines.error, error),
            depth=lines.depth + 1,
        )

    # --- labels --------------------------------------------------------------------------------------------

    def _format(self, lines: Lines, one: ast.Format) -> Lines:
        if one.is_template:
            made = self._template(lines, one.source, one.offset)
            return replace(lines, layers=(*lines.layers, _set_layer(one.name, made)))
        source = lines.label(one.source, self.params)
        value = f"if({source} != '', {source}, {lines.label(one.name, self.params)})"
        renamed = (
            _set_layer(one.name, value),
            *([_set_layer(one.source, "''")] if one.source != one.name else []),
        )
        return replace(lines, layers=(*lines.layers, *renamed))

    def _choose(self, lines: Lines, stage: ast.Choose) -> Lines:
        if not stage.keep:
            for item in stage.items:
                name = item if isinstance(item, str) else item.name
                if name == ERROR and isinstance(item, str):
                    lines = replace(lines, error="''")
                elif name not in (ERROR, ERROR_DETAILS):
                    gone = (
                        _set_layer(name, "''")
                        if isinstance(item, str)
                        else _drop_layer(name, self._matcher(lines, item))
                    )
                    lines = replace(lines, layers=(*lines.layers, gone))
            return lines
        names = frozenset(
            SAME.get(item, item) if isinstance(item, str) else SAME.get(item.name, item.name)
            for item in stage.items
        )
        layers = [*lines.layers, _keep_layer(names)]
        for item in stage.items:
            if isinstance(item, ast.Matcher):
                layers.append(_drop_layer(item.name, f"NOT ({self._matcher(lines, item)})"))
        kept = names if lines.kept is None else lines.kept & names
        return replace(lines, layers=tuple(layers), kept=kept)

    # --- label filters -------------------------------------------------------------------------------------

    def label_filter(self, lines: Lines, test: ast.LabelTest) -> Lines:
        """The lines that pass. What cannot be compared passes too, with an error."""
        passes, error = self._test(lines, test)
        lines = lines.filtered(passes)
        return lines if error is None else replace(lines, error=first_error(lines.error, error))

    def _test(self, lines: Lines, test: ast.LabelTest) -> tuple[str, str | None]:
        match test:
            case ast.Matcher():
                return self._matcher(lines, test), None
            case ast.Comparison():
                return self._comparison(lines, test)
            case ast.IpMatch(offset=offset):
                raise unsupported(self.text, offset, "ip()", "filter by the address's text")
        operator = " AND " if isinstance(test, ast.Both) else " OR "
        found = [self._test(lines, child) for child in test.children]
        errors = [error for _, error in found if error is not None]
        joined = None
        for error in errors:
            joined = error if joined is None else first_error(joined, error)
        return f"({operator.join(passes for passes, _ in found)})", joined

    def _matcher(self, lines: Lines, matcher: ast.Matcher) -> str:
        positive = {"!=": "=", "!~": "=~"}.get(matcher.op, matcher.op)
        asked = replace(matcher, op=positive)
        if positive == "=~":
            check_regex(self.text, matcher.value, matcher.offset)
        value = lines.label(matcher.name, self.params)
        if SAME.get(matcher.name, matcher.name) == "level" and value == own_label("level", self.params):
            found = compile_condition(c.IsIn(fields_of("level")[0], levels(asked)), self.params)
        elif positive == "=":
            found = f"{value} = {self.params.add(matcher.value)}"
        else:
            found = self._matches(value, anchored(matcher.value))
        return found if positive == matcher.op else f"NOT ({found})"

    def _comparison(self, lines: Lines, test: ast.Comparison) -> tuple[str, str | None]:
        value = lines.label(test.name, self.params)
        number = number_of(value, test.unit)
        bound = self.params.add(test.value, "Float64")
        passes = f"({value} != '' AND ifNull({number} {test.op} {bound}, 1))"
        return passes, f"if({value} != '' AND isNull({number}), 'LabelFilterErr', '')"


def number_of(value: str, unit: str) -> str:
    """The SQL of the number that a text is: as it stands, in nanoseconds or in bytes; NULL where it is none."""
    if unit == "duration":  # a number without a unit is no duration, but for 0
        return f"if(match({value}, '^[+-]?[0-9.]*[1-9.][0-9.]*$'), NULL, {number_sql(value, Unit(DURATION, 1), DURATION)})"
    if unit == "bytes":
        return number_sql(value, Unit(SIZE, 1), SIZE)
    return f"toFloat64OrNull({value})"


def first_error(first: str, second: str) -> str:
    """The SQL of the first of two errors."""
    return second if first == "''" else f"if({first} != '', {first}, {second})"


# --- layers ----------------------------------------------------------------------------------------------


def _parsed_layer(parsed: Parsed) -> Layer:
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
        renamed = f"mapFromArrays(arrayMap(k -> if(k IN ({names}), concat(k, '{EXTRACTED}'), k), mapKeys(found)), mapValues(found))"
        found = f"arrayMap(found -> {renamed}, [{parsed.labels(params)}])[1]"
        return found if below == NONE else f"mapUpdate({below}, {found})"

    return Layer(value, made)


def _set_layer(label: str, sql: str) -> Layer:
    """One label is what an expression makes; '' takes it away."""
    name = SAME.get(label, label)

    def value(asked: str, below: str, params: Params) -> str:  # noqa: ARG001 - as others
        return sql if SAME.get(asked, asked) == name else below

    def made(below: str, params: Params) -> str:
        return f"mapUpdate({below}, map({params.add(name)}, toString({sql})))"

    return Layer(value, made)


def _drop_layer(label: str, condition: str) -> Layer:
    """One label is taken away where a condition holds."""
    name = SAME.get(label, label)

    def value(asked: str, below: str, params: Params) -> str:  # noqa: ARG001 - as others
        return f"if({condition}, '', {below})" if SAME.get(asked, asked) == name else below

    def made(below: str, params: Params) -> str:
        return f"if({condition}, mapUpdate({below}, map({params.add(name)}, '')), {below})"

    return Layer(value, made)


def _keep_layer(names: frozenset[str]) -> Layer:
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


assert set(STREAM) <= set(COLUMN_LABELS)
