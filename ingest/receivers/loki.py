"""`POST /loki/api/v1/push`: what Promtail, Alloy and Loki's other clients send, as snappy protobuf or JSON.

The labels of a stream and an entry's structured metadata become tags; the line is read as any other line is, but the
entry's time holds. See docs/ingest/loki-push.md.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from ingest.receivers.answers import REFUSED, Refusal, refusal, unreadable
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.encodings import Body, decode
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.loki_labels import parse_labels, said_by
from ingest.receivers.loki_proto import take_push
from ingest.receivers.said import Said, bounded_time
from ingest.receivers.sender import admitted
from ingest.receivers.snappy import unsnappy
from lexer import PADDING_BYTES, timestamp

MAX_BODY_BYTES = 16 << 20
"""As sent. Agents send 1 MiB at a time."""
MAX_PLAIN_BYTES = 32 << 20
"""Of protobuf, unpacked."""
MAX_JSON_BYTES = 16 << 20
MAX_JSON_PIECES = 2 << 20
"""Commas and brackets of a JSON body: each can stand for an object in memory."""
TIME_DIGITS = 20

router = APIRouter()


@router.post(
    "/loki/api/v1/push", status_code=204, summary="Take streams as Loki does: snappy protobuf or JSON"
)
@router.post("/api/prom/push", status_code=204, include_in_schema=False)
async def push(request: Request) -> Response:
    """Answers 204 once the entries are durable; all of them or none."""
    try:
        await _push(request)
    except REFUSED as error:
        return _answer(refusal(error, gateway_of(request), "loki"))
    return Response(status_code=204)


async def _push(request: Request) -> None:
    gateway = gateway_of(request)
    async with read_body(request, MAX_BODY_BYTES) as body:
        namespace = await admitted(request)
        is_json = "json" in request.headers.get("content-type", "").lower()
        key = request_key(request.headers.get("idempotency-key"), body, namespace, "loki")
        encoding = request.headers.get("content-encoding", "")
        lexers: Lexers = request.app.state.lexers
        taken = await asyncio.to_thread(_take, lexers, body, encoding, is_json, namespace, key)
        await accept(gateway, taken, "loki")


def _answer(said: Refusal) -> Response:
    return PlainTextResponse(said.text + "\n", said.status, dict(said.headers))


def _take(lexers: Lexers, body: Body, encoding: str, is_json: bool, namespace: str, key: bytes) -> Taken:
    with lexers.borrow() as columns:
        intake = Intake(columns, namespace, key)
        if is_json:
            _take_json(intake, decode(body, encoding, MAX_JSON_BYTES))
        else:
            if encoding.strip().lower() != "snappy":
                body = decode(body, encoding, MAX_BODY_BYTES)
            plain, size = unsnappy(body, MAX_PLAIN_BYTES, PADDING_BYTES)
            take_push(intake, plain, size)
        return intake.finish()


# --- JSON ------------------------------------------------------------------------------------------------


def _take_json(intake: Intake, plain: Body) -> None:
    if sum(plain.count(mark) for mark in (b",", b"{", b"[")) > MAX_JSON_PIECES:
        raise unreadable("body: it has too many pieces", "send it in parts")
    try:
        request = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"body as json: {_reason(error)}", "send streams as Loki's API has them") from None
    for stream in _list(request, "streams"):
        said = _labels(stream)
        for value in _list(stream, "values", ()):
            if not isinstance(value, list) or not 2 <= len(value) <= 3:
                raise unreadable("value of a stream", 'write it as ["time in ns", "line"]')
            more = _strings(value[2], "structured metadata") if len(value) == 3 else {}
            _record(intake, said, value[1], _nanoseconds(value[0]), more)
        for entry in _list(stream, "entries", ()):
            if not isinstance(entry, dict):
                raise unreadable("entry of a stream", 'write it as {"ts": …, "line": …}')
            _record(
                intake, said, entry.get("line"), _written_time(entry.get("ts", entry.get("timestamp"))), {}
            )


def _record(intake: Intake, said: Said, line: Any, ns: int, more: Mapping[str, str]) -> None:
    if not isinstance(line, str):
        raise unreadable("line of an entry: it is no string", "send lines as strings")
    said = said.and_also(more.items()) if more else said
    intake.record(line, format="auto", timestamp_ns=ns, **said._asdict())


def _labels(stream: Any) -> Said:
    if isinstance(stream.get("labels"), str):  # as /api/prom/push has it
        return said_by(parse_labels(stream["labels"]))
    return said_by(_strings(stream.get("stream", {}), "labels of a stream"))


def _list(value: Any, name: str, default: Any = None) -> Any:
    found = value.get(name, default) if isinstance(value, dict) else None
    if found is None and default is not None:
        return default
    if not isinstance(found, (list, tuple)) or (
        name == "streams" and not all(isinstance(one, dict) for one in found)
    ):
        raise unreadable(f"{name}: it is no list", "send streams as Loki's API has them")
    return found


def _strings(value: Any, what: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise unreadable(f"{what}: it is no object", "write names and strings")
    if all(isinstance(one, str) for one in value.values()):
        return value
    # Loki takes nothing but strings; some clients send numbers all the same.
    return {name: one if isinstance(one, str) else json.dumps(one) for name, one in value.items()}


def _nanoseconds(value: Any) -> int:
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or len(text) > TIME_DIGITS or not text.removeprefix("-").isdecimal():
        raise unreadable(f"time of an entry: {_shown(value)}", "write nanoseconds since 1970, as a string")
    return bounded_time(int(text))


def _written_time(value: Any) -> int:
    text = value.encode() if isinstance(value, str) and value.isascii() else b""
    found = timestamp(text, 0)
    if not found or found[1] != len(text):
        raise unreadable(f"time of an entry: {_shown(value)}", "write it as RFC 3339")
    return found[0]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at character {error.pos}"
    return (
        "it is nested too deeply"
        if isinstance(error, RecursionError)
        else "it is no utf-8, or has a number too long"
    )
