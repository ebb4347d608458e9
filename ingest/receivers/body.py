"""Request bodies within bounds: how large one may be, and how much of them is in memory at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from ingest.counters import LIMITS_HIT
from ingest.errors import RequestRefused, SpoolFull
from ingest.gateway import GatewayState
from ingest.limits import IngestLimits


class Budget:
    """Bytes of bodies in memory. Used by the event loop's thread alone."""

    def __init__(self, limits: IngestLimits | None = None) -> None:
        self.limits = limits or IngestLimits()
        self.limit = self.limits.bodies_bytes
        self.used = 0
        self.requests = 0

    def take(self, size: int) -> None:
        """Raises SpoolFull where they do not fit; one that is alone always fits."""
        if self.used and self.used + size > self.limit:
            raise SpoolFull("busy", "cannot take request: too many are under way")
        self.used += size

    def give_back(self, size: int) -> None:
        self.used -= size

    def enter(self) -> None:
        """Count a request that sends its body. Raises SpoolFull where there are too many; `leave` ends it."""
        if self.requests >= self.limits.requests:
            raise SpoolFull("requests", "cannot take request: too many are being sent")
        self.requests += 1

    def leave(self) -> None:
        self.requests -= 1


def gateway_of(request: Request) -> GatewayState:
    """The gateway behind this app."""
    state = request.app.state.gateway
    assert isinstance(state, GatewayState)
    return state


@asynccontextmanager
async def read_body(request: Request, limit: int) -> AsyncIterator[bytearray]:
    """The body; it counts in the budget until the context ends.

    Raises RequestRefused above `limit`, SpoolFull.
    """
    budget: Budget = request.app.state.budget
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else 0
    if size > limit:
        raise _too_large(limit)
    counters = gateway_of(request).counters
    try:
        gateway_of(request).spool.refuse_while_full()
        budget.take(size)
    except SpoolFull as error:
        counters.add(LIMITS_HIT + ("bodies" if error.reason == "busy" else "spool"))
        # A sender that is answered in the middle of its body may see a broken connection, and not the answer.
        await _pass_over(request, limit)
        raise
    try:
        body = bytearray()  # grows where it lies; chunks put together at the end would be in memory twice
        async for chunk in _in_time(request, budget.limits):
            if len(body) + len(chunk) > limit:
                raise _too_large(limit)
            body += chunk
            if len(body) > size:
                try:
                    budget.take(len(body) - size)
                except SpoolFull:
                    counters.add(f"{LIMITS_HIT}bodies")
                    raise
                size = len(body)
        yield body
    finally:
        budget.give_back(size)


async def _in_time(request: Request, limits: IngestLimits) -> AsyncIterator[bytes]:
    """The body's chunks. Raises RequestRefused for one that trickles: its sender holds a place that others want."""
    budget: Budget = request.app.state.budget
    gateway = gateway_of(request)
    loop = asyncio.get_running_loop()
    due = loop.time() + limits.slow_body_seconds
    chunks = aiter(request.stream())
    try:
        budget.enter()
    except SpoolFull:
        gateway.counters.add("requests_too_many")
        gateway.counters.add(f"{LIMITS_HIT}requests")
        raise
    try:
        while True:
            async with asyncio.timeout_at(due):
                chunk = await anext(chunks)
            due += len(chunk) / limits.slow_body_bytes_per_second
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError:
        gateway.counters.add("requests_too_slow")
        gateway.counters.add(f"{LIMITS_HIT}slow_body")
        raise RequestRefused(
            "too_slow",
            "cannot take request: its body comes too slowly",
            "send it again, in smaller parts",
            408,
        ) from None
    finally:
        budget.leave()


async def _pass_over(request: Request, limit: int) -> None:
    """Read a body and keep nothing of it."""
    async for chunk in _in_time(request, request.app.state.budget.limits):
        limit -= len(chunk)
        if limit < 0:
            return


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        "too_large", f"cannot take request: its body is larger than {limit} bytes", "send it in parts", 413
    )
