"""Which events exist for who asks: the filters of their roles, as one condition that is always added."""

from __future__ import annotations

from query import ast
from query import conditions as c
from query.analyze import Analyzer
from query.errors import RequestInvalid
from query.parse import parse
from query.running import regexes
from storage.access.identity import SEARCH, Identity
from storage.errors import Forbidden, NamespaceUnclear, NeveError


def guard_of(identity: Identity, namespace: str, now: int) -> c.Condition:
    """The condition; Everything where there is none. Raises Forbidden, also where a filter cannot be read any more."""
    filters = identity.filters(namespace)
    if not filters:
        return c.Everything()
    try:
        return c.any_of(tuple(Analyzer(text, now).condition(_filter(text)) for text in filters))
    except NeveError:
        raise Forbidden("cannot use the filter of this role", "let an administrator set it anew") from None


def may_see(identity: Identity, namespace: str) -> bool:
    """May they search there?"""
    try:
        return identity.choose(SEARCH, namespace, namespace) == namespace
    except (Forbidden, NamespaceUnclear):
        return False


def check_filter(text: str) -> None:
    """Raises QueryInvalid or RequestInvalid for what is no filter of a role."""
    condition = Analyzer(text, 0).condition(_filter(text))
    if isinstance(condition, c.Everything):
        raise RequestInvalid("cannot use this filter: it finds every event", "leave it out")
    check_regexes(condition, "filter")


def check_regexes(condition: c.Condition, where: str) -> None:
    """RequestInvalid where one cannot be compiled; nobody is asked."""
    import pyarrow as pa  # 40 MiB, which a process that only looks need not have
    import pyarrow.compute as pc

    for regex in regexes(condition):
        try:
            pc.match_substring_regex(pa.array([""]), regex.pattern)
        except pa.ArrowInvalid:
            raise RequestInvalid(f"cannot use regex of {where}", "use RE2 syntax: no look-around") from None


def _filter(text: str) -> ast.Filter:
    query = parse(text)
    if query.pipes:
        raise RequestInvalid("cannot use a query with pipes as a filter", "give the filter alone")
    return query.filter
