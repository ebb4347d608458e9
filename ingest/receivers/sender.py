"""Who sends, and to which namespace."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from fastapi import Request

from ingest.batch import DEFAULT_NAMESPACE
from ingest.gateway import GatewayState
from ingest.limits import SENDING
from ingest.receivers.body import gateway_of
from storage.access.access import OURS, Shown
from storage.access.audit import refused
from storage.access.identity import INGEST, Identity
from storage.access.middleware import IDENTITY
from storage.errors import Forbidden, NeveError

NAMESPACE_HEADER = "x-neve-namespace"
TENANT_HEADER = "x-scope-orgid"
"""What clients of Loki and Mimir call a tenant."""


async def admitted(request: Request, namespace: str = "") -> str:
    """The namespace that this request may write to: the one that it asks for by parameter or header, or the default.

    What its key is for decides; a key for one namespace need not say which. Raises RateExceeded, Forbidden, the
    same whether a namespace is there or not, NamespaceUnclear, NamespaceUnknown, NeveError where a name
    is wrong or nobody can tell.
    """
    headers = request.headers
    wanted = namespace or headers.get(NAMESPACE_HEADER) or headers.get(TENANT_HEADER) or ""
    gateway = gateway_of(request)
    # What is no request of HTTP, but gRPC's metadata in its place, has come past no middleware.
    known: Identity | None = request.scope.get(IDENTITY)
    identity = known if known is not None else await identified(gateway, request.scope["headers"])
    return await admitted_as(gateway, identity, wanted)


async def admitted_as(gateway: GatewayState, identity: Identity, wanted: str = "") -> str:
    """The same for who is known already, as by a client certificate; see `identified`."""
    chosen = identity.choose(INGEST, wanted, DEFAULT_NAMESPACE)
    SENDING.set(identity.key)
    gateway.admit(chosen)
    if chosen not in gateway.namespaces.known or gateway.namespaces.is_gone(chosen):
        await asyncio.to_thread(gateway.namespaces.check, chosen)
    return chosen


async def identified(
    gateway: GatewayState, metadata: Iterable[tuple[bytes, bytes]], certificates: tuple[str, ...] = ()
) -> Identity:
    """Who sends, by metadata and by the names of a checked client certificate. Raises Unauthenticated, Forbidden."""
    access, shown = gateway.access, Shown()
    try:
        outside = [pair for pair in metadata if pair[0].lower() not in OURS]
        shown = replace(access.shown(outside), certificates=certificates)
        identity = await access.identified(shown)
        if not identity.may(INGEST):
            raise Forbidden("cannot do that: it needs a key of scope ingest")
    except NeveError as error:
        refused(gateway.audit, {}, shown, error)
        raise
    return identity
