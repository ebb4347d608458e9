"""`POST /api/v1/ingest`: lines from anyone, as NDJSON or plain text, compressed or not.

A request that is repeated (the same `Idempotency-Key`, or the same body and parameters) is stored once within
the ledger's window.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request

from ingest.batch import Format, Labels
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.encodings import Body, decode
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.sender import admitted
from lexer import Columns

MAX_BODY_BYTES = 32 << 20
"""As sent."""
MAX_PLAIN_BYTES = 64 << 20
"""Decompressed."""
MAX_ERRORS = 100
"""Lines named in an answer; the counts are of all."""
MAX_LOOKED_AT = 1 << 20
"""Lines among which they are looked for."""
_FORMATS: dict[str, Format] = {
    "application/x-ndjson": "json",
    "application/ndjson": "json",
    "application/jsonl": "json",
    "application/json": "json",
}

router = APIRouter()


@router.post("/api/v1/ingest", summary="Take lines: NDJSON or plain text; gzip or zstd")
async def ingest(
    request: Request,
    service: str = "",
    host: str = "",
    namespace: str = "",
    format: Format | None = None,
) -> dict[str, Any]:
    """Answers once the lines are durable. A line that is not what it should be is kept as text, and named."""
    gateway = gateway_of(request)
    async with read_body(request, MAX_BODY_BYTES) as body:
        namespace = await admitted(request, namespace)
        labels = Labels(service, host, {}, format or _format_of(request))
        chosen = request.headers.get("idempotency-key")
        key = request_key(chosen, body, namespace, service, host, labels.format)
        encoding = request.headers.get("content-encoding", "")
        lexers: Lexers = request.app.state.lexers
        taken = await asyncio.to_thread(_take, lexers, body, encoding, labels, namespace, key)
        fresh = await accept(gateway, taken, "http")
    return {"accepted": taken.rows, "rejected": 0, "errors": taken.errors, "duplicate": not fresh}


def _take(lexers: Lexers, body: Body, encoding: str, labels: Labels, namespace: str, key: bytes) -> Taken:
    """Unpack, lex and seal everything.

    All of it with a lexer in hand: unpacked text, like columns, is in memory for as many requests as there are lexers.
    """
    with lexers.borrow() as columns:
        plain = decode(body, encoding, MAX_PLAIN_BYTES)
        intake = Intake(columns, namespace, key)
        intake.lines(plain, labels)
        taken = intake.finish()
        if taken.counts.get("malformed_json"):
            taken.errors = _malformed_lines(plain)
    return taken


def _format_of(request: Request) -> Format:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _FORMATS.get(kind, "auto")


def _malformed_lines(plain: Body) -> list[dict[str, Any]]:
    """The first lines that look like JSON and are not."""
    check = Columns(max_rows=1)
    found: list[dict[str, Any]] = []
    for number, line in enumerate(islice(_lines(plain), MAX_LOOKED_AT), 1):
        if line.strip() and not check.json_valid(line):
            found.append({"line": number, "reason": "not valid json; kept as text"})
            if len(found) == MAX_ERRORS:
                break
    return found


def _lines(plain: Body) -> Iterator[bytes]:
    """One by one: a list of all would take many times their bytes."""
    at = 0
    while (end := plain.find(b"\n", at)) >= 0:
        yield bytes(plain[at:end])
        at = end + 1
    yield bytes(plain[at:])
