"""The gateway process as an ASGI app."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from ingest import openapi, operations, peer_hold, watching
from ingest.gateway import GatewaySettings, GatewayState
from ingest.receivers import blocks, elastic, http, journal, loki, otlp, splunk
from ingest.receivers.answers import RETRY_AFTER_SECONDS, retry_headers
from ingest.receivers.body import Budget
from ingest.receivers.intake import Lexers
from ingest.receivers.listeners import Listeners
from storage.access.answers import handle_errors
from storage.access.audit import refused
from storage.access.middleware import ASK_FOR_KEY, Guarded
from storage.access.openapi import describe
from storage.errors import NeveError
from storage.tracing import Traced

__all__ = ["GatewaySettings", "create_app"]


def create_app(settings: GatewaySettings) -> FastAPI:
    """The gateway over `settings.data_dir`, held while it runs. It starts without ClickHouse too."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = GatewayState(settings)
        state.start()
        app.state.gateway = state
        app.state.leave = state.arrivals.end
        app.state.budget = Budget(settings.limits)
        app.state.lexers = Lexers(settings.redaction)
        app.state.operators = ThreadPoolExecutor(operations.OPERATORS, "operations")
        listeners = Listeners()
        state.listening = listeners.said
        try:
            await listeners.start(app, settings.receivers, settings.host)
            yield
        finally:
            await listeners.stop()
            app.state.operators.shutdown(wait=False, cancel_futures=True)
            state.stop()

    app = FastAPI(title="Neve gateway", lifespan=lifespan)
    app.state.leave = lambda: None
    app.add_middleware(
        Guarded,
        access=lambda: app.state.gateway.access,
        process="gateway",
        refused=lambda *what: refused(app.state.gateway.audit, *what),
    )
    app.add_middleware(Traced)
    app.include_router(peer_hold.router)
    app.include_router(blocks.router)
    app.include_router(http.router)
    app.include_router(journal.router)
    app.include_router(otlp.router)
    app.include_router(loki.router)
    app.include_router(splunk.router)
    app.include_router(operations.router)
    app.include_router(watching.inside)
    app.include_router(watching.peers)
    elastic.include(app)  # last: its paths are what is left
    app.add_exception_handler(NeveError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(OSError, answer_disk)
    handle_errors(app)
    describe(app, "gateway", openapi.SAID, asks=settings.auth.enabled)
    return app


async def answer_error(_request: Request, error: Exception) -> JSONResponse:
    """An error of ours, in the interface's shape."""
    assert isinstance(error, NeveError)
    headers = retry_headers(error)
    if error.status == 401:
        headers = {**headers, **ASK_FOR_KEY}
    return JSONResponse(error.to_json(), error.status, headers)


async def answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    """A parameter that is not what it should be."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])[:60]
    body = {
        "code": "bad_parameter",
        "message": f"cannot read parameter: {name}",
        "hint": str(first["msg"]).lower(),
    }
    return JSONResponse({"error": body}, 400)


async def answer_disk(_request: Request, error: Exception) -> JSONResponse:
    """The disk fails: nothing was kept, and the sender has to keep it."""
    assert isinstance(error, OSError)
    reason = (error.strerror or str(error)).lower()
    body = {
        "code": "disk_failed",
        "message": f"cannot write spool: {reason}",
        "hint": "try again in a moment",
    }
    return JSONResponse({"error": body}, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
