"""What the API tells the audit log: changes, searches, and who was refused."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from query.params import ASKED
from storage.access.audit import Audit, who


def say(request: Request, action: str, level: str = "info", **facts: Any) -> None:
    """Write down what somebody did."""
    audit: Audit | None = request.app.state.audit
    if audit is not None:
        audit.say(action, level, **{**who(request.scope), **facts})


def note_rows(request: Request, rows: int) -> None:
    """Note how many events or rows an answer has."""
    if ASKED in request.scope:
        request.scope[ASKED]["rows"] = rows


class Searches:
    """Middleware that writes down every request that asked about events: who, what, how long, and what came of it."""

    def __init__(self, app: ASGIApp, audit: Audit | None) -> None:
        self.app = app
        self.audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self.audit is None:
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            asked = scope.get(ASKED)
            if asked is not None:
                ms = round((time.monotonic() - began) * 1000, 1)
                path = scope["path"][:200]
                self.audit.say("search", **who(scope), **asked, path=path, status=status, ms=ms)
            elif status == 403:
                self.audit.say_refused(who(scope)["address"] or "", "forbidden", **_refusal(scope))


def _refusal(scope: Scope) -> dict[str, Any]:
    said = who(scope)
    return {"path": scope["path"][:200], "key": said.get("key"), "actor": said.get("actor")}
