"""`/loki/api/v1/tail`: a websocket that tells lines as they arrive, after the last ones before them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from query.admission import Admission
from query.catchup import CatchUp
from query.digest import TailFilter
from query.errors import RequestInvalid, invalid_at
from query.logql.asking import split
from query.logql.lines import Line, line_of, lines
from query.logql.parse import parse_log
from query.loki.answers import CATEGORIZE, incomplete, streams
from query.loki.params import LokiRequest, read
from query.loki.routes import refused
from query.plan import Plan
from query.running import Running, naming
from query.serving import Gate
from query.tail import Joined, TailHub
from query.tailcursor import TailCursor
from query.tailstore import TailStore
from query.times import parse_instant
from query.viewers import Chunk, Gap
from storage.errors import NeveError

log = logging.getLogger("neve.query")
router = APIRouter()
MAX_DELAY = 5  # seconds, as with Loki; Neve needs none to have lines in order
IDLE_SECONDS = 15.0  # after which it is looked whether the viewer may still watch, though nothing comes
NOT_FETCHED = "the lines before could not be read"
AWAY = 1001  # the code of a websocket that its server closes


@router.websocket("/loki/api/v1/tail")
async def tail(socket: WebSocket) -> None:
    """Lines that a selector and line filters find."""
    hub: TailHub = socket.app.state.tail
    store: TailStore = socket.app.state.tail_store
    try:
        ask, plan = await _asked(socket)
        await store.check(plan.namespace)
        members = () if plan.guarded else await store.members(plan.namespace, plan.condition)
        wanted = TailFilter(plan.namespace, plan.whole, members, alone=plan.guarded)
        admission = Admission(socket, plan.namespace)
        joined = await hub.join(wanted)
    except NeveError as error:
        await socket.send_denial_response(refused(error))
        return
    try:
        await socket.accept()
        gone = asyncio.ensure_future(_gone(socket))
        telling = asyncio.ensure_future(_tell(socket, ask, plan, hub, joined, store, admission))
        try:
            await asyncio.wait({gone, telling}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
                await socket.close(AWAY)
        finally:
            gone.cancel()
            telling.cancel()
            await asyncio.gather(gone, telling, return_exceptions=True)
    except WebSocketDisconnect:
        pass  # there is nobody to tell
    finally:
        hub.leave(joined.filter, joined.viewer)


async def _asked(socket: HTTPConnection) -> tuple[LokiRequest, Plan]:
    """What to watch, and the plan of the lines before."""
    ask = await read(socket)
    query = parse_log(ask.query())
    asked, stages = split(query, ask.query())
    if stages:
        what = str(stages[0])[:60]
        raise invalid_at(
            ask.query(), 0, f"a tail with '{what}' is not supported", "tail a selector and line filters"
        )
    if ask.integer("delay_for", 0) > MAX_DELAY:
        raise RequestInvalid(f"delay_for can't be greater than {MAX_DELAY}")
    low, _ = ask.bounds()
    return ask, ask.plan(asked, low, None, limit=ask.limit())


async def _gone(socket: WebSocket) -> None:
    """Return when the client has gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _tell(
    socket: WebSocket,
    ask: LokiRequest,
    plan: Plan,
    hub: TailHub,
    joined: Joined,
    store: TailStore,
    admission: Admission,
) -> None:
    """What was there, what is not stored yet, and then what arrives; each line once."""
    waiting: list[Chunk | Gap] = []
    try:
        async for part in CatchUp(joined, TailCursor(0, {}), store).spooled():
            waiting.append(part)
    except NeveError as error:
        waiting.append(_missed(error))
    before, missed = await _before(socket.app.state.gate, plan)
    told = {line.id for line in before}
    await _send(socket, ask, before[::-1])
    for part in [*([missed] if missed else []), *waiting]:
        await _send_part(socket, ask, part, told)
    async for part in _live(hub, joined, admission):
        await _send_part(socket, ask, part, told)


async def _live(hub: TailHub, joined: Joined, admission: Admission) -> AsyncIterator[Chunk | Gap]:
    while not hub.ended and await admission.holds():
        found = joined.viewer.take()
        if found is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(joined.viewer.ready.wait(), IDLE_SECONDS)
        else:
            yield found


async def _before(gate: Gate, plan: Plan) -> tuple[list[Line], Gap | None]:
    """The last lines that are stored, and that they are not all."""
    running = Running(gate.hot, gate.limits, gate.states, settings=gate.settings)

    def once() -> Iterator[list[Line]]:
        with naming(plan):
            yield running.answer(plan, lambda settled: lines(replace(settled), (), running))

    try:
        found = await gate.step(running, once()) or []
    except NeveError as error:
        return [], _missed(error)
    lacking = incomplete(running)
    return found, Gap(0, "; ".join(lacking), unknown=True) if lacking else None


def _missed(error: NeveError) -> Gap:
    """What could not be read is no reason to end: what arrives can be told."""
    log.warning("%s %s", error, error.detail)
    return Gap(0, NOT_FETCHED, unknown=True)


async def _send_part(
    socket: WebSocket, ask: LokiRequest, part: Chunk | Gap, told: set[tuple[str, int]]
) -> None:
    if isinstance(part, Gap):
        labels = {"skipped": "unknown" if part.unknown else str(part.skipped), "reason": part.reason}
        await _send(socket, ask, [], [{"timestamp": str(time.time_ns()), "labels": labels}])
        return
    await _send(socket, ask, [line for line in _lines_of(part) if line.id not in told])


async def _send(
    socket: WebSocket, ask: LokiRequest, found: list[Line], dropped: list[Any] | None = None
) -> None:
    if not found and not dropped:
        return
    said: dict[str, Any] = {"streams": streams(found, ask.flags)}
    if dropped:
        said["dropped_entries"] = dropped
    if CATEGORIZE in ask.flags:
        said["encodingFlags"] = [CATEGORIZE]
    await socket.send_text(json.dumps(said, ensure_ascii=False, separators=(",", ":")))


def _lines_of(chunk: Chunk) -> Iterator[Line]:
    """The events of a chunk, which is made for Server-Sent Events."""
    for row in chunk.data.split(b"\n"):
        if row.startswith(b"data: "):
            event = json.loads(row[6:])
            block, _, number = event["id"].partition("-")
            texts = [event[name] for name in ("level", "service", "host", "message")]
            ids = [event["trace_id"], event["span_id"], event["tags"]]
            yield line_of((parse_instant(event["timestamp"], 0), *texts, 0, *ids, block, int(number), ""))
