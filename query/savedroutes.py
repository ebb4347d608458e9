"""Paths of saved searches and short links: `/api/v1/saved`, `/api/v1/links`, `/s/{id}`.

Who may search a namespace sees what is saved of it. What is not for who asks is answered as what is not there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from query.adminroutes import json_body
from query.auditing import say
from query.errors import NotFound, RequestInvalid
from query.guards import check_regexes, may_see
from query.plan import EVERYTHING, Plan, make_plan
from query.tables import compile_table
from query.times import SECOND, to_rfc3339
from storage.access.access import Access
from storage.access.identity import ADMIN, ANYONE, SEARCH, Identity
from storage.access.middleware import SHOWN, identity_of
from storage.errors import Forbidden, NamespaceUnknown, NeveError
from storage.saved import Library, Link, Search, texts_by_name

router = APIRouter()
T = TypeVar("T")
Said = dict[str, Any]
NO_STORE = {"Cache-Control": "no-store"}


async def work(request: Request, what: Callable[[Library], T]) -> T:
    """Do something with what is saved, in a thread."""
    library: Library = request.app.state.library
    return await asyncio.to_thread(what, library)


def namespace_of(request: Request, wanted: str, scope: str = SEARCH) -> str:
    """The namespace that is meant. Raises Forbidden, NamespaceUnclear, NamespaceUnknown."""
    found = identity_of(request).choose(scope, wanted, request.app.state.default_namespace)
    access: Access = request.app.state.access
    if access.book is not None and access.book.is_gone(found):
        raise NamespaceUnknown(f"cannot find namespace: {found}", "ship something to it first")
    return found


async def asked_in(request: Request) -> tuple[dict[str, Any], str]:
    """A body without its `namespace`, and the one that is meant. Raises RequestInvalid, and as `namespace_of`."""
    asked = await json_body(request)
    wanted = asked.pop("namespace", "")
    if not isinstance(wanted, str):
        raise RequestInvalid("cannot use 'namespace'", "give its name")
    return asked, namespace_of(request, wanted)


def owner_of(identity: Identity) -> str:
    """Who somebody is, where it is kept that something is theirs; empty: everybody, where nobody is asked."""
    return "" if identity is ANYONE else f"{identity.kind}:{identity.name}"


def is_of(identity: Identity, owner: str) -> bool:
    return identity.may(ADMIN) or owner == owner_of(identity)


def shown_owner(owner: str) -> str:
    """The name alone."""
    return owner.partition(":")[2]


def checked(text: str, namespace: str, from_: str = "", to: str = "") -> Plan:
    """The plan of a query that is to be kept, for whoever asks it one day. Raises QueryInvalid, RequestInvalid."""
    now = time.time_ns()
    plan = make_plan(text, now=now, namespace=namespace, from_=from_, to=to, guard=EVERYTHING)
    check_regexes(plan.condition, "query")
    if plan.query.pipes:
        compile_table(plan, 0)
    return plan


# --- saved searches ----------------------------------------------------------------------------------------


def _shown(request: Request, search: Search, alerts: dict[str, int]) -> Said:
    said = search.kept()
    return {
        "id": said.pop("id"),
        **{("from" if key == "from_" else key): value for key, value in said.items()},
        "owner": shown_owner(search.owner),
        "mine": is_of(identity_of(request), search.owner),
        "created_at": to_rfc3339(search.created_at),
        "updated_at": to_rfc3339(search.updated_at),
        "alerts": alerts.get(search.id, 0),
    }


async def _alerts(request: Request) -> dict[str, int]:
    """How many alerts stand on each."""
    return await work(request, lambda library: library.uses())


async def _one(request: Request, id_: str, *, change: bool = False) -> Search:
    """A saved search that who asks may see, or change. NotFound, Forbidden."""
    found = await work(request, lambda library: library.search(id_))
    identity = identity_of(request)
    if found is None or not may_see(identity, found.namespace):
        raise NotFound(f"cannot find saved search: {id_[:60]}", "GET /api/v1/saved lists them")
    if change and not is_of(identity, found.owner):
        raise Forbidden(
            f"cannot change saved search {found.name!r}: it is {shown_owner(found.owner) or 'somebody'}'s",
            "save one of your own",
        )
    return found


@router.get("/api/v1/saved")
async def saved(request: Request, namespace: str = "") -> Said:
    """The saved searches of a namespace, by name."""
    chosen = namespace_of(request, namespace)
    found = await work(request, lambda library: library.searches())
    alerts = await _alerts(request)
    return {"saved": [_shown(request, one, alerts) for one in found if one.namespace == chosen]}


@router.post("/api/v1/saved", status_code=201)
async def save(request: Request) -> Said:
    """Save a search: `name`, `query`, `from`, `to`, `view`, `columns`, `state`, in `namespace`."""
    asked, namespace = await asked_in(request)
    new = Search(namespace, "", owner=owner_of(identity_of(request)))
    asked.setdefault("name", "")
    search = new.changed({key: value for key, value in asked.items() if key != "version"})
    checked(search.query, namespace, search.from_, search.to)
    await asyncio.to_thread(request.app.state.owner.require, namespace)
    made = await work(request, lambda library: library.save(search))
    say(request, "search saved", namespace=namespace, saved=made.id, name=made.name, query=made.query[:4096])
    return _shown(request, made, {})


@router.get("/api/v1/saved/{id}")
async def one_saved(request: Request, id: str) -> Said:
    """One saved search."""
    found = await _one(request, id)
    return _shown(request, found, await _alerts(request))


@router.put("/api/v1/saved/{id}")
async def change_saved(request: Request, id: str) -> Said:
    """Change what is named in the body; with `version`, only if it is still that one."""
    asked = await json_body(request)
    search = (await _one(request, id, change=True)).changed(asked)
    checked(search.query, search.namespace, search.from_, search.to)
    made = await work(request, lambda library: library.change(search))
    say(
        request,
        "saved search changed",
        namespace=made.namespace,
        saved=id,
        name=made.name,
        query=made.query[:4096],
    )
    return _shown(request, made, await _alerts(request))


@router.delete("/api/v1/saved/{id}")
async def delete_saved(request: Request, id: str) -> Said:
    """Delete it; refused while alerts stand on it."""
    search = await _one(request, id, change=True)
    await work(request, lambda library: library.delete(search))
    say(request, "saved search deleted", namespace=search.namespace, saved=id, name=search.name)
    return {"id": id, "deleted": True}


# --- short links -------------------------------------------------------------------------------------------


def _namespace(request: Request, link_state: Said) -> str:
    return str(link_state.get("namespace") or request.app.state.default_namespace)


def _address(link: Link) -> str:
    """Where it leads: to the page, whatever its state says."""
    said = urlencode(link.state)
    return f"/?{said}" if said else "/"


def _shown_link(request: Request, link: Link) -> Said:
    return {
        "id": link.id,
        "path": f"/s/{link.id}",
        "address": _address(link),
        "namespace": _namespace(request, dict(link.state)),
        "pinned": link.pinned,
        "expires_at": to_rfc3339(link.expires_at * SECOND) if link.expires_at else None,
    }


@router.post("/api/v1/links", status_code=201)
async def make_link(request: Request) -> Said:
    """A short link to a state of the page: `state`, texts by name; `pinned`, so that it does not end."""
    asked = await json_body(request)
    for key in asked:
        if key not in ("state", "pinned"):
            raise RequestInvalid(f"cannot use {key[:40]!r} here", "known: state, pinned")
    state, pinned = texts_by_name(asked.get("state")), asked.get("pinned")
    if not isinstance(pinned, bool | None):
        raise RequestInvalid("cannot use 'pinned'", "give true or false")
    namespace = namespace_of(request, state.get("namespace", ""))
    if namespace != request.app.state.default_namespace:  # theirs may be another default than ours
        state["namespace"] = namespace
    link = await work(request, lambda library: library.make_link(state, pinned))
    say(request, "link made", namespace=namespace, link=link.id)
    return _shown_link(request, link)


@router.get("/api/v1/links/{id}")
async def link(request: Request, id: str) -> Said:
    """What a short link stands for."""
    found = await work(request, lambda library: library.link(id))
    if found is None or not may_see(identity_of(request), _namespace(request, dict(found.state))):
        raise NotFound(f"cannot find link: {id[:60]}", "it may have ended; ask who sent it for another")
    return {**_shown_link(request, found), "state": dict(found.state)}


@router.get("/s/{id}", include_in_schema=False)
async def follow(request: Request, id: str) -> Response:
    """To the page with the state of a link; without it, where that cannot be told to who asks: the page asks again."""
    later = RedirectResponse(f"/?{urlencode({'link': id[:60]})}", 302, NO_STORE)
    access: Access = request.app.state.access
    try:
        identity = await access.identified(request.scope[SHOWN]) if access.enabled else ANYONE
        found = await work(request, lambda library: library.link(id))
    except NeveError:  # who is not known, or ClickHouse is away: the page says what is wrong
        return later
    if found is None or not may_see(identity, _namespace(request, dict(found.state))):
        return later
    return RedirectResponse(_address(found), 302, NO_STORE)
