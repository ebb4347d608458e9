"""What a query is understood as: its syntax tree, its plan and its SQL. For people who ask; nothing runs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from query.plan import EVERYTHING, Plan
from query.search import BY_TIME, window_sql
from query.tables import compile_table
from query.tiers import tiers_of
from query.times import to_rfc3339
from query.windows import Window

PLACE = "cold_"


def explain(plan: Plan) -> dict[str, Any]:
    """The tree, the plan and the statement; QueryInvalid where a pipe makes no sense.

    Nothing is said of a guard, nor of what there is behind it.
    """
    guarded, plan = plan.guarded, replace(plan, guard=EVERYTHING)
    state = plan.tiers.state
    if plan.query.pipes:
        asked = compile_table(plan, plan.limit)
        sql, params = asked.sql, asked.params
    else:
        sql, params = window_sql(plan, Window(plan.low, plan.high), plan.limit + 2, BY_TIME)
    return {
        "query": str(plan.query),
        "ast": tree(plan.query),
        "plan": {
            "tiers": list(plan.tiers.read(plan.low, plan.high)),
            "namespace": plan.namespace,
            "from": None if plan.low is None else to_rfc3339(plan.low),
            "to": None if plan.high is None else to_rfc3339(plan.high),
            "order": "newest" if plan.newest else "oldest",
            "limit": plan.limit,
            "partitions": list(state.hot_epochs) if state is not None and not guarded else None,
            "snapshot": None if guarded else _snapshot(plan),
            "steps": "one statement"
            if plan.query.pipes
            else "all of the hot tier at once, else windows that widen, nearest first",
            "condition": tree(plan.condition),
        },
        "sql": [{"tiers": tiers_of(sql, params), "statement": sql, "parameters": _shown(params)}],
    }


def _snapshot(plan: Plan) -> dict[str, Any] | None:
    """The snapshot of the cold tier that is pinned, whether or not it is to be read."""
    pinned = plan.tiers.pinned
    if pinned is None:
        return None
    return {
        "id": str(pinned.snapshot_id),  # more than a number of JSON can hold for some readers
        "metadata": pinned.metadata,
        "from": None if pinned.low is None else to_rfc3339(pinned.low),
        "to": None if pinned.high is None else to_rfc3339(pinned.high),
        "events": pinned.rows,
    }


def _shown(params: dict[str, object]) -> dict[str, object]:
    """What is bound, without the address and the credentials of the warehouse."""
    return {name: value for name, value in params.items() if not name.startswith(PLACE)}


def tree(node: Any) -> Any:
    """A dataclass as JSON: its class and its fields."""
    if is_dataclass(node):
        shown = {f.name: tree(getattr(node, f.name)) for f in fields(node) if f.name not in ("offset", "at")}
        return {"node": type(node).__name__, **shown}
    if isinstance(node, tuple | list):
        return [tree(item) for item in node]
    return node.value if isinstance(node, Enum) else node
