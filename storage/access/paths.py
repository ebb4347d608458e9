"""What each path of each process needs. A path that is not named here needs an administrator."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from storage.access.config import AuthConfig
from storage.access.identity import ADMIN, INGEST, METRICS, SEARCH


class Need(Enum):
    """Who may ask for a path."""

    NOBODY = "open"  # anyone, without a key
    INGEST = INGEST
    SEARCH = SEARCH
    ADMIN = ADMIN
    METRICS = METRICS
    DOCS = "docs"
    INSIDE = "inside"  # the server's own processes alone
    SOMEBODY = "somebody"  # anyone with a key


API: dict[str, Need] = {
    "/": Need.NOBODY,
    "/pages/": Need.NOBODY,  # scripts and styles: no data
    "/healthz": Need.NOBODY,
    "/readyz": Need.NOBODY,
    "/auth/": Need.NOBODY,  # each looks itself
    "/docs": Need.DOCS,
    "/docs/": Need.DOCS,
    "/redoc": Need.DOCS,
    "/openapi.json": Need.DOCS,
    "/metrics": Need.METRICS,
    "/api/v1/search": Need.SEARCH,
    "/api/v1/histogram": Need.SEARCH,
    "/api/v1/patterns": Need.SEARCH,
    "/api/v1/patterns/compare": Need.SEARCH,
    "/api/v1/fields": Need.SEARCH,
    "/api/v1/fields/": Need.SEARCH,
    "/api/v1/context": Need.SEARCH,
    "/api/v1/tail": Need.SEARCH,
    "/api/v1/explain": Need.SEARCH,
    "/loki/": Need.SEARCH,
    "/api/v1/saved": Need.SEARCH,
    "/api/v1/saved/": Need.SEARCH,
    "/api/v1/links": Need.SEARCH,
    "/api/v1/links/": Need.SEARCH,
    "/api/v1/alerts": Need.SEARCH,  # what changes one needs `alert` too: each looks itself
    "/api/v1/alerts/": Need.SEARCH,
    "/s/": Need.NOBODY,  # looks itself: to who is not known it says nothing
    "/api/v1/namespaces": Need.ADMIN,
    "/api/v1/namespaces/": Need.ADMIN,
    "/api/v1/keys": Need.ADMIN,
    "/api/v1/keys/": Need.ADMIN,
    "/api/v1/roles": Need.ADMIN,
    "/api/v1/roles/": Need.ADMIN,
}
GATEWAY: dict[str, Need] = {
    "/": Need.INGEST,  # every receiver's paths
    "/services/collector/health": Need.NOBODY,
    "/services/collector/health/1.0": Need.NOBODY,
    "/gateway/ready": Need.NOBODY,
    "/gateway/arrivals": Need.INSIDE,
    "/gateway/arrivals/": Need.INSIDE,
    "/gateway/hold": Need.INSIDE,
    "/gateway/release": Need.INSIDE,
    "/gateway/peers/": Need.NOBODY,  # looks itself
    "/gateway/": Need.ADMIN,
    "/metrics": Need.METRICS,
    "/docs": Need.DOCS,
    "/docs/": Need.DOCS,
    "/redoc": Need.DOCS,
    "/openapi.json": Need.DOCS,
}
ALERTS: dict[str, Need] = {"/metrics": Need.METRICS}
AGER: dict[str, Need] = {
    "/cold/": Need.ADMIN,
    "/metrics": Need.METRICS,
    "/docs": Need.DOCS,
    "/docs/": Need.DOCS,
    "/redoc": Need.DOCS,
    "/openapi.json": Need.DOCS,
}
PROCESSES = {"api": API, "gateway": GATEWAY, "ager": AGER, "alerts": ALERTS}


def needs(process: str) -> Callable[[str], Need]:
    """From a path to what it needs: an entry that ends with `/` is for all below it, the longest counts."""
    table = PROCESSES[process]
    prefixes = sorted((one for one in table if one.endswith("/")), key=len, reverse=True)
    # `/` alone is everything for the gateway, and one page for the API.
    prefixes = [one for one in prefixes if one != "/" or process == "gateway"]

    def need(path: str) -> Need:
        if path in table:
            return table[path]
        return next((table[one] for one in prefixes if path.startswith(one)), Need.ADMIN)

    return need


def scope_of(need: Need, config: AuthConfig) -> str | None:
    """The scope that a need comes to; None: none at all."""
    match need:
        case Need.METRICS:
            return None if config.open_metrics else METRICS
        case Need.DOCS:
            return None if config.open_docs else SEARCH
        case Need.NOBODY:
            return None
    return str(need.value)
