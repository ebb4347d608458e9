"""What a request asks: parameters from the address, a form or a JSON body, checked by one table.

A parameter that nobody knows is refused: a search with `form=` for `from=` would look right and be wrong.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request

from query.errors import RequestInvalid, TooLarge
from query.guards import guard_of
from query.plan import DEFAULT_LIMIT, Plan, instant, make_plan
from storage.access.access import Access
from storage.access.identity import SEARCH, Identity
from storage.access.middleware import identity_of
from storage.errors import NamespaceUnknown

ASKED = "neve.asked"  # in a request's scope: what it was understood as, for the audit log
MAX_QUERY = 4096  # characters of a query that are written there
MAX_BODY = 1 << 20  # bytes: a query is at most 16,384 characters
TIME = "RFC 3339, Unix (s, ms, µs or ns by magnitude) or relative (now-15m, 15m)"
PARAMETERS: dict[str, tuple[str, str]] = {
    "q": ("string", "The query; nothing finds every event"),
    "from": ("string", f"From this time on: {TIME}"),
    "to": ("string", f"Before this time: {TIME}"),
    "namespace": ("string", "The namespace, 'default' by default"),
    "limit": ("integer", "How many at most"),
    "order": ("string", "newest (default) or oldest first"),
    "cursor": ("string", "next_cursor of the page before"),
    "buckets": ("integer", "About how many buckets, 60 by default"),
    "by": ("string", "A field whose values split the counts"),
    "compare_q": ("string", "The query to compare with; by default the same"),
    "compare_from": ("string", "Start of the range to compare with"),
    "compare_to": ("string", "End of the range to compare with"),
    "new_since": ("string", "Only patterns that were never seen before this time"),
    "sparkline": ("integer", "About how many counts by time each pattern gets, none by default"),
    "change": ("string", "Only patterns that are new, gone, grown, shrunk or the same"),
    "tags": (
        "string",
        "The only tags that events are shown with, with commas; empty for none. Much less is read then",
    ),
    "format": ("string", "json, ndjson or csv, as a file to keep; by default what Accept asks for"),
    "id": ("string", "An event's id"),
    "before": ("integer", "Lines before it, 10 by default"),
    "after": ("integer", "Lines after it, 10 by default"),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "order": ("newest", "oldest"),
    "format": ("json", "ndjson", "csv"),
    "change": ("new", "gone", "grown", "shrunk", "same"),
}
RANGE = ("q", "from", "to", "namespace")


@dataclass(frozen=True)
class Chosen:
    """What who asks may read of; of every request for events."""

    identity: Identity
    access: Access
    scope: MutableMapping[str, Any] = field(repr=False)

    def namespace(self, wanted: str, default: str, query: str) -> str:
        """The one asked about, noted for the audit log. Raises Forbidden, NamespaceUnclear, NamespaceUnknown."""
        found = self.identity.choose(SEARCH, wanted, default)
        if self.access.book is not None and self.access.book.is_gone(found):
            raise NamespaceUnknown(f"cannot find namespace: {found}", "ship something to it first")
        self.scope[ASKED] = {"namespace": found, "query": query[:MAX_QUERY]}
        return found


@dataclass(frozen=True)
class Asked:
    """The parameters of one request, who asks, and the moment that its relative times count from."""

    values: dict[str, str]
    default_namespace: str
    now: int
    identity: Identity
    access: Access
    scope: MutableMapping[str, Any] = field(default_factory=dict, repr=False)

    def namespace(self) -> str:
        """The one that is asked about. Raises Forbidden, NamespaceUnclear, NamespaceUnknown."""
        chosen = Chosen(self.identity, self.access, self.scope)
        found = chosen.namespace(self.text("namespace"), self.default_namespace, self.text("q"))
        if self.text("compare_q"):
            self.scope[ASKED]["compare_query"] = self.text("compare_q")[:MAX_QUERY]
        return found

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds."""
        given = self.text(name)
        if not given:
            return default
        if not given.isascii() or not given.isdigit() or not least <= int(given[:20]) <= most:
            raise RequestInvalid(
                f"cannot use {name!r}: {given[:40]}", f"give a whole number from {least} to {most}"
            )
        return int(given)

    def one_of(self, name: str, values: tuple[str, ...]) -> str:
        """One of some words, or nothing."""
        given = self.text(name)
        if given and given not in values:
            raise RequestInvalid(f"cannot use {name!r}: {given[:40]}", f"give one of {', '.join(values)}")
        return given

    def names(self, name: str) -> tuple[str, ...] | None:
        """Names with commas between them; None where the parameter is not there, nothing where it is empty."""
        if name not in self.values:
            return None
        return tuple(dict.fromkeys(one for one in self.text(name).split(",") if one))

    def instant(self, name: str) -> int | None:
        """A moment, in nanoseconds since 1970; None where none is given."""
        return instant(name, self.text(name), self.now) if self.text(name) else None

    def plan(self, *, limit: int = DEFAULT_LIMIT, prefix: str = "") -> Plan:
        """The plan of the request; with a prefix, that of the range it compares with."""
        namespace = self.namespace()
        return make_plan(
            (prefix and self.text(f"{prefix}q")) or self.text("q"),
            now=self.now,
            namespace=namespace,
            guard=guard_of(self.identity, namespace, self.now),
            from_=self.text(f"{prefix}from"),
            to=self.text(f"{prefix}to"),
            order=self.text("order") or "newest",
            limit=limit,
            cursor=self.text("cursor"),
        )

    def watching(self) -> Plan:
        """The plan of a tail, whose cursor is another thing."""
        namespace = self.namespace()
        guard = guard_of(self.identity, namespace, self.now)
        return make_plan(self.text("q"), now=self.now, namespace=namespace, guard=guard)


def asking(*names: str) -> Callable[[Request], Awaitable[Asked]]:
    """A dependency that reads these parameters and refuses others."""

    async def asked(request: Request) -> Asked:
        values = dict(request.query_params)
        values.update(await _body(request))
        for name in values:
            if name not in names:
                raise _unknown(name, names)
        state = request.app.state
        return Asked(
            values, state.default_namespace, time.time_ns(), identity_of(request), state.access, request.scope
        )

    return asked


def described(*names: str) -> dict[str, Any]:
    """The parameters for the OpenAPI page."""
    listed = []
    for name in names:
        listed.append(
            {"name": name, "in": "query", "schema": _schema(name), "description": PARAMETERS[name][1]}
        )
    return {"parameters": listed}


def described_body(*names: str) -> dict[str, Any]:
    """The same as a JSON body."""
    fields = {name: {**_schema(name), "description": PARAMETERS[name][1]} for name in names}
    return {
        "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": fields}}}}
    }


def _schema(name: str) -> dict[str, Any]:
    type_ = PARAMETERS[name][0]
    bounds: dict[str, Any] = {"minimum": 0} if type_ == "integer" else {}
    return {"type": type_, **bounds, **({"enum": list(CHOICES[name])} if name in CHOICES else {})}


def _unknown(name: str, names: tuple[str, ...]) -> RequestInvalid:
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
    return RequestInvalid(f"cannot use parameter {name[:40]!r}: there is none of that name here", hint)


async def _body(request: Request) -> dict[str, str]:
    if request.method != "POST":
        return {}
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge("cannot read body: it is too large", f"send at most {MAX_BODY} bytes")
    if not body.strip():
        return {}
    try:
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        if form and not body.lstrip().startswith(b"{"):  # curl -d calls everything a form
            return dict(parse_qsl(body.decode(), keep_blank_values=True))
        return _json_values(json.loads(body))
    except (ValueError, RecursionError):
        raise RequestInvalid(
            "cannot read body: it is neither JSON nor a form", 'send {"q": "…"} as JSON'
        ) from None


def _json_values(body: Any) -> dict[str, str]:
    if not isinstance(body, dict):
        raise RequestInvalid("cannot read body: it is no JSON object", 'send {"q": "…"}')
    values = {}
    for name, value in body.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise RequestInvalid(f"cannot use {name[:40]!r}", "give a string or a number")
        if value is not None:
            values[name] = _whole(name, str(value))
    return values


def _whole(name: str, text: str) -> str:
    """A text that can be sent on: JSON may hold half of a character that takes two."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestInvalid(
            f"cannot use {name[:40]!r}: it has half a character", "give whole ones"
        ) from None
    return text
