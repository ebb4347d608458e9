"""The ASGI middleware of gateway, API and ager: who asks is known, and may, before anything else sees a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from storage.access.access import Access, Shown
from storage.access.identity import ANYONE, Identity
from storage.access.paths import Need, needs, scope_of
from storage.errors import Forbidden, NeveError, Unauthenticated

IDENTITY, SHOWN = "neve.identity", "neve.shown"
ASK_FOR_KEY = {"WWW-Authenticate": 'Bearer realm="neve"'}
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
RETRY_AFTER_SECONDS = 1
Refused = Callable[[Scope, Shown, NeveError], None]


class Guarded:
    """Lets through who may. `refused` is told of the others, for the audit log."""

    def __init__(
        self, app: ASGIApp, access: Callable[[], Access], process: str, refused: Refused | None = None
    ) -> None:
        self.app = app
        self.access = access
        self.need = needs(process)
        self.refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        shown = Shown()
        try:
            access = self.access()
            if access.enabled:
                shown = access.shown(scope["headers"])
                scope[IDENTITY] = await self._admit(access, scope, shown)
            else:
                scope[IDENTITY] = ANYONE
            scope[SHOWN] = shown
        except NeveError as error:
            if self.refused is not None:
                self.refused(scope, shown, error)
            await _answer(error, scope, send)
            return
        await self.app(scope, receive, send)

    async def _admit(self, access: Access, scope: Scope, shown: Shown) -> Identity:
        """Raises Unauthenticated, Forbidden, StorageUnavailable."""
        need = self.need(scope["path"])
        wanted = scope_of(need, access.config)
        if wanted is None:
            return NOT_ASKED
        identity = await access.identified(shown)
        if identity.by_cookie:
            check_origin(scope, access.config.public_url)
        if need is Need.INSIDE:
            if identity.kind != "inside":
                raise Forbidden("cannot use this path: it is not for clients", "look at /docs")
        elif need is not Need.SOMEBODY and not identity.may(wanted):
            raise Forbidden(f"cannot do that: it needs a key of scope {wanted}")
        return identity


NOT_ASKED = Identity("", "nobody", ())
"""Of a path that is open: nothing was looked at, and nothing is granted."""


def identity_of(connection: HTTPConnection) -> Identity:
    """Who a request is from. A request that no middleware has seen is refused."""
    found = connection.scope.get(IDENTITY)
    if found is None:
        raise Unauthenticated("cannot tell who asks")
    assert isinstance(found, Identity)
    return found


def check_origin(scope: Scope, public_url: str = "") -> None:
    """A cookie is sent by other sites' pages too: what changes something must come from our own. Raises Forbidden."""
    if scope["type"] == "http" and scope["method"] in SAFE:
        return
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    origin = urlsplit(headers.get(b"origin", "")).netloc
    ours = (headers.get(b"host"), urlsplit(public_url).netloc)
    if headers.get(b"sec-fetch-site") == "same-origin" or (origin and origin in ours):
        return
    raise Forbidden("cannot do that from another site's page", "use the page of this server, or a key")


async def _answer(error: NeveError, scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
        return
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    if error.status == 401:
        headers += [(name.lower().encode(), value.encode()) for name, value in ASK_FOR_KEY.items()]
    if error.status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
    body: dict[str, Any] = error.to_json()
    data = json.dumps(body).encode()
    headers.append((b"content-length", b"%d" % len(data)))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
