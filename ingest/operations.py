"""The gateway's paths for whoever runs it: status, metrics, dead letters, epochs, inserters."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Request
from fastapi.responses import PlainTextResponse

from ingest import metrics, shard_operations
from ingest.errors import RequestRefused
from ingest.receivers.body import gateway_of
from storage.access.among import PEER_HEADER
from storage.errors import Forbidden, StorageUnavailable
from storage.metrics import MEDIA_TYPE

OPERATORS = 4
"""Threads for these paths; more questions wait for one."""
MAX_WAIT_SECONDS = 300.0

router = APIRouter()
T = TypeVar("T")


@router.get("/gateway/ready")
async def ready() -> dict[str, bool]:
    """The process answers."""
    return {"ready": True}


@router.get("/gateway/status")
async def status(request: Request) -> dict[str, Any]:
    """What waits, since when, and what stands in the way. Answers whether ClickHouse does or not."""
    return await _aside(request, gateway_of(request).status)


@router.get("/gateway/storage")
async def storage(request: Request) -> dict[str, Any]:
    """What ClickHouse holds: events by namespace, epochs, inserters; 503 while it does not answer."""
    return await _aside(request, lambda: shard_operations.storage_status(gateway_of(request).watching))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics_text(request: Request) -> PlainTextResponse:
    """Counters and gauges, as Prometheus reads them."""
    text = await _aside(request, lambda: metrics.of_gateway(gateway_of(request)))
    return PlainTextResponse(text, media_type=MEDIA_TYPE)


@router.get("/gateway/deadletter")
async def dead_letters(request: Request) -> dict[str, Any]:
    """The blocks that were refused, oldest first."""
    found = await _aside(request, gateway_of(request).dead_letters.all)
    return {"dead_letters": [one.to_json() for one in found]}


@router.post("/gateway/deadletter/replay")
async def replay(
    request: Request,
    ids: Annotated[list[str] | None, Body()] = None,
    all: Annotated[bool, Body()] = False,
    seconds: Annotated[float, Body(ge=0, le=MAX_WAIT_SECONDS)] = 10.0,
) -> dict[str, Any]:
    """Put dead letters back on their way; answers what became of each, after at most `seconds`."""
    gateway = gateway_of(request)
    if not ids and not all:
        raise RequestRefused("bad_parameter", "cannot replay: no ids", "give `ids`, or `all`")

    def work() -> dict[str, Any]:
        with gateway.replaying:
            letters = gateway.dead_letters.choose(ids or [], every=all)
            return {"replayed": [one.to_json() for one in gateway.replayer.replay(letters, seconds)]}

    return await _aside(request, work)


@router.post("/gateway/epochs/close")
async def close_epoch(
    request: Request,
    namespace: Annotated[str, Body()],
    seconds: Annotated[float, Body(ge=0, le=MAX_WAIT_SECONDS)] = 30.0,
) -> dict[str, Any]:
    """Open a new epoch and close the one before; answers within `seconds` whether it is closed, or who holds it."""
    return await _aside(
        request, lambda: shard_operations.close_epoch(gateway_of(request).shards, namespace, seconds)
    )


@router.post("/gateway/hold", include_in_schema=False)
async def hold(
    request: Request,
    seconds: Annotated[float, Body(gt=0, le=60)],
    without: Annotated[list[int] | None, Body()] = None,
) -> dict[str, int]:
    """Rest between two INSERTs, so that what is here and in ClickHouse can be copied; senders notice nothing.

    The hold's number, which stays the same when it is asked for again before it has ended. `without`: numbers of
    shards that are not copied, and may be away.
    """
    number = await _aside(request, lambda: gateway_of(request).holding.begin(seconds, without or ()))
    if not number:
        raise StorageUnavailable(
            "cannot hold: an INSERT is not over yet", "neve status says what stands in the way"
        )
    return {"hold": number}


@router.post("/gateway/release", include_in_schema=False)
async def release(request: Request, hold: Annotated[int, Body(embed=True)]) -> dict[str, bool]:
    """Go on inserting; whether the hold has lasted until now."""
    return {"held": gateway_of(request).holding.end(hold)}


@router.post("/gateway/peers/blocks/{block_id}", include_in_schema=False)
async def give_up(request: Request, block_id: str, by: str) -> dict[str, Any]:
    """Another gateway is about to take a block (ingest/peers.py): is it known here? If not it is taken here no more."""
    gateway = gateway_of(request)
    if gateway.peers is None:
        hint = "name the same [cluster] gateways to all"
        raise RequestRefused("no_peers", "cannot answer another gateway: none is configured", hint)
    if gateway.access.enabled and not gateway.peers.is_word(request.headers.get(PEER_HEADER, "")):
        raise Forbidden("cannot use this path: it is for other gateways", "set the same auth.inside for all")
    try:
        wanted = bytes.fromhex(block_id)
    except ValueError:
        raise RequestRefused(
            "bad_parameter", f"cannot read block id: {block_id}", "give hex digits"
        ) from None
    return gateway.peers.give_up(wanted, by)


@router.post("/gateway/evict")
async def evict(request: Request, inserter: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    """Take an inserter out that will not come back; answers what it held."""
    held = await _aside(request, lambda: shard_operations.evict(gateway_of(request).watching, inserter))
    return {"inserter": inserter, "held": held}


async def _aside(request: Request, work: Callable[[], T]) -> T:
    """Work in one of a few threads of its own: what waits for ClickHouse must not hold up what takes events."""
    threads: ThreadPoolExecutor = request.app.state.operators
    return await asyncio.get_running_loop().run_in_executor(threads, work)
