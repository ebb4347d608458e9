"""`POST /v1/logs`: OpenTelemetry's log records over HTTP, in binary or JSON; gzip, deflate or zstd.

What is here beside the route is what the gRPC service (otlp_grpc.py) does too: take a message, and say how it went.
"""

import asyncio
import json
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request, Response

from ingest.errors import RequestRefused, SpoolFull
from ingest.receivers.answers import count_refused
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.encodings import Body, decode
from ingest.receivers.intake import Intake, Lexers, Taken, accept, request_key
from ingest.receivers.otlp_json import to_binary
from ingest.receivers.protobuf import integer, length_delimited
from ingest.receivers.sender import admitted
from lexer import OTLP_DEPTH, OTLP_MAX_RECORD_BYTES, Columns, OtlpLogs
from storage.errors import NeveError

MAX_BODY_BYTES = 16 << 20
"""As sent. Collectors send 4 MiB at the most, unless they are told otherwise."""
MAX_PLAIN_BYTES = 32 << 20
"""Decompressed."""
MAX_JSON_BYTES = 8 << 20
"""Decompressed, in JSON: its objects take ten times as much memory."""
RETRY_AFTER_SECONDS = 1
BINARY, JSON = "application/x-protobuf", "application/json"
_KINDS = {BINARY: BINARY, "application/protobuf": BINARY, JSON: JSON}

_REASONS = {
    "too deep": f"values nested deeper than {OTLP_DEPTH}",
    "too large": f"more than {OTLP_MAX_RECORD_BYTES} bytes",
}

# google.rpc.Code of an HTTP status; what else is 4xx is an invalid argument.
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 8, 14
_CODES = {401: 16, 403: 7, 404: 5, 413: RESOURCE_EXHAUSTED, 429: UNAVAILABLE, 503: UNAVAILABLE}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing was taken. Where it is worth another try, `retry_after` says when, in seconds; else it is 0."""

    status: int
    message: str
    retry_after: int = 0

    @property
    def code(self) -> int:
        """Of google.rpc.Code."""
        return _CODES.get(self.status, INVALID_ARGUMENT)

    def binary(self) -> bytes:
        """A google.rpc.Status."""
        return integer(1, self.code) + length_delimited(2, self.message.encode())


def failure(error: Exception) -> Failure:
    """What to say of an error of ours, or of the disk: then nothing was kept, and the sender has to keep it."""
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        return Failure(503, f"cannot write spool: {reason}; try again in a moment", RETRY_AFTER_SECONDS)
    assert isinstance(error, NeveError)
    if error.status not in (429, 503):
        return Failure(error.status, str(error))
    after = error.retry_after if isinstance(error, SpoolFull) else RETRY_AFTER_SECONDS
    return Failure(error.status, str(error), after)


@dataclass(frozen=True, slots=True)
class Rejected:
    """Records that were not taken, of a message whose others were."""

    count: int = 0
    why: str = ""

    def binary(self) -> bytes:
        """An ExportLogsServiceResponse."""
        if not self.count:
            return b""
        return length_delimited(1, integer(1, self.count) + length_delimited(2, self.why.encode()))

    def json(self) -> str:
        if not self.count:
            return "{}"
        said = {"rejectedLogRecords": str(self.count), "errorMessage": self.why}
        return json.dumps({"partialSuccess": said})


async def export(
    app: FastAPI, body: Body, encoding: str, kind: str, namespace: str, receiver: str
) -> Rejected:
    """Take a message; the answer is due when this returns. Raises NeveError, OSError: nothing of it was taken."""
    taken, rejected = await asyncio.to_thread(_take, app.state.lexers, body, encoding, kind, namespace)
    gateway = app.state.gateway
    if await accept(gateway, taken, receiver) and rejected.count:
        gateway.counters.add(f"lines_rejected_{receiver}", rejected.count)
    return rejected


def _take(lexers: Lexers, body: Body, encoding: str, kind: str, namespace: str) -> tuple[Taken, Rejected]:
    """Unpack, lex and seal everything, with a lexer in hand: it bounds how many do so at once."""
    with lexers.borrow() as columns:
        plain = decode(body, encoding, MAX_JSON_BYTES if kind == JSON else MAX_PLAIN_BYTES)
        key = request_key(
            None, plain, namespace, "otlp"
        )  # who tries again may pack it anew, with another time in it
        try:
            logs = OtlpLogs(to_binary(plain) if kind == JSON else plain)
        except ValueError as error:
            hint = "send an ExportLogsServiceRequest, in parts if it is large"
            raise RequestRefused("bad_body", f"cannot read log records: {error}", hint) from None

        def add(columns: Columns, received_ns: int) -> bool:
            columns.add_otlp(logs, received_ns=received_ns)
            return logs.left > 0

        intake = Intake(columns, namespace, key)
        intake.decoded(add)
        return intake.finish(), _rejected(logs.rejected)


def _rejected(counts: dict[str, int]) -> Rejected:
    said = ", ".join(f"{count} with {_REASONS[name]}" for name, count in counts.items() if count)
    total = sum(counts.values())
    return Rejected(total, f"{total} log records rejected: {said}" if total else "")


@router.post("/v1/logs", summary="Take OpenTelemetry's log records (OTLP/HTTP)")
async def take_logs(request: Request) -> Response:
    """Answers once they are durable, as they were sent: an ExportLogsServiceResponse, or a google.rpc.Status."""
    kind = _KINDS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    try:
        if kind is None:
            message = "cannot read body: its content-type is not one of OTLP's"
            raise RequestRefused("bad_content_type", message, f"send {BINARY} or {JSON}", 415)
        async with read_body(request, MAX_BODY_BYTES) as body:
            namespace = await admitted(request)
            encoding = request.headers.get("content-encoding", "")
            rejected = await export(request.app, body, encoding, kind, namespace, "otlp_http")
    except (NeveError, OSError) as error:
        count_refused(gateway_of(request), "otlp_http")
        return _failed(kind or JSON, failure(error))
    return Response(rejected.json() if kind == JSON else rejected.binary(), media_type=kind)


def _failed(kind: str, said: Failure) -> Response:
    headers = {"Retry-After": str(said.retry_after)} if said.retry_after else {}
    content = json.dumps({"code": said.code, "message": said.message}) if kind == JSON else said.binary()
    return Response(content, said.status, headers, media_type=kind)
