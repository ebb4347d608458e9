"""Elasticsearch's `_bulk` and the other ways to index documents, as Filebeat, Logstash, Fluent Bit, Vector and the
language clients call them. See docs/ingest/elasticsearch.md.

A document is read as a JSON line is; its index becomes the tag `_index`, its id `_id`. What else those clients ask for
before they send is in `elastic_probes.py`.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from ingest.errors import RequestRefused
from ingest.receivers.answers import REFUSED, Refusal, refusal
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.elastic_bulk import REFUSED as NOT_TAKEN
from ingest.receivers.elastic_bulk import Bulk, created, document_tags
from ingest.receivers.elastic_clients import PREFIX
from ingest.receivers.elastic_probes import error_body, probe
from ingest.receivers.encodings import Body, decode
from ingest.receivers.http import MAX_BODY_BYTES, MAX_PLAIN_BYTES
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.sender import admitted
from lexer import Columns

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
"""Clients of version 8 talk to nobody who does not say so."""
VENDOR_JSON = "application/vnd.elasticsearch+json"
TYPES = {400: "illegal_argument_exception", 404: "index_not_found_exception",
         413: "content_too_long_exception", 429: "es_rejected_execution_exception"}  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]

Work = Callable[[Columns, Body, str, bytes], tuple[Taken, str, int]]
"""Takes a plain body, a namespace and a key; what was taken, the answer, its status."""

router = APIRouter()


@router.post("/_bulk", summary="Take documents as Elasticsearch's bulk API does")
@router.put("/_bulk", include_in_schema=False)
@router.post("/{index}/_bulk", summary="The same, into the index that the path names")
@router.put("/{index}/_bulk", include_in_schema=False)
async def bulk(request: Request, index: str = "", filter_path: str = "") -> Response:
    """Answers once the documents are durable, with what became of each, in order."""
    begun = time.monotonic()

    def work(columns: Columns, plain: Body, namespace: str, key: bytes) -> tuple[Taken, str, int]:
        taking = Bulk(Intake(columns, namespace, key), index, filter_path)
        taking.take(plain)
        took = round((time.monotonic() - begun) * 1000)
        return taking.intake.finish(), taking.answer(took), 200

    return await _answered(request, work, "bulk", index)


@router.post("/{index}/_doc", status_code=201, summary="Take one document as Elasticsearch does")
@router.post("/{index}/_doc/{id}", include_in_schema=False)
@router.put("/{index}/_doc/{id}", include_in_schema=False)
@router.post("/{index}/_create/{id}", include_in_schema=False)
@router.put("/{index}/_create/{id}", include_in_schema=False)
async def document(request: Request, index: str, id: str = "") -> Response:
    """One document."""

    def work(columns: Columns, plain: Body, namespace: str, key: bytes) -> tuple[Taken, str, int]:
        text = bytes(plain).strip()
        if not (text.startswith(b"{") and columns.json_valid(text)):
            raise RequestRefused("bad_body", "failed to parse: no json object", "send one json object")
        intake = Intake(columns, namespace, key)
        intake.record(text, format="json", tags=document_tags(index, id))
        return intake.finish(), json.dumps(created(index, id or key.hex())), 201

    return await _answered(request, work, "document", index, id)


@router.api_route("/", methods=METHODS, include_in_schema=False)
@router.api_route("/_{path:path}", methods=METHODS, include_in_schema=False)
@router.api_route("/{index}/_{path:path}", methods=METHODS, include_in_schema=False)
@router.api_route("/{index}", methods=METHODS, include_in_schema=False)
async def other(request: Request) -> Response:
    """What clients ask for beside."""
    path = request.url.path.removeprefix(PREFIX).strip("/")
    host, agent = request.headers.get("host", ""), request.headers.get("user-agent", "")
    found = probe(request.method, path.split("/") if path else [], host, agent)
    if isinstance(found.body, str):
        return Response(found.body, found.status, PRODUCT, media_type="text/plain")
    return _json(request, json.dumps(found.body), found.status)


async def _answered(request: Request, work: Work, *said: str) -> Response:
    """Read the body, let `work` take it in a thread, and answer when it is durable."""
    try:
        async with read_body(request, MAX_BODY_BYTES) as body:
            namespace = await admitted(request)
            key = request_key(request.headers.get("idempotency-key"), body, namespace, "elasticsearch", *said)
            encoding = request.headers.get("content-encoding", "")
            lexers: Lexers = request.app.state.lexers

            def lexed() -> tuple[Taken, str, int]:
                with lexers.borrow() as columns:
                    return work(columns, decode(body, encoding, MAX_PLAIN_BYTES), namespace, key)

            taken, answer, status = await asyncio.to_thread(lexed)
            gateway = gateway_of(request)
            await accept(gateway, taken, "elasticsearch")
            if refused := taken.counts.get(NOT_TAKEN, 0):
                gateway.counters.add("refused_elasticsearch", refused)
    except REFUSED as error:
        return _refused(request, refusal(error, gateway_of(request), "elasticsearch"))
    return _json(request, answer, status)


def _refused(request: Request, said: Refusal) -> Response:
    kind = TYPES.get(said.status, "illegal_state_exception" if said.status >= 500 else TYPES[400])
    answer = json.dumps(error_body(kind, said.text, said.status))
    return _json(request, answer, said.status, dict(said.headers))


def _json(request: Request, body: str, status: int, headers: dict[str, str] | None = None) -> Response:
    accepted = request.headers.get("accept", "")
    kind = VENDOR_JSON + ";compatible-with=8" if VENDOR_JSON in accepted else "application/json"
    return Response(body, status, {**PRODUCT, **(headers or {})}, media_type=kind)


def include(app: Any) -> None:
    """Put the paths last into an app: they match what nobody else does."""
    app.include_router(router, prefix=PREFIX, include_in_schema=False)
    app.include_router(router)
