"""Paths of alerts: `/api/v1/alerts`. Who searches a namespace sees them; who has the scope `alert` too changes them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request

from query.adminroutes import json_body
from query.alerting.keeping import AlertBook, Maker, alert_json
from query.alerting.machine import State
from query.alerting.rule import Alert
from query.auditing import say
from query.errors import RequestInvalid
from query.guards import may_see
from query.savedroutes import asked_in, namespace_of
from storage.access.access import Access
from storage.access.identity import ADMIN, ALERT, ANYONE, SEARCH, Identity
from storage.access.keys import SESSION
from storage.access.middleware import identity_of
from storage.errors import Forbidden

router = APIRouter()
T = TypeVar("T")
Said = dict[str, Any]
DELIVERIES, MOST_DELIVERIES = 50, 1000


async def _work(request: Request, what: Callable[[AlertBook], T]) -> T:
    book: AlertBook = request.app.state.alerts
    return await asyncio.to_thread(what, book)


def _may_change(identity: Identity, namespace: str) -> bool:
    allowed = identity.namespaces(ALERT)
    return may_see(identity, namespace) and (allowed is None or namespace in allowed)


def _maker(request: Request, namespace: str) -> Maker:
    """Who asks, as one who makes an alert there. Raises Forbidden."""
    identity = identity_of(request)
    if not _may_change(identity, namespace):
        raise Forbidden(
            f"cannot change alerts of {namespace[:60]!r}: it needs the scope {ALERT}", "use a key that has it"
        )
    name = "" if identity is ANYONE else identity.name
    return Maker(name, identity.kind, _roles_of(request, identity, namespace))


def _roles_of(request: Request, identity: Identity, namespace: str) -> tuple[str, ...]:
    """The roles by which events of a namespace exist for somebody; none where all do whatever becomes of roles."""
    access: Access = request.app.state.access
    if identity.may(ADMIN) or access.book is None:
        return ()
    known = access.book.known
    key = known.keys.get(identity.key)
    names = key.role.split(",") if key is not None and key.role else []
    if key is not None and key.kind == SESSION:
        roles = known.roles
        names = [one for one in names if one in roles and roles[one].grant().covers(SEARCH, namespace)]
        if not names:
            raise Forbidden(f"cannot use namespace {namespace[:60]!r}: you have no access to it")
    return tuple(names)


async def _one(request: Request, id_: str) -> tuple[Alert, State]:
    identity = identity_of(request)
    return await _work(request, lambda book: book.one(id_, identity))


async def _changeable(request: Request, id_: str) -> tuple[Alert, State, Maker]:
    alert, state = await _one(request, id_)
    return alert, state, _maker(request, alert.namespace)


def _shown(request: Request, alert: Alert, state: State) -> Said:
    may_change = _may_change(identity_of(request), alert.namespace)
    return alert_json(alert, state, time.time_ns(), may_change=may_change)


def _note(request: Request, action: str, alert: Alert, asked: Said | None = None) -> None:
    """Write down who did it; addresses and secrets of webhooks are not."""
    said = {key: value for key, value in (asked or {}).items() if key != "webhooks"}
    facts = {"settings": json.dumps(said)[:4096]} if said else {}
    say(request, action, namespace=alert.namespace, alert=alert.id, name=alert.name, **facts)


@router.get("/api/v1/alerts")
async def alerts(request: Request, namespace: str = "") -> Said:
    """The alerts of a namespace with their states, by name."""
    chosen, identity = namespace_of(request, namespace), identity_of(request)
    found = await _work(request, lambda book: book.all(chosen, identity))
    return {"alerts": [_shown(request, alert, state) for alert, state in found]}


@router.post("/api/v1/alerts", status_code=201)
async def make(request: Request) -> Said:
    """Make an alert; docs/alerts.md has what it may say."""
    asked, namespace = await asked_in(request)
    maker = _maker(request, namespace)
    await asyncio.to_thread(request.app.state.owner.require, namespace)
    alert = await _work(request, lambda book: book.make(namespace, asked, maker))
    _note(request, "alert made", alert, asked)
    return _shown(request, alert, State())


@router.get("/api/v1/alerts/state")
async def states(request: Request, namespace: str = "") -> Said:
    """The states alone, and whether somebody looks. Answered also while ClickHouse is away."""
    chosen, identity = namespace_of(request, namespace), identity_of(request)
    return await _work(request, lambda book: book.overview(chosen, identity))


@router.get("/api/v1/alerts/{id}")
async def one(request: Request, id: str) -> Said:
    """One alert with its state."""
    return _shown(request, *await _one(request, id))


@router.put("/api/v1/alerts/{id}")
async def change(request: Request, id: str) -> Said:
    """Change what is named in the body; with `version`, only if it is still that one."""
    asked = await json_body(request)
    alert, state, maker = await _changeable(request, id)
    made = await _work(request, lambda book: book.change(alert, asked, maker))
    _note(request, "alert changed", made, asked)
    return _shown(request, made, state)


@router.delete("/api/v1/alerts/{id}")
async def delete(request: Request, id: str) -> Said:
    """Delete it; what it had told is told to be over."""
    alert, _, _ = await _changeable(request, id)
    await _work(request, lambda book: book.delete(alert))
    _note(request, "alert deleted", alert)
    return {"id": id, "deleted": True}


@router.post("/api/v1/alerts/{id}/test")
async def test(request: Request, id: str) -> Said:
    """Look now, and tell its webhooks what was found, marked as a test."""
    alert, _, _ = await _changeable(request, id)
    _note(request, "alert tested", alert)
    return await _work(request, lambda book: book.test(alert))


@router.post("/api/v1/alerts/{id}/mute")
async def mute(request: Request, id: str) -> Said:
    """Tell nothing until a time: `until`, a duration from now or a time; null ends it. `reason`, for people."""
    asked = await json_body(request)
    for key in asked:
        if key not in ("until", "reason"):
            raise RequestInvalid(f"cannot use {key[:40]!r} here", "known: until, reason")
    until, reason = asked.get("until"), asked.get("reason", "")
    if not isinstance(until, str | None) or "until" not in asked:
        raise RequestInvalid("cannot use 'until'", "give 2h, a time, or null")
    alert, state, _ = await _changeable(request, id)
    made = await _work(request, lambda book: book.mute(alert, until, reason))
    _note(request, "alert muted" if until else "alert unmuted", made, asked)
    return _shown(request, made, state)


@router.get("/api/v1/alerts/{id}/deliveries")
async def deliveries(request: Request, id: str, limit: int = DELIVERIES) -> Said:
    """Every try to tell its webhooks something in the last month, newest first."""
    if not 1 <= limit <= MOST_DELIVERIES:
        raise RequestInvalid(
            f"cannot use 'limit': {limit}", f"give a whole number from 1 to {MOST_DELIVERIES}"
        )
    await _one(request, id)
    return {"deliveries": await _work(request, lambda book: book.deliveries(id, limit))}
