"""Paths for administrators: namespaces, keys and roles. Who asks was looked at before; every change is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from query.auditing import say
from query.errors import RequestInvalid, TooLarge
from query.params import MAX_BODY
from storage.access.administration import Administration

router = APIRouter()
T = TypeVar("T")
Said = dict[str, Any]


async def _work(request: Request, work: Callable[[Administration], T]) -> T:
    administration: Administration = request.app.state.administration
    return await asyncio.to_thread(work, administration)


async def json_body(request: Request) -> Said:
    """The JSON object of a body, empty where there is none. Raises RequestInvalid, TooLarge."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge("cannot read body: it is too large", f"send at most {MAX_BODY} bytes")
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RequestInvalid("cannot read body: it is no JSON object", "send an object")
    return found


# --- namespaces --------------------------------------------------------------------------------------------


@router.get("/api/v1/namespaces")
async def namespaces(request: Request) -> Said:
    """All of them, with their events and bytes in the hot tier."""
    return {"namespaces": await _work(request, lambda a: a.namespaces())}


@router.post("/api/v1/namespaces", status_code=201)
async def create_namespace(request: Request) -> Said:
    """Make one: `name`, and any of its settings."""
    asked = await json_body(request)
    name = str(asked.pop("name", ""))
    made = await _work(request, lambda a: a.create_namespace(name, asked))
    say(request, "namespace created", namespace=name, settings=json.dumps(asked))
    return made


@router.get("/api/v1/namespaces/{name}")
async def namespace(request: Request, name: str) -> Said:
    """One, with what holds for it."""
    return await _work(request, lambda a: a.namespace(name))


@router.patch("/api/v1/namespaces/{name}")
async def set_namespace(request: Request, name: str) -> Said:
    """Change some of its settings; null unsets one."""
    asked = await json_body(request)
    found = await _work(request, lambda a: a.set_namespace(name, asked))
    say(request, "namespace changed", namespace=name, settings=json.dumps(asked))
    return found


@router.delete("/api/v1/namespaces/{name}", status_code=202)
async def delete_namespace(request: Request, name: str) -> Said:
    """Let it go with all its events, in both tiers, for good; it is gone some minutes later."""
    found = await _work(request, lambda a: a.delete_namespace(name))
    say(request, "namespace deleted", "warn", namespace=name)
    return found


# --- keys --------------------------------------------------------------------------------------------------


@router.get("/api/v1/keys")
async def keys(request: Request, sessions: bool = False) -> Said:
    """All keys without their secrets; with `sessions`, logins at the page too."""
    return {"keys": await _work(request, lambda a: a.keys(sessions=sessions))}


@router.post("/api/v1/keys", status_code=201)
async def create_key(request: Request) -> Response:
    """A new key by `scopes`, `namespaces`, `role`, `name`, `expires`. Its text is in this answer and nowhere else."""
    asked = await json_body(request)
    made = await _work(request, lambda a: a.create_key(asked))
    shown = {name: made[name] for name in ("id", "name", "scopes", "namespaces", "role", "expires_at")}
    say(request, "key created", made=made["id"], settings=json.dumps(shown))
    return JSONResponse(made, 201, {"Cache-Control": "no-store"})


@router.delete("/api/v1/keys/{id}")
async def revoke_key(request: Request, id: str) -> Said:
    """Revoke it, everywhere within seconds."""
    revoked = await _work(request, lambda a: a.revoke(id))
    say(request, "key revoked", revoked=id)
    return revoked


# --- roles -------------------------------------------------------------------------------------------------


@router.get("/api/v1/roles")
async def roles(request: Request) -> Said:
    """All roles."""
    return {"roles": await _work(request, lambda a: a.all_roles())}


@router.put("/api/v1/roles/{name}")
async def set_role(request: Request, name: str) -> Said:
    """Make one or change it: `filter`, `namespaces`, `scopes`."""
    asked = await json_body(request)
    found = await _work(request, lambda a: a.set_role(name, asked))
    say(request, "role changed", role=name, settings=json.dumps(asked))
    return found


@router.delete("/api/v1/roles/{name}")
async def delete_role(request: Request, name: str) -> Said:
    """Delete it; keys that have it are of no use then."""
    await _work(request, lambda a: a.delete_role(name))
    say(request, "role deleted", role=name)
    return {"name": name, "deleted": True}
