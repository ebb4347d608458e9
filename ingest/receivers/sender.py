"""Who sends, and to which namespace."""

import asyncio

from fastapi import Request

from ingest.batch import DEFAULT_NAMESPACE
from ingest.receivers.body import gateway_of

NAMESPACE_HEADER = "x-neve-namespace"
TENANT_HEADER = "x-scope-orgid"
"""What clients of Loki and Mimir call a tenant."""


async def admitted(request: Request, namespace: str = "") -> str:
    """The namespace that this request may write to: the one that it asks for by parameter or header, or the default.

    Raises RateExceeded, NamespaceUnknown, NeveError where its name is wrong or nobody can tell.
    """
    headers = request.headers
    wanted = namespace or headers.get(NAMESPACE_HEADER) or headers.get(TENANT_HEADER) or DEFAULT_NAMESPACE
    gateway = gateway_of(request)
    gateway.admit(wanted)
    await asyncio.to_thread(gateway.namespaces.check, wanted)
    return wanted
