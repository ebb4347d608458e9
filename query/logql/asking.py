"""What a LogQL query asks of an event's own fields: the selector, and filters before anything is changed.

These become a condition of Neve, which both tiers' indexes and bounds serve, and a live tail too.
"""

from __future__ import annotations

from query import conditions as c
from query.logql import ast
from query.logql.labels import ERROR, ERROR_DETAILS, accepts, check_regex, condition, unsupported
from query.logql.parsers import filter_regex, places

MESSAGE = c.Column("message")


def split(query: ast.LogQuery, text: str) -> tuple[c.Condition, tuple[ast.Stage, ...]]:
    """The condition of the events that a query is about, and the stages that are left to do for each of them."""
    conditions = [condition(matcher, text) for matcher in query.matchers]
    left: list[ast.Stage] = []
    same_line = same_labels = True
    for stage in query.stages:
        if isinstance(stage, ast.LineFilter) and same_line:
            conditions.append(line_condition(stage, text))
            continue
        if isinstance(stage, ast.LabelFilter) and same_labels and _only_matches(stage.test):
            conditions.append(_test_condition(stage.test, text))
            continue
        left.append(stage)
        same_line &= not isinstance(stage, ast.LineFormat | ast.Decolorize) and not _is_unpack(stage)
        same_labels &= isinstance(stage, ast.LineFilter | ast.LabelFilter | ast.LineFormat | ast.Decolorize)
    return c.all_of(tuple(conditions)) if conditions else c.Everything(), tuple(left)


def _only_matches(test: ast.LabelTest) -> bool:
    """Does a filter ask for texts of labels alone, which makes no errors?"""
    if isinstance(test, ast.Both | ast.Either):
        return all(map(_only_matches, test.children))
    return isinstance(test, ast.Matcher) and test.name not in (ERROR, ERROR_DETAILS)


def _test_condition(test: ast.LabelTest, text: str) -> c.Condition:
    if isinstance(test, ast.Both | ast.Either):
        children = tuple(_test_condition(child, text) for child in test.children)
        return c.all_of(children) if isinstance(test, ast.Both) else c.any_of(children)
    assert isinstance(test, ast.Matcher)
    return condition(test, text)


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
