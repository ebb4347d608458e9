"""The stages of a LogQL query → SQL. Each takes the lines as they are and gives them as they are next."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from query import conditions as c
from query.logql import ast
from query.logql.labels import (
    ERROR,
    SAME,
    anchored,
    check_regex,
    fields_of,
    levels,
    unsupported,
)
from query.logql.layers import Layer, Lines, drop_layer, keep_layer, own_label, parsed_layer, set_layer
from query.logql.parsers import (
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
from query.sql import Params, compile_condition, valid_utf8

MAX_STAGES = 64  # nested subqueries: more is no question that a person asks
MAX_SQL = 200_000  # characters, of 262,144 that the server takes with what stands around them
_PATH = re.compile(r"""\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[("(?:\\.|[^"\\])*")\]""", re.ASCII)


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
        if lines.depth >= MAX_STAGES:
            raise unsupported(self.text, 0, f"a query of more than {MAX_STAGES} stages")
        match stage:
            case ast.LineFilter():
                return lines.filtered(self._line_filter(lines.line, stage))
            case ast.LabelFilter(test):
                return self.label_filter(lines, test)
            case ast.LineFormat(template, offset):
                return self._line(lines, self._template(lines, template, offset))
            case ast.LabelFormat(formats):
                for one in formats:
                    lines = self._format(lines, one)
                return lines
            case ast.Choose():
                return self._choose(lines, stage)
            case ast.Decolorize():
                return self._line(lines, f"replaceRegexpAll({lines.line}, '\\\\x1b\\\\[[0-9;]*m', '')")
        return self._parse(lines, self._parser(lines, stage))

    def _line(self, lines: Lines, sql: str) -> Lines:
        column = f"y{lines.depth}"
        return replace(lines.prepared(sql, column), line=column)

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
        if any(a[0] == b[0] == "place" for a, b in pairwise(pieces)):
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
        found = lines.prepared(parsed.prepare(lines.line, self.params), parsed.column)
        found = replace(found, layers=(*lines.layers, parsed_layer(parsed))).failing(parsed.error(lines.line))
        return self._line(found, parsed.line(lines.line)) if isinstance(parsed, Packed) else found

    # --- labels --------------------------------------------------------------------------------------------

    def _format(self, lines: Lines, one: ast.Format) -> Lines:
        column = f"y{lines.depth}"
        if one.is_template:
            made = self._template(lines, one.source, one.offset)
            return self._with(lines.prepared(made, column), set_layer(one.name, column))
        source = lines.label(one.source, self.params)
        value = f"if({source} != '', {source}, {lines.label(one.name, self.params)})"
        renamed = self._with(lines.prepared(value, column), set_layer(one.name, column))
        return self._with(renamed, set_layer(one.source, "''")) if one.source != one.name else renamed

    def _choose(self, lines: Lines, stage: ast.Choose) -> Lines:
        before = lines
        if stage.keep:
            names = frozenset(SAME.get(name, name) for name in map(_name, stage.items))
            kept = names if lines.kept is None else lines.kept & names
            lines = replace(self._with(lines, keep_layer(names)), kept=kept)
        for item in stage.items:
            if isinstance(item, ast.Matcher):
                holds = self._matcher(before, item)
                column = f"y{lines.depth}"
                lines = lines.prepared(f"NOT ({holds})" if stage.keep else f"({holds})", column)
                lines = self._with(lines, drop_layer(item.name, column))
            elif item == ERROR and not stage.keep:
                lines = replace(lines, errors=())
            elif not stage.keep:
                lines = self._with(lines, set_layer(item, "''"))
        return lines

    @staticmethod
    def _with(lines: Lines, layer: Layer) -> Lines:
        return replace(lines, layers=(*lines.layers, layer))

    # --- label filters -------------------------------------------------------------------------------------

    def label_filter(self, lines: Lines, test: ast.LabelTest) -> Lines:
        """The lines that pass. What cannot be compared passes too, with an error."""
        passes, errors = self._test(lines, test)
        lines = lines.filtered(passes)
        for error in errors:
            lines = lines.failing(error)
        return lines

    def _test(self, lines: Lines, test: ast.LabelTest) -> tuple[str, list[str]]:
        """The SQL of whether a line passes, and of the errors that the test makes."""
        match test:
            case ast.Matcher():
                return self._matcher(lines, test), []
            case ast.Comparison():
                passes, error = self._comparison(lines, test)
                return passes, [error]
            case ast.IpMatch(offset=offset):
                raise unsupported(self.text, offset, "ip()", "filter by the address's text")
        operator = " AND " if isinstance(test, ast.Both) else " OR "
        found = [self._test(lines, child) for child in test.children]
        errors = [error for _, errors in found for error in errors]
        return f"({operator.join(passes for passes, _ in found)})", errors

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

    def _comparison(self, lines: Lines, test: ast.Comparison) -> tuple[str, str]:
        value = lines.label(test.name, self.params)
        number = number_of(value, test.unit)
        bound = self.params.add(test.value, "Float64")
        passes = f"({value} != '' AND ifNull({number} {test.op} {bound}, 1))"
        return passes, f"if({value} != '' AND isNull({number}), 'LabelFilterErr', '')"


def checked(sql: str, text: str) -> str:
    """The SQL, unless it is longer than the server would read."""
    if len(sql) > MAX_SQL:
        raise unsupported(text, 0, "a query of so many stages and labels", "ask less at once")
    return sql


def number_of(value: str, unit: str) -> str:
    """The SQL of the number that a text is: as it stands, in nanoseconds or in bytes; NULL where it is none."""
    if unit == "number":
        return f"toFloat64OrNull({value})"
    if unit == "bytes":
        read = number_sql("v", Unit(SIZE, 1), SIZE)
    else:  # a number without a unit is no duration, but for 0
        duration = number_sql("v", Unit(DURATION, 1), DURATION)
        read = f"if(match(v, '^[+-]?[0-9.]*[1-9.][0-9.]*$'), NULL, {duration})"
    return f"arrayMap(v -> {read}, [{value}])[1]"  # the text, which may be long to say, stands in it once


def _name(item: str | ast.Matcher) -> str:
    return item if isinstance(item, str) else item.name
