"""LogQL read plainly, one event at a time: what its answers are checked against. It shares nothing with the SQL.

Only what the corpus needs is here: no odd escapes, no names with dots but for tags.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from query.logql import ast

Event = dict[str, Any]
Labels = tuple[tuple[str, str], ...]
Series = dict[Labels, dict[int, float]]
SAME = {"service": "service_name", "detected_level": "level"}
STREAM = ("service_name", "host", "level")
LEVELS = {"warning": "warn", "err": "error"}


class Failed(Exception):
    """A line that a metric query cannot take."""


@dataclass(frozen=True)
class Line:
    time: int
    text: str
    stream: dict[str, str]
    metadata: dict[str, str]
    parsed: dict[str, str] = field(default_factory=dict)
    error: str = ""
    kept: frozenset[str] | None = None

    def get(self, name: str) -> str:
        if name == "__error__":
            return self.error
        asked = SAME.get(name, name)
        if asked in self.parsed:
            return self.parsed[asked]
        if self.kept is not None and asked not in self.kept:
            return ""
        return {**self.metadata, **self.stream}.get(asked, "")

    def series(self) -> dict[str, str]:
        """The labels of its series: of its stream, and what stages made."""
        own = {k: v for k, v in self.stream.items() if self.kept is None or k in self.kept}
        return {k: v for k, v in {**own, **self.parsed}.items() if v}

    def shown(self) -> dict[str, str]:
        own = {**self.metadata, **self.stream}
        if own.get("level"):
            own["detected_level"] = own["level"]
        own = {k: v for k, v in own.items() if self.kept is None or SAME.get(k, k) in self.kept}
        if "level" in self.parsed:
            own.pop("detected_level", None)
        error = {"__error__": self.error} if self.error else {}
        return {k: v for k, v in {**own, **self.parsed, **error}.items() if v}


def line_of(event: Event) -> Line:
    stream = {
        "service_name": event.get("service", ""),
        "host": event.get("host", ""),
        "level": event.get("level", ""),
    }
    tags = {re.sub(r"\W", "_", name): value for name, value in event.get("tags", {}).items()}
    ids = {name: event[name] for name in ("trace_id", "span_id") if event.get(name)}
    return Line(event["timestamp"], event["message"], {k: v for k, v in stream.items() if v}, {**tags, **ids})


# --- lines -----------------------------------------------------------------------------------------------


def lines(query: ast.LogQuery, events: Iterable[Event], low: int, high: int) -> list[Line]:
    """low < time <= high, in order of time."""
    found = [line_of(event) for event in events if low < event["timestamp"] <= high]
    kept = [line for line in found if all(_matches(line, matcher) for matcher in query.matchers)]
    for stage in query.stages:
        kept = [after for line in kept if (after := _stage(line, stage)) is not None]
    return sorted(kept, key=lambda line: line.time)


def _matches(line: Line, matcher: ast.Matcher) -> bool:
    value, wanted = line.get(matcher.name), matcher.value
    if SAME.get(matcher.name, matcher.name) == "level" and "level" not in line.parsed:
        wanted = LEVELS.get(wanted, wanted)
    holds = (
        value == wanted if matcher.op in ("=", "!=") else re.fullmatch(wanted, value, re.DOTALL) is not None
    )
    return holds == (matcher.op in ("=", "=~"))


def _stage(line: Line, stage: Any) -> Line | None:
    match stage:
        case ast.LineFilter():
            positive = {"!=": "|=", "!~": "|~", "!>": "|>"}.get(stage.op, stage.op)
            holds = any(_finds(line.text, positive, test.text) for test in stage.tests)
            return line if holds == (positive == stage.op) else None
        case ast.LabelFilter(test):
            passes, error = _test(line, test)
            return replace(line, error=line.error or error) if passes else None
        case ast.Json(extractions):
            return _json(line, extractions)
        case ast.Logfmt(extractions):
            found = {
                k: v or w
                for k, v, w in re.findall(r'(?:^|\s)([A-Za-z_][\w.]*)=(?:"([^"]*)"|([^\s"]*))', line.text)
            }
            if extractions:
                return _add(line, {one.name: found.get(one.path, "") for one in extractions})
            return _add(line, {re.sub(r"\W", "_", k): v for k, v in found.items()})
        case ast.Parser("regexp", pattern):
            found_ = re.search(pattern or "", line.text)
            return _add(line, {k: v or "" for k, v in found_.groupdict().items()}) if found_ else line
        case ast.Parser("pattern", pattern):
            return _add(line, _pattern(line.text, pattern or ""))
        case ast.LineFormat(template):
            return replace(line, text=_rendered(line, template))
        case ast.LabelFormat(formats):
            for one in formats:
                line = _format(line, one)
            return line
        case ast.Choose():
            return _choose(line, stage)
        case ast.Decolorize():
            return replace(line, text=re.sub("\x1b\\[[0-9;]*m", "", line.text))
    raise AssertionError(stage)


def _finds(text: str, op: str, wanted: str) -> bool:
    if op == "|=":
        return wanted in text
    if op == "|~":
        return re.search(wanted, text) is not None
    return (
        re.fullmatch(".+?".join(map(re.escape, re.split("<[A-Za-z_]+>", wanted))), text, re.DOTALL)
        is not None
    )


def _test(line: Line, test: Any) -> tuple[bool, str]:
    match test:
        case ast.Matcher():
            return _matches(line, test), ""
        case ast.Both(children):
            found = [_test(line, child) for child in children]
            return all(ok for ok, _ in found), next((e for _, e in found if e), "")
        case ast.Either(children):
            found = [_test(line, child) for child in children]
            return any(ok for ok, _ in found), next((e for _, e in found if e), "")
    value = line.get(test.name)
    if not value:
        return False, ""
    number = number_of(value, test.unit)
    if number is None:
        return True, "LabelFilterErr"
    order = {"=": number == test.value, "!=": number != test.value, ">": number > test.value, "<": number < test.value,
             ">=": number >= test.value, "<=": number <= test.value}  # fmt: skip
    return order[test.op], ""


SCALES = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
SIZES = {"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1 << 20, "": 1}


def number_of(value: str, unit: str) -> float | None:
    if unit == "duration":
        steps = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", value)
        whole = re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+", value)
        return sum(float(number) * SCALES[scale] for number, scale in steps) if whole else None
    if unit == "bytes":
        size = re.fullmatch(r"(\d+(?:\.\d+)?)([kKM]?i?B|)", value)
        return float(size[1]) * SIZES[size[2]] if size else None
    try:
        return float(value)
    except ValueError:
        return None


# --- labels ----------------------------------------------------------------------------------------------


def _add(line: Line, found: dict[str, str]) -> Line:
    named = {f"{k}_extracted" if k in (*STREAM, *SAME) else k: v for k, v in found.items() if v != ""}
    return replace(line, parsed={**line.parsed, **named})


def _json(line: Line, extractions: tuple[ast.Extraction, ...]) -> Line:
    if not line.text.lstrip().startswith("{"):
        return line
    try:
        whole = json.loads(line.text)
    except ValueError:
        return replace(line, error=line.error or "JSONParserErr")
    if not extractions:
        return _add(line, dict(_flat(whole, "")))
    made = {}
    for one in extractions:
        value: Any = whole
        for step in re.findall(r"\w+", one.path):
            value = (
                value[int(step)]
                if isinstance(value, list) and int(step) < len(value)
                else value.get(step)
                if isinstance(value, dict)
                else None
            )
        made[one.name] = (
            ""
            if value is None
            else value
            if isinstance(value, str)
            else json.dumps(value, separators=(",", ":"))
        )
    return _add(line, made)


def _flat(value: dict[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for name, inner in value.items():
        label = prefix + re.sub(r"\W", "_", name)
        if isinstance(inner, dict):
            yield from _flat(inner, f"{label}_")
        elif inner is not None and not isinstance(inner, list):
            yield label, inner if isinstance(inner, str) else json.dumps(inner)


def _pattern(text: str, pattern: str) -> dict[str, str]:
    pieces = re.split(r"<([A-Za-z_]+)>", pattern)
    if not text.startswith(pieces[0]):
        return {}
    rest, found = text[len(pieces[0]) :], {}
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        at = rest.find(literal) if literal else len(rest)
        found[name] = rest[:at] if at >= 0 else rest
        if at < 0:
            break
        rest = rest[at + len(literal) :]
    found.pop("_", None)
    return found


def _rendered(line: Line, template: str) -> str:
    def action(match: re.Match[str]) -> str:
        words = re.findall(r"__line__|\.?\w+", match[1])
        value = (
            line.text if "__line__" in words else next(line.get(word[1:]) for word in words if word[0] == ".")
        )
        return value.upper() if "ToUpper" in words else value

    return re.sub(r"\{\{(.*?)\}\}", action, template)


def _format(line: Line, one: ast.Format) -> Line:
    if one.is_template:
        return _put(line, one.name, _rendered(line, one.source))
    value = line.get(one.source)
    if not value:
        return _put(line, one.name, line.get(one.name))
    return _put(_put(line, one.name, value), one.source, "")


def _put(line: Line, name: str, value: str) -> Line:
    return replace(line, parsed={**line.parsed, SAME.get(name, name): value})


def _choose(line: Line, stage: ast.Choose) -> Line:
    named = {item if isinstance(item, str) else item.name: item for item in stage.items}
    gone = {name for name, item in named.items() if isinstance(item, str) or _matches(line, item)}
    if not stage.keep:
        for name in gone:
            line = replace(line, error="") if name == "__error__" else _put(line, name, "")
        return line
    parsed = {k: v for k, v in line.parsed.items() if k in gone}
    return replace(
        line,
        parsed=parsed,
        kept=frozenset(SAME.get(name, name) for name in gone)
        & (line.kept or frozenset(SAME.get(n, n) for n in gone)),
    )


# --- numbers ---------------------------------------------------------------------------------------------


def metric(
    node: ast.Metric, events: list[Event], times: list[int], also: tuple[str, ...] = ()
) -> Series | float:
    """Series by their labels, and values by the number of the step."""
    match node:
        case ast.Literal(value):
            return value
        case ast.Constant(value):
            return {(): dict.fromkeys(range(len(times)), value)}
        case ast.RangeAggregation():
            return _range(node, events, times, also)
        case ast.VectorAggregation():
            return _vector(node, events, times, also)
        case ast.Binary():
            wanted = (*also, *(node.matching.names if node.matching else ()))
            return _binary(
                node, metric(node.left, events, times, wanted), metric(node.right, events, times, wanted)
            )
    raise AssertionError(node)


def _range(
    node: ast.RangeAggregation, events: list[Event], times: list[int], also: tuple[str, ...]
) -> Series:
    made: Series = {}
    width, offset, unwrap = node.range.width, node.range.offset, node.range.unwrap
    for step, time in enumerate(times):
        groups: dict[Labels, list[float]] = {}
        for line in lines(node.range.query, events, time - offset - width, time - offset):
            value: float | None = 1.0
            if node.function.startswith("bytes"):
                value = float(len(line.text.encode()))
            after: Line | None = line
            if unwrap is not None:
                if not line.get(unwrap.name):
                    continue
                value = number_of(
                    line.get(unwrap.name), {"": "number"}.get(unwrap.conversion, unwrap.conversion)
                )
                after = (
                    line if value is not None else replace(line, error=line.error or "SampleExtractionErr")
                )
                value = (value or 0.0) / (1e9 if unwrap.conversion == "duration" else 1)
                for one in unwrap.filters:
                    after = _stage(after, one) if after is not None else None
            if after is None:
                continue
            if after.error:
                raise Failed(after.error)
            groups.setdefault(_key(node, after, also), []).append(value or 0.0)
        for labels, values in groups.items():
            made.setdefault(labels, {})[step] = _aggregate(node, values)
    if node.function != "absent_over_time":
        return made
    there = {step for values in made.values() for step in values}
    equal = tuple(sorted((m.name, m.value) for m in node.range.query.matchers if m.op == "="))
    missing = {step: 1.0 for step in range(len(times)) if step not in there}
    return {equal: missing} if missing else {}


def _key(node: ast.RangeAggregation, line: Line, also: tuple[str, ...]) -> Labels:
    if node.grouping is not None and not node.grouping.without:
        return tuple(sorted((name, line.get(name)) for name in node.grouping.names if line.get(name)))
    gone = set(node.grouping.names) if node.grouping else set()
    gone |= {node.range.unwrap.name} if node.range.unwrap else set()
    found = {k: v for k, v in line.series().items() if k not in {SAME.get(name, name) for name in gone}}
    found |= {name: line.get(name) for name in also if line.get(name) and name not in gone}
    return tuple(sorted(found.items()))


def _aggregate(node: ast.RangeAggregation, values: list[float]) -> float:
    seconds = node.range.width / 1e9
    match node.function:
        case "count_over_time":
            return float(len(values))
        case "rate":
            return sum(values) / seconds
        case "bytes_rate":
            return sum(values) / seconds
        case "bytes_over_time" | "sum_over_time" | "absent_over_time":
            return sum(values)
        case "quantile_over_time":
            ranked, rank = sorted(values), (node.parameter or 0) * (len(values) - 1)
            low = math.floor(rank)
            high = min(low + 1, len(ranked) - 1)
            return ranked[low] * (1 - rank + low) + ranked[high] * (rank - low)
        case "first_over_time":
            return values[0]
        case "last_over_time":
            return values[-1]
    return _reduced(node.function.removesuffix("_over_time"), values)


def _reduced(function: str, values: list[float]) -> float:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return {"sum": sum(values), "avg": mean, "min": min(values), "max": max(values), "count": float(len(values)),
            "stdvar": variance, "stddev": math.sqrt(variance)}[function]  # fmt: skip


def _vector(
    node: ast.VectorAggregation, events: list[Event], times: list[int], also: tuple[str, ...]
) -> Series:
    names = node.grouping.names if node.grouping else ()
    without = node.grouping is not None and node.grouping.without
    inner = metric(node.inner, events, times, tuple(dict.fromkeys((*also, *(() if without else names)))))
    assert isinstance(inner, dict)

    def group(labels: Labels) -> Labels:
        known = dict(labels)
        if without:
            return tuple(
                one
                for one in labels
                if one[0] not in {SAME.get(name, name) for name in names} and one[0] not in names
            )
        found = ((name, known.get(name) or known.get(SAME.get(name, name), "")) for name in names)
        return tuple(sorted(one for one in found if one[1]))

    made: Series = {}
    for step in range(len(times)):
        groups: dict[Labels, list[tuple[float, Labels]]] = {}
        for labels, values in inner.items():
            if step in values:
                groups.setdefault(group(labels), []).append((values[step], labels))
        for labels, members in groups.items():
            if node.function in ("topk", "bottomk"):
                sign = -1 if node.function == "topk" else 1
                for value, own in sorted((sign * value, own) for value, own in members)[
                    : int(node.parameter or 1)
                ]:
                    made.setdefault(own, {})[step] = sign * value
            else:
                made.setdefault(labels, {})[step] = _reduced(node.function, [value for value, _ in members])
    return made


COMPARE = {">": lambda a, b: a > b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
           "==": lambda a, b: a == b, "!=": lambda a, b: a != b}  # fmt: skip


def _operate(node: ast.Binary, a: float, b: float, shown: float) -> float | None:
    if node.op in COMPARE:
        holds = COMPARE[node.op](a, b)
        return float(holds) if node.returns_bool else shown if holds else None
    return {
        "+": a + b,
        "-": a - b,
        "*": a * b,
        "/": a / b if b else math.nan,
        "%": math.fmod(a, b) if b else math.nan,
        "^": a**b,
    }[node.op]


def _binary(node: ast.Binary, left: Series | float, right: Series | float) -> Series | float:
    if isinstance(left, float) and isinstance(right, float):
        return _operate(node, left, right, left) or 0.0
    made: Series = {}
    if isinstance(left, float) or isinstance(right, float):
        vector = right if isinstance(left, float) else left
        assert isinstance(vector, dict)
        for labels, values in vector.items():
            for step, value in values.items():
                a, b = (left, value) if isinstance(left, float) else (value, right)
                assert isinstance(a, float)
                assert isinstance(b, float)
                result = _operate(node, a, b, value)
                if result is not None:
                    made.setdefault(labels, {})[step] = result
        return made

    def sign(labels: Labels) -> Labels:
        if node.matching is None:
            return labels
        return tuple(one for one in labels if (one[0] in node.matching.names) == node.matching.on)

    for labels, values in left.items():
        for step, value in values.items():
            others = [
                (own, found[step])
                for own, found in right.items()
                if sign(own) == sign(labels) and step in found
            ]
            if node.op in ("and", "unless", "or"):
                if node.op == "or" or bool(others) == (node.op == "and"):
                    made.setdefault(labels, {})[step] = value
            elif others:
                result = _operate(node, value, others[0][1], value)
                name = labels if node.matching is None or node.matching.group else sign(labels)
                if result is not None:
                    made.setdefault(name, {})[step] = result
    if node.op == "or":
        for labels, values in right.items():
            for step, value in values.items():
                if not any(sign(own) == sign(labels) and step in found for own, found in left.items()):
                    made.setdefault(labels, {})[step] = value
    return made
