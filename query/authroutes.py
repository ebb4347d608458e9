"""Login at the page: `/auth/login`, `/auth/callback`, `/auth/logout`, `/auth/key`, `/auth/me`.

Whoever logs in gets a cookie that scripts cannot read, with a key that is kept like any other: hashed, with an end, and
revoked by logging out. These paths are open, so each looks itself at who asks.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from query.adminroutes import json_body
from query.auditing import say
from query.errors import NotFound, RequestInvalid
from query.oidc import LOGIN_SECONDS, Provider, known_roles
from storage.access.access import COOKIE, Access, Shown
from storage.access.administration import Administration
from storage.access.identity import ADMIN, ANYONE, AUDIT, SEARCH, Identity
from storage.access.middleware import IDENTITY, SHOWN, check_origin
from storage.errors import Forbidden, NeveError, Unauthenticated
from storage.hot import Hot
from storage.spreading import Spread

router = APIRouter()
LOGIN_COOKIE = "neve_login"
NO_STORE = {"Cache-Control": "no-store"}


def _provider(request: Request) -> Provider:
    found: Provider | None = request.app.state.provider
    if found is None:
        raise NotFound("cannot log in: no provider is configured", "set [auth.oidc], or enter a key")
    return found


@router.get("/auth/login")
async def login(request: Request, next: str = "/") -> Response:
    """Off to the provider."""
    provider = _provider(request)
    where, cookie = await asyncio.to_thread(provider.begin, _redirect(request), next)
    answer = RedirectResponse(where, 302, NO_STORE)
    _set(request, answer, LOGIN_COOKIE, cookie, LOGIN_SECONDS)
    return answer


@router.get("/auth/callback")
async def callback(request: Request) -> Response:
    """Back from the provider."""
    provider, asked = _provider(request), dict(request.query_params)
    cookie = request.cookies.get(LOGIN_COOKIE, "")
    try:
        person, next_ = await asyncio.to_thread(provider.finish, asked, cookie, _redirect(request))
        administration: Administration = request.app.state.administration
        roles = known_roles(person.roles, await asyncio.to_thread(administration.roles))
        if not roles:
            raise Forbidden("cannot log in: no role of yours is there", "let an administrator make it")
    except NeveError as error:
        say(request, "login refused", "warn", reason=error.message)
        raise
    seconds = _access(request).config.session_hours * 3600
    text = await asyncio.to_thread(administration.create_session, person.name, roles, seconds)
    say(request, "login", actor=person.name, subject=person.subject, roles=",".join(roles))
    answer = RedirectResponse(next_, 303, NO_STORE)
    answer.delete_cookie(LOGIN_COOKIE, path="/auth/")
    _set(request, answer, COOKIE, text, seconds)
    return answer


@router.post("/auth/key")
async def enter_key(request: Request) -> Response:
    """Log in with a key: `{"key": "neve_…"}`, which is then in a cookie that scripts cannot read."""
    access = _access(request)
    check_origin(request.scope, access.config.public_url)
    text = str((await json_body(request)).get("key", "")).strip()
    if not access.enabled:
        raise RequestInvalid("cannot use a key: nobody is asked for one here", "set auth.enabled")
    identity = await _identified(request, Shown(text) if text else Shown())
    if not identity.may(SEARCH):
        raise Forbidden("cannot use this key at the page: it does not search")
    say(request, "login", actor=identity.name, entered=identity.key)
    answer = JSONResponse(_said(identity), headers=NO_STORE)
    _set(request, answer, COOKIE, text, access.config.session_hours * 3600)
    return answer


@router.post("/auth/logout")
async def logout(request: Request) -> Response:
    """Forget the cookie; the login that it was is revoked."""
    access = _access(request)
    check_origin(request.scope, access.config.public_url)
    identity = await _identity(request)
    if identity is not None and identity.kind == "user":
        administration: Administration = request.app.state.administration
        await asyncio.to_thread(administration.revoke, identity.key)
        say(request, "logout", actor=identity.name)
    answer = JSONResponse({"authenticated": False}, headers=NO_STORE)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.get("/auth/me")
async def me(request: Request) -> Response:
    """Who asks, what they may, and how they can log in."""
    access = _access(request)
    identity = await _identity(request)
    said: dict[str, Any] = {"enabled": access.enabled, "authenticated": identity is not None}
    said["login"] = "/auth/login" if request.app.state.provider is not None else None
    if identity is not None:
        said |= _said(identity)
        if said["namespaces"] is None:
            hot: Hot | Spread = request.app.state.gate.hot
            names = await asyncio.to_thread(hot.namespaces)
            gone = access.book.is_gone if access.book is not None else lambda _name: False
            said["namespaces"] = [
                name for name in names if not gone(name) and (name != AUDIT or identity.may(ADMIN))
            ]
    return JSONResponse(said, headers=NO_STORE)


def _said(identity: Identity) -> dict[str, Any]:
    allowed = identity.namespaces(SEARCH)
    scopes = sorted({scope for grant in identity.grants for scope in grant.scopes})
    names = None if allowed is None else sorted(allowed)
    return {"name": identity.name, "kind": identity.kind, "scopes": scopes, "namespaces": names}


def _access(request: Request) -> Access:
    found: Access = request.app.state.access
    return found


async def _identity(request: Request) -> Identity | None:
    """Who asks; None for nobody that is known."""
    if not _access(request).enabled:
        return ANYONE
    try:
        return await _identified(request, request.scope[SHOWN])
    except (Unauthenticated, Forbidden):
        return None


async def _identified(request: Request, shown: Shown) -> Identity:
    identity = await _access(request).identified(shown)
    request.scope[IDENTITY] = identity
    return identity


def _base(request: Request) -> str:
    """This server as the browser sees it."""
    public = _access(request).config.public_url.rstrip("/")
    if public:
        return public
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    return f"{scheme}://{request.headers.get('host', '')}"


def _redirect(request: Request) -> str:
    return f"{_base(request)}/auth/callback"


def _set(request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/auth/" if name == LOGIN_COOKIE else "/",
        secure=urlsplit(_base(request)).scheme == "https",
        httponly=True,
        samesite="lax",
    )
