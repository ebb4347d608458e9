"""The gateway's paths for search processes: the stream of what arrives, what arrived, and a block of it.

They are no part of the API: what came through the front door does not see them.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from ingest.arrivals import Arrivals, Watcher
from ingest.errors import RequestRefused
from ingest.gateway import GatewayState
from ingest.receivers.body import gateway_of
from storage.arrivals import ALIVE, ALIVE_SECONDS, BLOCK, GAP, HELLO, SEQUENCE, head, record

MEDIA_TYPE = "application/octet-stream"
MAX_LISTED = 10_000


def from_inside(request: Request) -> GatewayState:
    """The gateway, for a request that did not come through the front door, which names its client. RequestRefused."""
    if "x-forwarded-for" in request.headers:
        raise RequestRefused("not_found", "cannot find path: it is not for clients", "look at /docs", 404)
    return gateway_of(request)


Gateway = Annotated[GatewayState, Depends(from_inside)]
router = APIRouter(include_in_schema=False)


@router.get("/gateway/arrivals")
async def arrivals(
    gateway: Gateway, after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1)] = MAX_LISTED
) -> dict[str, Any]:
    """What arrived after a sequence, oldest first; `spooled`: its block can be had here."""
    found, position, whole = gateway.arrivals.after(after, min(limit, MAX_LISTED))
    listed = [{**one.to_json(), "spooled": one.block_id in gateway.spool} for one in found]
    return {"run": gateway.arrivals.run, "position": position, "whole": whole, "arrivals": listed}


@router.get("/gateway/arrivals/stream")
async def stream(gateway: Gateway) -> Response:
    """Records of what arrives from now on, as `storage.arrivals` has them."""
    watcher, position = gateway.arrivals.watch()
    told = gateway.arrivals
    said = {"gateway": gateway.name, "run": told.run, "position": position, "recovered": told.recovered}
    return StreamingResponse(_records(told, watcher, said), media_type=MEDIA_TYPE)


@router.get("/gateway/arrivals/{sequence}/{block_id}")
async def block(gateway: Gateway, sequence: int, block_id: str) -> Response:
    """The bytes of a block that has not left the spool; 404 when it has."""
    gone = RequestRefused("not_found", "cannot find block: it has left the spool", "", 404)
    try:
        entry = gateway.spool.entry(bytes.fromhex(block_id))
        if entry is None or entry.sequence != sequence:
            raise gone
        data, _ = await asyncio.to_thread(gateway.spool.load, entry)
    except (ValueError, FileNotFoundError):
        raise gone from None
    return Response(bytes(data), media_type=MEDIA_TYPE)


async def _records(
    arrivals: Arrivals, watcher: Watcher, said: dict[str, Any]
) -> AsyncIterator[bytes | memoryview]:
    try:
        yield record(HELLO, said)
        while not arrivals.ended:
            found = arrivals.take(watcher)
            if found is None:
                try:
                    await asyncio.wait_for(watcher.ready.wait(), ALIVE_SECONDS)
                except TimeoutError:
                    yield record(ALIVE)
            elif isinstance(found, dict):
                payload = json.dumps(found, separators=(",", ":")).encode()
                yield head(GAP, len(payload)) + payload
            else:
                arrival, data = found
                yield head(BLOCK, SEQUENCE.size + len(data)) + SEQUENCE.pack(arrival.sequence)
                yield memoryview(data)
    finally:
        arrivals.unwatch(watcher)
