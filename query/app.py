"""The API process as an ASGI application: routes, and every error in the one shape that the interface fixes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from lexer.errors import PinsInvalid
from query import adminroutes, alertroutes, authroutes, openapi, page, savedroutes
from query.alerting.config import AlertsConfig
from query.alerting.evaluator import Place
from query.alerting.keeping import AlertBook
from query.auditing import Searches
from query.errors import RequestInvalid
from query.feed import Way
from query.guards import check_filter
from query.learning import Learner
from query.limits import Limits
from query.loki.routes import router as loki_router
from query.loki.tail import router as loki_tail_router
from query.metrics import Counting, Metrics
from query.metrics import router as metrics_router
from query.oidc import Provider
from query.routes import router
from query.serving import ClientGone, Gate
from query.tail import TailHub
from query.tailroute import router as tail_router
from query.tailstore import TailStore
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.answers import handle_errors
from storage.access.audit import Audit, refused
from storage.access.carried import carried
from storage.access.config import AuthConfig
from storage.access.middleware import ASK_FOR_KEY, Guarded
from storage.access.openapi import describe
from storage.cold_config import ColdConfig
from storage.errors import ConfigError, NeveError
from storage.hot import Hot
from storage.namespace_settings import Settings
from storage.saved import Library, LinksConfig
from storage.spreading import Spread
from storage.tracing import Traced

log = logging.getLogger("neve.query")
DEFAULT_NAMESPACE = "default"
RETRY_AFTER_SECONDS = 1
WAITING_CALLS = 64  # at once: they wait for servers, not for a core
CLIENT_CLOSED = 499  # nobody reads it; for the access log


def create_app(
    hot: Hot | Spread,
    *,
    limits: Limits | None = None,
    default_namespace: str = DEFAULT_NAMESPACE,
    version: str = "0.1.0",
    pins_file: Path | None = None,
    cold: ColdConfig | None = None,
    gateways: Sequence[str] = (),
    others: Sequence[str] = (),
    access: Access | None = None,
    owner: Hot | Spread | None = None,
    made: Callable[[], object] = lambda: None,
    audit: Audit | None = None,
    links: LinksConfig | None = None,
    alerts: AlertsConfig | None = None,
    base: str = "",
) -> FastAPI:
    """The API over both tiers. It does not own `hot`: who made it closes it after the application has stopped.

    `access`: who may ask; None: anyone. `hot` may be of a user who can only read; `owner` is who learns patterns and
    changes keys and namespaces, by default the same. Each is one server, or the shards of a cluster. `made` is called
    when tables were made. `audit`: where is written who did what.

    `cold`: where the cold tier is; None for a hot tier that is all there is.

    `links`: how long short links last. `alerts`: how alerts look; `base`: this server's address in what they tell.

    `pins_file`: what operators say about patterns, looked at whenever patterns are asked for. ConfigError if it is
    there and cannot be used. `gateways`: where live tail hears what arrives: paths of Unix sockets; `others`: addresses
    of the cluster's gateways, this server's own among them or not.
    """
    access = access or Access(AuthConfig())
    owner = owner or hot
    learner = Learner(owner, pins_file)
    try:
        learner.load_pins()
    except PinsInvalid as error:
        raise ConfigError(error.message, error.hint) from None

    ways = [Way.beside(socket, access.inside_headers()) for socket in gateways]
    ways += [Way.among(url, access.secret(), carried()) for url in dict.fromkeys(others)]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Calls that hang on one server must not keep the others', nor a tail's way back, from theirs.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WAITING_CALLS, "api"))
        # Its limiters belong to the event loop that serves.
        settings = access.book.settings if access.book is not None else lambda _namespace: Settings()
        app.state.gate = gate = Gate(hot, limits or Limits(), cold, settings)
        app.state.metrics.limits_hit = gate.limits_hit
        place = Place(hot, gate.states, owner, learner.refresh, base=base)
        app.state.alerts = AlertBook(place, alerts or AlertsConfig())
        app.state.tail_store = store = TailStore(gate)
        app.state.tail = tail = TailHub(ways, store.of_block)
        audited = partial(audit.metrics, "") if audit is not None else list
        app.state.metrics.more = lambda: [*tail.metrics(), *audited()]
        app.state.metrics.families = tail.families
        app.state.leave = tail.end
        yield
        await tail.close()

    app = FastAPI(title="Neve", version=version, lifespan=lifespan, summary="Log search")
    app.state.learner = learner
    app.state.default_namespace = default_namespace
    app.state.metrics = Metrics()
    app.state.access, app.state.audit = access, audit
    app.state.administration = Administration(
        owner,
        cold,
        check_filter=check_filter,
        made=made,
        changed=access.book.refresh if access.book is not None else lambda: None,
    )
    app.state.owner, app.state.library = owner, Library(owner, links)
    oidc = access.config.oidc
    app.state.provider = Provider(oidc, access.secret()) if access.enabled and oidc.issuer else None
    # The last one is asked first.
    app.add_middleware(Searches, audit=audit)
    app.add_middleware(Guarded, access=lambda: access, process="api", refused=partial(refused, audit))
    app.add_middleware(Counting, metrics=app.state.metrics)
    app.add_middleware(Traced)
    app.include_router(router)
    app.include_router(tail_router)
    app.include_router(loki_router)
    app.include_router(loki_tail_router)
    app.include_router(metrics_router)
    app.include_router(adminroutes.router)
    app.include_router(authroutes.router)
    app.include_router(savedroutes.router)
    app.include_router(alertroutes.router)
    app.include_router(page.router)
    _handle_errors(app)
    describe(app, "api", openapi.SAID, openapi.SCHEMAS, asks=access.enabled)
    return app


def _handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(NeveError, _neve_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientGone, _client_gone)
    handle_errors(app)


def error_response(error: NeveError) -> JSONResponse:
    """An error as an HTTP answer."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in (429, 503) else {}
    if error.status == 401:
        headers |= ASK_FOR_KEY
    return JSONResponse(error.to_json(), status_code=error.status, headers=headers)


async def _neve_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NeveError)
    if error.status >= 500:
        log.warning("%s %s", error, error.detail)
    return error_response(error)


async def _validation_error(_request: Request, error: Exception) -> Response:
    """A parameter of the wrong type or out of bounds."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return error_response(RequestInvalid(f"cannot use {where[:60]!r}", str(first["msg"]).lower()[:200]))


async def _client_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)
