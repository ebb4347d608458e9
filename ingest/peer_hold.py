"""The paths by which a backup beside another gateway lets this one rest (`holding.py`), and asks what waits.

For whoever shows a word made of what the servers of a cluster share. Where nobody is asked for keys any will do: it is
a header of its own, which no page of another site can send.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request

from ingest import operations
from ingest.peer_words import by_peer
from ingest.receivers.body import gateway_of
from storage.access.among import RESTS

WAITING, HOLD, RELEASE = (f"/gateway/peers/{name}" for name in ("waiting", "hold", "release"))


router = APIRouter(dependencies=[Depends(by_peer(RESTS))], include_in_schema=False)


@router.get(WAITING)
async def waiting(request: Request) -> dict[str, Any]:
    """Whose spool it is, and for how many seconds the oldest block has waited for each shard that has some to come."""
    gateway = gateway_of(request)
    waits = {number: gateway.spool.waits_for(number) for number in gateway.spool.shards()}
    return {
        "gateway": gateway.name,
        "seconds": {str(number): one.oldest_age for number, one in waits.items() if one.depth},
    }


@router.post(HOLD)
async def hold(
    request: Request,
    seconds: Annotated[float, Body(gt=0, le=60)],
    without: Annotated[list[int] | None, Body()] = None,
) -> dict[str, int]:
    """As `/gateway/hold`."""
    return await operations.hold(request, seconds, without)


@router.post(RELEASE)
async def release(request: Request, hold: Annotated[int, Body(embed=True)]) -> dict[str, bool]:
    """As `/gateway/release`."""
    return await operations.release(request, hold)
