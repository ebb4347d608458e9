"""A metric query → its series: range aggregations are asked of the server, the rest is made of their answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from query.logql import ast
from query.logql.ranges import Asked, Steps, range_vector
from query.logql.vectors import Side, Vector, aggregated, combined, replaced
from query.plan import Plan
from query.running import Running

# Aggregations of which the parts can be put together: the server groups at once, instead of line by line.
PUSHED = {
    "sum": {"count_over_time", "rate", "bytes_over_time", "bytes_rate", "sum_over_time"},
    "max": {"max_over_time"},
    "min": {"min_over_time"},
}


@dataclass(frozen=True)
class Metrics:
    """Answers the nodes of one query, over one state of the tiers."""

    plan: Plan
    running: Running
    steps: Steps

    def side(self, node: ast.Metric, also: tuple[str, ...] = ()) -> Side:
        """The series of a node, or its number. `also`: tags by which somebody further out tells series apart."""
        match node:
            case ast.Literal(value):
                return value
            case ast.Constant(value):
                return {(): dict.fromkeys(range(self.steps.count), value)}
            case ast.RangeAggregation():
                return self._range(node, also)
            case ast.VectorAggregation():
                return self._aggregation(node, also)
            case ast.LabelReplace():
                inner = self.vector(node.inner, (*also, node.source))
                return replaced(node, inner, self.plan.text)
        matching = node.matching
        wanted = (*also, *matching.names, *matching.include) if matching else also
        left, right = self.side(node.left, wanted), self.side(node.right, wanted)
        return combined(node, left, right, self.plan.text)

    def vector(self, node: ast.Metric, also: tuple[str, ...] = ()) -> Vector:
        """The series of a node; a number is a series without labels."""
        side = self.side(node, also)
        return {(): dict.fromkeys(range(self.steps.count), side)} if isinstance(side, float) else side

    def _range(self, node: ast.RangeAggregation, also: tuple[str, ...]) -> Vector:
        if node.grouping is None:
            return self._ask(node, Asked(None, also=_distinct(also)))
        if node.grouping.without:
            return self._ask(node, Asked(None, node.grouping.names, _distinct(also, node.grouping.names)))
        return self._ask(node, Asked(node.grouping.names))

    def _aggregation(self, node: ast.VectorAggregation, also: tuple[str, ...]) -> Vector:
        names = () if node.grouping is None else node.grouping.names
        all_but = node.grouping is not None and node.grouping.without
        inner = node.inner
        if (
            isinstance(inner, ast.RangeAggregation)
            and inner.grouping is None
            and inner.function in PUSHED.get(node.function, ())
        ):
            return self._ask(inner, Asked(None, names, _distinct(also, names)) if all_but else Asked(names))
        keeps = node.function in ("topk", "bottomk", "approx_topk", "sort", "sort_desc")
        if all_but:
            wanted = _distinct(also, names)
        else:
            wanted = _distinct((*also, *names)) if keeps else names
        return aggregated(node, self.vector(inner, wanted))

    def _ask(self, node: ast.RangeAggregation, asked: Asked) -> Vector:
        return range_vector(node, asked, self.steps, self.plan, self.running)


def _distinct(names: tuple[str, ...], gone: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name not in gone))


def answer(node: ast.Metric, plan: Plan, running: Running, steps: Steps) -> Side:
    """The series of a metric query, or the number that it is."""
    return running.answer(plan, lambda settled: Metrics(replace(settled), running, steps).side(node))
