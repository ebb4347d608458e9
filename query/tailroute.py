"""`GET /api/v1/tail`: Server-Sent Events, a filter's events as they arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse

from query import conditions as c
from query import tailcursor
from query.admission import Admission
from query.catchup import CatchUp, Part
from query.digest import TailFilter
from query.errors import RequestInvalid, invalid_at
from query.params import Asked, asking, described
from query.plan import Plan, make_plan
from query.running import regex_error, regexes
from query.tail import Joined, TailHub
from query.tailcursor import TailCursor
from query.tailstore import TailStore
from query.viewers import Chunk, Gap
from storage.errors import NeveError

log = logging.getLogger("neve.query")
router = APIRouter()
TAIL = ("q", "namespace", "cursor")
HEARTBEAT_SECONDS = 15.0
RETRY_MS = 1000  # after which a browser connects again
SPOOLED = "spooled"  # in place of a cursor: what is not stored yet comes first
NOT_FETCHED = "what arrived since could not be fetched"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@router.get("/api/v1/tail", openapi_extra=described(*TAIL))
async def tail(request: Request, ask: Annotated[Asked, Depends(asking(*TAIL))]) -> Response:
    """Events as they arrive (`event: log`), and what was left out (`event: gap`). Resumes by `Last-Event-ID`."""
    hub: TailHub = request.app.state.tail
    store: TailStore = request.app.state.tail_store
    text = request.headers.get("last-event-id") or ask.text("cursor")
    cursor = tailcursor.read(text) if text not in ("", SPOOLED) else None
    plan = _plan(ask)
    await store.check(plan.namespace)
    condition = tail_condition(plan)
    members = () if plan.guarded else await store.members(plan.namespace, condition)
    wanted = TailFilter(plan.namespace, condition, members, alone=plan.guarded)
    admission = Admission(request, plan.namespace)
    joined = await hub.join(wanted)
    missed = None
    if text:
        catch_up = CatchUp(joined, cursor or TailCursor(0, {}), store)
        missed = catch_up.parts() if cursor else catch_up.spooled()
    return TailResponse(hub, joined, _events(hub, joined, missed, admission))


class TailResponse(StreamingResponse):
    """Streams, and stops watching whatever happens."""

    def __init__(self, hub: TailHub, joined: Joined, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=HEADERS)
        self._hub, self._joined = hub, joined

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._hub.leave(self._joined.filter, self._joined.viewer)


def _plan(ask: Asked) -> Plan:
    """What to watch. Printed and read again, so that equal filters are equal whatever way they were typed."""
    plan = ask.watching()
    if plan.query.pipes:
        place = plan.query.pipes[0].offset
        raise invalid_at(plan.text, place, "cannot tail a query with pipes", "tail its filter alone")
    check_regexes(plan)
    return make_plan(str(plan.query.filter), now=ask.now, namespace=plan.namespace, guard=plan.guard)


def tail_condition(plan: Plan) -> c.Condition:
    """The whole condition, times included. A range that ends now (`_time:15m`) goes on with what arrives."""
    high = None if plan.high == plan.now + 1 else plan.high
    if plan.low is None and high is None:
        return plan.whole
    return c.all_of((c.TimeIn(plan.low, high), plan.whole))


def check_regexes(plan: Plan) -> None:
    """Let RE2 compile the regexes of a plan; QueryInvalid with the place of one that it cannot."""
    for regex in regexes(plan.condition):
        try:
            pc.match_substring_regex(pa.array([""]), regex.pattern)
        except pa.ArrowInvalid as error:
            raise regex_error(plan.text, regex.offset, RequestInvalid("", detail=str(error))) from None


async def _events(
    hub: TailHub, joined: Joined, missed: AsyncIterator[Part] | None, admission: Admission
) -> AsyncIterator[bytes]:
    """Ends with the process, and where the viewer may not watch any more: who comes again is told why not."""
    viewer = joined.viewer
    yield f"retry: {RETRY_MS}\n\n".encode()
    try:
        if missed is not None:
            async for part in missed:
                yield _encode(part)
    except NeveError as error:
        log.warning("%s %s", error, error.detail)
        yield Gap(0, NOT_FETCHED, unknown=True).encode()
    yield _heartbeat(str(joined.cursor()))
    while not hub.ended and await admission.holds():
        found = viewer.take()
        if found is not None:
            yield _encode(found)
            continue
        try:
            await asyncio.wait_for(viewer.ready.wait(), HEARTBEAT_SECONDS)
        except TimeoutError:
            yield _heartbeat(hub.cursor())


def _encode(part: Chunk | Gap) -> bytes:
    return part.data if isinstance(part, Chunk) else part.encode()


def _heartbeat(cursor: str) -> bytes:
    """Keeps the connection open, and moves the viewer's place on where nothing is found."""
    return f": heartbeat\nid: {cursor}\n\n".encode()
