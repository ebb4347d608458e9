"""The gateway's paths for search processes: the stream of what arrives, what arrived, and a block of it.

They are no part of the API. What came through the front door does not see those that are for the search process beside;
those for search processes of other machines, which come that way, are for who shows the word that a cluster shares.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from ingest.arrivals import Arrivals, Watcher
from ingest.errors import RequestRefused
from ingest.gateway import GatewayState
from ingest.peer_words import by_peer
from ingest.receivers.body import gateway_of
from storage.access.among import ARRIVALS
from storage.arrivals import ALIVE, ALIVE_SECONDS, BLOCK, GAP, HELLO, SEQUENCE, head, record

MEDIA_TYPE = "application/octet-stream"
MAX_LISTED = 10_000


async def from_inside(request: Request) -> None:
    """Let by what did not come through the front door, which names its client. RequestRefused."""
    if "x-forwarded-for" in request.headers:
        raise RequestRefused("not_found", "cannot find path: it is not for clients", "look at /docs", 404)


Gateway = Annotated[GatewayState, Depends(gateway_of)]


async def arrivals(
    gateway: Gateway, after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1)] = MAX_LISTED
) -> dict[str, Any]:
    """What arrived after a sequence, oldest first; `spooled`: its block can be had here."""
    found, position, whole = gateway.arrivals.after(after, min(limit, MAX_LISTED))
    listed = [{**one.to_json(), "spooled": one.block_id in gateway.spool} for one in found]
    return {"run": gateway.arrivals.run, "position": position, "whole": whole, "arrivals": listed}


async def stream(gateway: Gateway) -> Response:
    """Records of what arrives from now on, as `storage.arrivals` has them."""
    watcher, position = gateway.arrivals.watch()
    told = gateway.arrivals
    said = {"gateway": gateway.name, "run": told.run, "position": position, "recovered": told.recovered}
    return Stream(told, watcher, said)


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


class Stream(StreamingResponse):
    """Streams to one watcher, and lets it go whatever happens, also before the first byte."""

    def __init__(self, arrivals: Arrivals, watcher: Watcher, said: dict[str, Any]) -> None:
        super().__init__(_records(arrivals, watcher, said), media_type=MEDIA_TYPE)
        self._arrivals, self._watcher = arrivals, watcher

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._arrivals.unwatch(self._watcher)


async def _records(
    arrivals: Arrivals, watcher: Watcher, said: dict[str, Any]
) -> AsyncIterator[bytes | memoryview]:
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


def _router(prefix: str, by: Callable[[Request], Awaitable[None]]) -> APIRouter:
    made = APIRouter(prefix=prefix, dependencies=[Depends(by)], include_in_schema=False)
    made.add_api_route("", arrivals)
    made.add_api_route("/stream", stream)
    made.add_api_route("/{sequence}/{block_id}", block)
    return made


inside = _router("/gateway/arrivals", from_inside)
peers = _router("/gateway/peers/arrivals", by_peer(ARRIVALS))
