"""Splunk's HTTP Event Collector: `/services/collector` and what is below it. See docs/ingest/splunk-hec.md.

Events are concatenated JSON objects. All of a request are taken, or none: an answer of success means that they are
durable, one of an error that nothing was kept.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from ingest.batch import Labels
from ingest.errors import RequestRefused, SpoolFull
from ingest.receivers.answers import REFUSED, Refusal, count_refused, refusal, unreadable
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.encodings import Body, decode
from ingest.receivers.http import MAX_BODY_BYTES
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.sender import admitted
from ingest.receivers.splunk_events import TAGS, EventWrong, take_events
from lexer import PADDING_BYTES, Columns

MAX_PLAIN_BYTES = 32 << 20
MAX_ACKS_BYTES = 1 << 20
CHANNEL_HEADER = "x-splunk-request-channel"
SUCCESS, HEALTHY = {"text": "Success", "code": 0}, {"text": "HEC is healthy", "code": 17}
NO_DATA, BUSY, UNHEALTHY = {"text": "No data", "code": 5}, 9, 18
NO_CHANNEL = {"text": "Data channel is missing", "code": 10}
CODES = {401: 3, 403: 4, 404: 7, 413: 6, 415: 6, 429: BUSY, 503: BUSY}
"""Splunk's code for a status; 6, invalid data format, for any other."""

Work = Callable[[Columns, Body, str, bytes], Taken]

router = APIRouter()
_ack_ids = itertools.count(int(time.time() * 1000))
"""Ids of acknowledgements, from the clock on: those of the process before are smaller."""


@router.post("/services/collector", summary="Take events as Splunk's HTTP Event Collector does")
@router.post("/services/collector/event", include_in_schema=False)
@router.post("/services/collector/event/1.0", include_in_schema=False)
async def events(request: Request) -> Response:
    """Concatenated JSON objects with `event` and what is said of it."""
    defaults = _defaults(request)

    def work(columns: Columns, plain: Body, namespace: str, key: bytes) -> Taken:
        intake = Intake(columns, namespace, key)
        padded = bytearray(plain)
        padded += bytes(PADDING_BYTES)
        take_events(intake, columns, padded, defaults)
        return intake.finish()

    return await _answered(request, work, "events", defaults)


@router.post("/services/collector/raw", summary="Take lines as Splunk's HTTP Event Collector does")
@router.post("/services/collector/raw/1.0", include_in_schema=False)
async def raw(request: Request) -> Response:
    """Lines; what is said of them is in the query string."""
    defaults = _defaults(request)
    labels = Labels(host=defaults.get("host", ""), tags={k: defaults[k] for k in TAGS if k in defaults})

    def work(columns: Columns, plain: Body, namespace: str, key: bytes) -> Taken:
        intake = Intake(columns, namespace, key)
        intake.lines(plain, labels)
        return intake.finish()

    return await _answered(request, work, "raw", defaults)


@router.get("/services/collector/health")
@router.get("/services/collector/health/1.0", include_in_schema=False)
async def health(request: Request) -> Response:
    """Whether events are taken now."""
    try:
        gateway_of(request).spool.refuse_while_full()
    except SpoolFull:
        return JSONResponse({"text": "HEC is unhealthy, queues are full", "code": UNHEALTHY}, 503)
    return JSONResponse(HEALTHY)


@router.post("/services/collector/ack")
@router.post("/services/collector/ack/1.0", include_in_schema=False)
async def acks(request: Request) -> Response:
    """Whether requests are durable: all that were ever given an id are, as they were answered only then."""
    if not _channel(request):
        return JSONResponse(NO_CHANNEL, 400)
    try:
        async with read_body(request, MAX_ACKS_BYTES) as body:
            await admitted(request)
            ids = _ids(body)
    except REFUSED as error:
        return _refused(refusal(error, gateway_of(request), "splunk"))
    given = next(_ack_ids)
    return JSONResponse({"acks": {str(one): 0 <= one < given for one in ids}})


async def _answered(request: Request, work: Work, kind: str, defaults: dict[str, str]) -> Response:
    try:
        async with read_body(request, MAX_BODY_BYTES) as body:
            namespace = await admitted(request)
            if not body.strip():
                return JSONResponse(NO_DATA, 400)
            said = json.dumps([kind, defaults], sort_keys=True)
            key = request_key(request.headers.get("idempotency-key"), body, namespace, "splunk", said)
            encoding = request.headers.get("content-encoding", "")
            lexers: Lexers = request.app.state.lexers

            def lexed() -> Taken:
                with lexers.borrow() as columns:
                    return work(columns, decode(body, encoding, MAX_PLAIN_BYTES), namespace, key)

            taken = await asyncio.to_thread(lexed)
            if not taken.rows:
                return JSONResponse(NO_DATA, 400)
            await accept(gateway_of(request), taken, "splunk")
    except EventWrong as error:
        count_refused(gateway_of(request), "splunk")
        return JSONResponse(
            {"text": error.text, "code": error.number, "invalid-event-number": error.place}, 400
        )
    except REFUSED as error:
        return _refused(refusal(error, gateway_of(request), "splunk"))
    return JSONResponse({**SUCCESS, "ackId": next(_ack_ids)} if _channel(request) else SUCCESS)


def _refused(said: Refusal) -> Response:
    """Splunk says 503 where HTTP says 429: its clients come back only then."""
    code = CODES.get(said.status, 6)
    status = 503 if said.status == 429 else said.status
    return JSONResponse({"text": said.text, "code": code}, status, dict(said.headers))


def _defaults(request: Request) -> dict[str, str]:
    """What the query string says of every event."""
    return {name: request.query_params[name] for name in ("host", *TAGS) if request.query_params.get(name)}


def _channel(request: Request) -> str:
    return request.headers.get(CHANNEL_HEADER) or request.query_params.get("channel", "")


def _ids(body: Body) -> list[int]:
    try:
        found: Any = json.loads(body)["acks"]
        if isinstance(found, list) and all(type(one) is int for one in found):
            return found
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise _bad_acks()


def _bad_acks() -> RequestRefused:
    return unreadable("acks", 'send {"acks":[…]}')
