"""Series and what operators make of them, step by step: Python over results, which are few.

A vector has, for each set of labels, its values by the number of the step; a step without a value has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from query.errors import QueryInvalid, invalid_at
from query.logql import ast
from query.logql.labels import SAME, anchored, check_regex

Labels = tuple[tuple[str, str], ...]
"""Names and values, sorted; no value is empty."""
Values = dict[int, float]
Vector = dict[Labels, Values]
Side = Vector | float

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, ">": lambda a, b: a > b, "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
}  # fmt: skip
SETS = ("and", "or", "unless")


def labels_of(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Labels, without those that are empty."""
    return tuple(sorted((name, value) for name, value in pairs if value != ""))


def kept(labels: Labels, names: Iterable[str]) -> Labels:
    """Only these labels, under the names that were asked for."""
    known = dict(labels)
    return labels_of((name, known.get(name) or known.get(SAME.get(name, name), "")) for name in names)


def without(labels: Labels, names: Iterable[str]) -> Labels:
    gone = {*names, *(SAME.get(name, name) for name in names)}
    return tuple((name, value) for name, value in labels if name not in gone)


# --- aggregation -----------------------------------------------------------------------------------------


def aggregated(node: ast.VectorAggregation, inner: Vector) -> Vector:
    """What an aggregation makes of each group, at each step."""
    groups: dict[Labels, list[tuple[Labels, Values]]] = {}
    for labels, values in inner.items():
        groups.setdefault(_group(node.grouping, labels), []).append((labels, values))
    if node.function in ("topk", "bottomk", "approx_topk"):
        return _extreme(node, groups)
    if node.function in ("sort", "sort_desc"):
        return _sorted(inner, node.function == "sort_desc")
    reduce = REDUCERS[node.function]
    return {
        labels: {step: reduce(found) for step, found in _by_step(members).items()}
        for labels, members in groups.items()
    }


def _group(grouping: ast.Grouping | None, labels: Labels) -> Labels:
    if grouping is None:
        return ()
    return without(labels, grouping.names) if grouping.without else kept(labels, grouping.names)


def _by_step(members: list[tuple[Labels, Values]]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for _, values in members:
        for step, value in values.items():
            found.setdefault(step, []).append(value)
    return found


def _extreme(node: ast.VectorAggregation, groups: dict[Labels, list[tuple[Labels, Values]]]) -> Vector:
    """The k largest, or smallest, of each group at each step, with their own labels. What is no number comes last."""
    count, sign = int(node.parameter or 1), -1 if node.function != "bottomk" else 1
    made: Vector = {}
    for members in groups.values():
        found: dict[int, list[tuple[bool, float, Labels]]] = {}
        for labels, values in members:
            for step, value in values.items():
                found.setdefault(step, []).append((math.isnan(value), sign * value, labels))
        for step, ranked in found.items():
            for _, value, labels in sorted(ranked)[:count]:
                made.setdefault(labels, {})[step] = sign * value
    return made


def _sorted(inner: Vector, descending: bool) -> Vector:
    """By the value at the first step: for instant queries, of which alone the order is kept."""
    return dict(
        sorted(inner.items(), key=lambda item: next(iter(item[1].values()), math.nan), reverse=descending)
    )


def _variance(values: list[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / len(values)


def _largest(values: list[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _smallest(values: list[float]) -> float:
    return min((value for value in values if not math.isnan(value)), default=math.nan)


REDUCERS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum, "count": lambda values: float(len(values)), "max": _largest, "min": _smallest,
    "avg": lambda values: sum(values) / len(values), "stdvar": _variance,
    "stddev": lambda values: math.sqrt(_variance(values)),
}  # fmt: skip


# --- operators -------------------------------------------------------------------------------------------


def calculated(op: str, left: float, right: float) -> float:
    """One arithmetic operation. What has no value is NaN; a division by zero is too, as with Loki."""
    try:
        match op:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left / right if right else math.nan
            case "%":
                return math.fmod(left, right) if right else math.nan
        return math.pow(left, right)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def combined(node: ast.Binary, left: Side, right: Side, text: str) -> Side:
    """Two sides under an operator."""
    if isinstance(left, float) and isinstance(right, float):
        if node.op in SETS:
            raise invalid_at(text, node.at, f"unexpected literal for a set operation ({node.op})")
        return (
            float(COMPARISONS[node.op](left, right))
            if node.op in COMPARISONS
            else calculated(node.op, left, right)
        )
    if isinstance(left, float) or isinstance(right, float):
        if node.op in SETS:
            raise invalid_at(text, node.at, f"unexpected literal for a set operation ({node.op})")
        return _with_number(node, left, right)
    if node.op in SETS:
        return _set(node, left, right)
    return _matched(node, left, right, text)


def _with_number(node: ast.Binary, left: Side, right: Side) -> Vector:
    vector, number = (right, left) if isinstance(left, float) else (left, right)
    assert isinstance(vector, dict)
    assert isinstance(number, float)
    swapped = isinstance(left, float)
    made: Vector = {}
    for labels, values in vector.items():
        found = {}
        for step, value in values.items():
            result = _operate(node, number, value, value) if swapped else _operate(node, value, number, value)
            if result is not None:
                found[step] = result
        if found:
            made[labels] = found
    return made


def _operate(node: ast.Binary, left: float, right: float, shown: float) -> float | None:
    """The value, or `shown` where a comparison holds; None where it does not."""
    if node.op not in COMPARISONS:
        return calculated(node.op, left, right)
    holds = COMPARISONS[node.op](left, right)
    return float(holds) if node.returns_bool else shown if holds else None


def _signature(matching: ast.Matching | None, labels: Labels) -> Labels:
    if matching is None:
        return labels
    return kept(labels, matching.names) if matching.on else without(labels, matching.names)


def _set(node: ast.Binary, left: Vector, right: Vector) -> Vector:
    """`and`, `or` and `unless`: which series are on either side, at each step."""
    sides = [{}, {}]  # type: list[dict[Labels, set[int]]]
    for side, vector in zip(sides, (left, right), strict=True):
        for labels, values in vector.items():
            side.setdefault(_signature(node.matching, labels), set()).update(values)
    made: Vector = {}
    for labels, values in left.items():
        other = sides[1].get(_signature(node.matching, labels), set())
        found = {
            step: value
            for step, value in values.items()
            if node.op == "or" or (step in other) == (node.op == "and")
        }
        if found:
            made[labels] = found
    if node.op == "or":
        for labels, values in right.items():
            other = sides[0].get(_signature(node.matching, labels), set())
            found = {step: value for step, value in values.items() if step not in other}
            if found:
                made.setdefault(labels, {}).update(found)
    return made


def _matched(node: ast.Binary, left: Vector, right: Vector, text: str) -> Vector:
    """Series of two sides that belong together: one to one, or many to one with group_left or group_right."""
    matching = node.matching
    many_right = matching is not None and matching.group == "group_right"
    many, one = (right, left) if many_right else (left, right)
    ones: dict[tuple[Labels, int], tuple[Labels, float]] = {}
    for labels, values in one.items():
        signature = _signature(matching, labels)
        for step, value in values.items():
            if (signature, step) in ones:
                raise _several(node, text)
            ones[signature, step] = labels, value
    made: Vector = {}
    grouped = matching is not None and matching.group != ""
    for labels, values in many.items():
        signature = _signature(matching, labels)
        for step, value in values.items():
            other = ones.get((signature, step))
            if other is None:
                continue
            a, b = (other[1], value) if many_right else (value, other[1])
            result = _operate(node, a, b, a)
            if result is None:
                continue
            name = _result(matching, labels, other[0])
            if step in made.get(name, {}):
                raise _several(node, text)
            made.setdefault(name, {})[step] = result
    if not grouped:
        _check_single(node, many, text)
    return made


def _check_single(node: ast.Binary, many: Vector, text: str) -> None:
    seen: set[tuple[Labels, int]] = set()
    for labels, values in many.items():
        signature = _signature(node.matching, labels)
        for step in values:
            if (signature, step) in seen:
                raise _several(node, text)
            seen.add((signature, step))


def _result(matching: ast.Matching | None, many: Labels, one: Labels) -> Labels:
    if matching is None:
        return many
    if not matching.group:
        return kept(many, matching.names) if matching.on else without(many, matching.names)
    included = kept(one, matching.include)
    return labels_of((*without(many, matching.include), *included))


def _several(node: ast.Binary, text: str) -> QueryInvalid:
    return invalid_at(
        text,
        node.at,
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    )


def replaced(node: ast.LabelReplace, inner: Vector, text: str) -> Vector:
    """label_replace: a label made of what a regex finds in another."""
    check_regex(text, node.regex, node.at)
    if re.search(r"\$\{?[A-Za-z_]", node.replacement):
        raise invalid_at(text, node.at, "a named group in label_replace is not supported; write $1")
    pattern = anchored(node.regex)
    rewritten = re.sub(r"\$\{?(\d+)\}?", lambda m: f"\\{m[1]}", node.replacement.replace("\\", "\\\\"))
    made: Vector = {}
    for labels, values in inner.items():
        source = pa.array([dict(kept(labels, [node.source])).get(node.source, "")], pa.string())
        name = labels
        if pc.match_substring_regex(source, pattern)[0].as_py():
            value = pc.replace_substring_regex(source, pattern, rewritten)[0].as_py()
            name = labels_of((*without(labels, [node.target]), (node.target, value)))
        if made.get(name, {}).keys() & values.keys():
            raise invalid_at(text, node.at, "label_replace makes two series of the same labels")
        made.setdefault(name, {}).update(values)
    return made


def in_order(vector: Vector) -> list[tuple[Labels, Values]]:
    """Series by their labels, which is how matrices are given."""
    return sorted(vector.items(), key=itemgetter(0))
