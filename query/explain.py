"""What a query is understood as: its syntax tree, its plan and its SQL. For people who ask; nothing runs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from query.plan import Plan
from query.search import window_sql
from query.tables import compile_table
from query.times import to_rfc3339
from query.windows import Window


def explain(plan: Plan) -> dict[str, Any]:
    """The tree, the plan and the statement; QueryInvalid where a pipe makes no sense."""
    if plan.query.pipes:
        asked = compile_table(plan, plan.limit)
        sql, params = asked.sql, asked.params
    else:
        sql, params = window_sql(plan, Window(plan.low, plan.high), plan.limit + 1)
    return {
        "query": str(plan.query),
        "ast": tree(plan.query),
        "plan": {
            "tiers": ["hot"],
            "namespace": plan.namespace,
            "from": None if plan.low is None else to_rfc3339(plan.low),
            "to": None if plan.high is None else to_rfc3339(plan.high),
            "order": "newest" if plan.newest else "oldest",
            "limit": plan.limit,
            "partitions": None,
            "snapshot": None,
            "steps": "one statement" if plan.query.pipes else "windows that widen, nearest first",
            "condition": tree(plan.condition),
        },
        "sql": [{"tier": "hot", "statement": sql, "parameters": params}],
    }


def tree(node: Any) -> Any:
    """A dataclass as JSON: its class and its fields."""
    if is_dataclass(node):
        shown = {f.name: tree(getattr(node, f.name)) for f in fields(node) if f.name not in ("offset", "at")}
        return {"node": type(node).__name__, **shown}
    if isinstance(node, tuple | list):
        return [tree(item) for item in node]
    return node.value if isinstance(node, Enum) else node
