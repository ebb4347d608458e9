"""Errors as answers of HTTP, in the one shape that every process of the server has."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger("neve")
LOOK = "look at /docs"


def handle_errors(app: FastAPI) -> None:
    """Let an app answer so what the framework itself would answer otherwise, and faults of ours."""
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


async def http_error(request: Request, error: Exception) -> JSONResponse:
    """No such path, no such method, or a request that cannot be read."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return answer(404, "not_found", f"cannot find path: {request.url.path[:200]}", LOOK)
    if error.status_code == 405:
        message = f"cannot use method: {request.method}"
        return answer(405, "method_not_allowed", message, LOOK, dict(error.headers or {}))
    return answer(400, "request_invalid", "cannot read request", LOOK)


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    """A fault of ours: what it was is for the log."""
    log.error("fault at %s", request.url.path, exc_info=error)
    return answer(500, "internal", "cannot answer: a fault of the server's own", "look at the server's log")


def answer(
    status: int, code: str, message: str, hint: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error that is no exception of ours."""
    error: dict[str, Any] = {"code": code, "message": message, "hint": hint}
    return JSONResponse({"error": error}, status, headers)
