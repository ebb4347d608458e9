"""Who asks, as the rest of the server sees it: what they may, in which namespaces, and which events exist for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.errors import Forbidden, NamespaceUnclear

INGEST, SEARCH, ALERT, ADMIN, METRICS = "ingest", "search", "alert", "admin", "metrics"
AUDIT = "audit"
"""The namespace of the audit log: nobody writes to it but the server, and only administrators read it, and those whose
keys name it."""
SCOPES = (INGEST, SEARCH, ALERT, ADMIN, METRICS)


@dataclass(frozen=True)
class Grant:
    """Some scopes in some namespaces; None is all of them. `filter`: only these events exist, in our query language."""

    scopes: frozenset[str]
    namespaces: frozenset[str] | None = None
    filter: str = ""

    def covers(self, scope: str, namespace: str | None = None) -> bool:
        """Does it allow that, in that namespace if one is given?"""
        if scope not in self.scopes and ADMIN not in self.scopes:
            return False
        return namespace is None or self.namespaces is None or namespace in self.namespaces


@dataclass(frozen=True)
class Identity:
    """Somebody who was recognised. `kind`: key, user, certificate, inside, or anyone where nobody is asked."""

    name: str
    kind: str
    grants: tuple[Grant, ...]
    key: str = ""  # id of the key or session that was shown
    by_cookie: bool = False

    def may(self, scope: str) -> bool:
        return any(grant.covers(scope) for grant in self.grants)

    def namespaces(self, scope: str) -> frozenset[str] | None:
        """Those in which it has a scope; None: all."""
        found: set[str] = set()
        for grant in self.grants:
            if grant.covers(scope):
                if grant.namespaces is None:
                    return None
                found |= grant.namespaces
        return frozenset(found)

    def choose(self, scope: str, wanted: str, default: str) -> str:
        """The namespace that is meant: as asked, else the only one, else the default.

        Raises Forbidden, the same for namespaces that are there and those that are not, and NamespaceUnclear.
        """
        if wanted == AUDIT and not self._may_audit(scope):
            raise Forbidden(f"cannot use namespace {AUDIT!r}: you have no access to it")
        allowed = self.namespaces(scope)
        if allowed is None:
            return wanted or default
        if wanted:
            if wanted not in allowed:
                raise Forbidden(f"cannot use namespace {wanted[:60]!r}: you have no access to it")
            return wanted
        if len(allowed) == 1:
            return next(iter(allowed))
        if default in allowed:
            return default
        if not allowed:
            raise Forbidden("cannot use any namespace: you have access to none")
        raise NamespaceUnclear(
            "cannot tell which namespace is meant", f"name one of {', '.join(sorted(allowed))}"
        )

    def _may_audit(self, scope: str) -> bool:
        if scope == INGEST:
            return self.kind in ("inside", "anyone")
        named = any(one.covers(scope, AUDIT) and one.namespaces is not None for one in self.grants)
        return named or self.may(ADMIN)

    def filters(self, namespace: str) -> tuple[str, ...]:
        """Of the events of a namespace those exist that at least one of these finds; empty: all of them."""
        found = {grant.filter for grant in self.grants if grant.covers(SEARCH, namespace)}
        if not found:
            raise Forbidden(f"cannot use namespace {namespace[:60]!r}: you have no access to it")
        return () if "" in found else tuple(sorted(found))


def grant(scopes: Iterable[str], namespaces: Iterable[str] = (), filter_: str = "") -> Grant:
    """A grant; no namespaces are all of them."""
    named = frozenset(namespaces)
    return Grant(frozenset(scopes), named or None, filter_)


ANYONE = Identity("anyone", "anyone", (Grant(frozenset({ADMIN})),))
INSIDE = Identity("neve", "inside", (Grant(frozenset({ADMIN})),))
