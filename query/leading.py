"""The events that a histogram, the patterns or the fields are about: what the filter finds, and then the pipes leave.

Pipes that leave events (`where`, `extract`, `unpack`) are applied. Others make something of their own, which has no
histogram: they are refused, with what to do.
"""

from __future__ import annotations

from query import ast
from query.errors import invalid_at
from query.pipes import Compiler, Stage
from query.plan import Plan
from query.sources import plan_source
from query.sql import Params

LEADING = (ast.Where, ast.Extract, ast.Unpack)


def check_pipes(plan: Plan) -> None:
    """QueryInvalid, with its place, for a pipe that leaves no plain set of events."""
    for pipe in plan.query.pipes:
        if not isinstance(pipe, LEADING):
            name = str(pipe).split("(")[0].split()[0]
            raise invalid_at(
                plan.text,
                pipe.offset,
                f"cannot use | {name} here: only where, extract and unpack leave events to look at",
                f"leave out what begins with | {name}, or ask /api/v1/search for its table",
            )


def event_stage(plan: Plan, params: Params) -> Stage:
    """A plan's events: `FROM {stage.source}{stage.where()}`, whose names are those of `stage.scope`."""
    check_pipes(plan)
    compiler = Compiler(plan.text, plan.analyzer(), params, plan.database, plan.seconds)
    events = plan_source(plan, params)
    return compiler.run(Stage(0, events.table, events.conditions), plan.query.pipes)
