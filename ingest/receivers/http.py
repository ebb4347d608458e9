"""`POST /api/v1/ingest`: lines from anyone, as NDJSON or plain text, compressed or not.

A request that is repeated (the same `Idempotency-Key`, or the same body and parameters) is stored once within
the ledger's window.
"""

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from fastapi import APIRouter, Request

from ingest.batch import DEFAULT_NAMESPACE, Format, Labels, add_lines
from ingest.committer import REQUEST_AGENT, Submission
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.encodings import Body, decode
from lexer import Columns
from storage.native.block import Header, Source, parse_header, seal

MAX_BODY_BYTES = 32 << 20
"""As sent."""
MAX_PLAIN_BYTES = 64 << 20
"""Decompressed."""
MAX_ERRORS = 100
"""Lines named in an answer; the counts are of all."""
LEXERS = 2
"""Requests lexed at once: columns take memory, and there are few cores."""
LEXER_ROWS = 16384
LEXER_BYTES = 8 << 20
"""Of one block. Large requests become several, which the inserter puts together again."""
_FORMATS: dict[str, Format] = {
    "application/x-ndjson": "json",
    "application/ndjson": "json",
    "application/jsonl": "json",
    "application/json": "json",
}

router = APIRouter()


@dataclass(slots=True)
class Taken:
    """A request's lines as sealed blocks, and what there is to say about them."""

    blocks: list[tuple[bytes, bytes]] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    rows: int = 0
    malformed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


class Lexers:
    """A few columns, used again and again. A thread holds one at a time."""

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[Columns | None] = queue.SimpleQueue()
        for _ in range(LEXERS):
            self._free.put(None)

    @contextmanager
    def borrow(self) -> Iterator[Columns]:
        """Columns, empty. Those of a request that failed are dropped: their templates were told to nobody."""
        columns = self._free.get() or Columns(max_rows=LEXER_ROWS, max_bytes=LEXER_BYTES)
        used: Columns | None = None
        try:
            yield columns
            columns.reset()
            used = columns
        finally:
            self._free.put(used)


@router.post("/api/v1/ingest", summary="Take lines: NDJSON or plain text; gzip or zstd")
async def ingest(
    request: Request,
    service: str = "",
    host: str = "",
    namespace: str = DEFAULT_NAMESPACE,
    format: Format | None = None,
) -> dict[str, Any]:
    """Answers once the lines are durable. A line that is not what it should be is kept as text, and named."""
    gateway = gateway_of(request)
    async with read_body(request, MAX_BODY_BYTES) as body:
        await asyncio.to_thread(gateway.namespaces.check, namespace)
        labels = Labels(service, host, {}, format or _format_of(request))
        key = _request_key(request, body, namespace, labels)
        encoding = request.headers.get("content-encoding", "")
        lexers: Lexers = request.app.state.lexers
        taken = await asyncio.to_thread(_take, lexers, body, encoding, labels, namespace, key)
        fresh = True
        if taken.blocks:
            submission = Submission(tuple(taken.blocks), key, headers=tuple(taken.headers))
            fresh = await asyncio.wrap_future(gateway.committer.submit(submission))
    gateway.counters.add("requests_received")
    gateway.counters.add("lines_received", taken.rows if fresh else 0)
    gateway.counters.add("requests_duplicate", 0 if fresh else 1)
    return {"accepted": taken.rows, "rejected": 0, "errors": taken.errors, "duplicate": not fresh}


def _take(lexers: Lexers, body: Body, encoding: str, labels: Labels, namespace: str, key: bytes) -> Taken:
    """Unpack, lex and seal everything; the number of blocks is in each, so that recovery knows a request's end.

    All of it with a lexer in hand: unpacked text, like columns, is in memory for as many requests as there are lexers.
    """
    taken = Taken()
    with lexers.borrow() as columns:
        plain = decode(body, encoding, MAX_PLAIN_BYTES)
        view = memoryview(plain)
        parts: list[bytes] = []
        while view:
            used = _add(columns, view, labels)
            view = view[used:]
            if columns.rows and (columns.full or not view):
                taken.rows += columns.rows
                taken.malformed += columns.counts.get("malformed_json", 0)
                parts.append(_seal_one(columns, namespace, key, len(parts), last=not view))
                columns.reset()
        taken.errors = _malformed_lines(plain) if taken.malformed else []
    taken.headers = [parse_header(data)[0] for data in parts]
    taken.blocks = [(header.block_id, data) for header, data in zip(taken.headers, parts, strict=True)]
    return taken


def _add(columns: Columns, view: memoryview, labels: Labels) -> int:
    used = add_lines(columns, labels, view, final=True)
    if not used and not columns.rows:
        raise RuntimeError(f"the lexer took nothing of {len(view)} bytes")
    return used


def _seal_one(columns: Columns, namespace: str, key: bytes, place: int, *, last: bool) -> bytes:
    part = Source(0, 0, key.hex(), "request", place, place + 1 if last else 0)
    agent_id = REQUEST_AGENT + key.hex()
    return seal(columns, agent_id=agent_id, sequence=place, namespace=namespace, sources=[part])


def _request_key(request: Request, body: Body, namespace: str, labels: Labels) -> bytes:
    """What makes a repetition of the request the same request."""
    chosen = request.headers.get("idempotency-key")
    digest = blake2b(digest_size=16)
    for part in ("key" if chosen else "body", namespace, labels.service, labels.host, labels.format):
        digest.update(part.encode() + b"\0")
    digest.update(chosen.encode() if chosen else body)
    return digest.digest()


def _format_of(request: Request) -> Format:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _FORMATS.get(kind, "auto")


def _malformed_lines(plain: Body) -> list[dict[str, Any]]:
    """The first lines that look like JSON and are not."""
    check = Columns(max_rows=1)
    found: list[dict[str, Any]] = []
    for number, text in enumerate(plain.split(b"\n"), 1):
        line = bytes(text)
        if line.strip() and not check.json_valid(line):
            found.append({"line": number, "reason": "not valid json; kept as text"})
            if len(found) == MAX_ERRORS:
                break
    return found
