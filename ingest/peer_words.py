"""Who may use the paths that are for other servers of the cluster."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from ingest.errors import RequestRefused
from ingest.receivers.body import gateway_of
from storage.access.among import PEER_HEADER
from storage.errors import Forbidden


def by_peer(purpose: bytes) -> Callable[[Request], Awaitable[None]]:
    """Lets by who shows the cluster's word for a purpose; else raises RequestRefused or Forbidden."""

    async def check(request: Request) -> None:
        peers = gateway_of(request).peers
        if peers is None:
            hint = "name the same [cluster] gateways to all"
            raise RequestRefused("no_peers", "cannot answer another server: no gateways are configured", hint)
        if not peers.may(purpose, request.headers.get(PEER_HEADER, "")):
            raise Forbidden(
                "cannot use this path: it is for other servers", "set the same auth.inside for all"
            )

    return check
