"""`POST /upload`: entries of systemd's journal, as systemd-journal-upload sends them, in a body that may never end.

They are made durable in parts, and answered at the end. A part is known by its entries: where the upload is repeated
from the same one on, what is stored of it is not stored again.
"""

import asyncio
from hashlib import blake2b

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from ingest.errors import RequestRefused
from ingest.gateway import GatewayState
from ingest.journal import Export, ExportDamaged, Fields, cursor_of, record_of
from ingest.receivers.answers import REFUSED, count_refused
from ingest.receivers.body import Budget, gateway_of
from ingest.receivers.intake import Intake, Lexers, Taken, accept
from ingest.receivers.sender import admitted

NAME = "journal"
MEDIA_TYPE = "application/vnd.fdo.journal"
PART_BYTES = 4 << 20
"""Of fields; some thousand entries."""

router = APIRouter()


@router.post("/upload", summary="Take systemd's journal: application/vnd.fdo.journal")
async def upload(request: Request) -> PlainTextResponse:
    """Answers once all entries are durable."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        message = f"cannot take journal: content type {kind or 'none'}"
        raise RequestRefused("bad_content_type", message, f"send {MEDIA_TYPE}", 415)
    try:
        await _take(request, gateway_of(request), request.app.state.budget)
    except REFUSED:
        count_refused(gateway_of(request), NAME)
        raise
    return PlainTextResponse("OK.\n", 202)


async def _take(request: Request, gateway: GatewayState, budget: Budget) -> None:
    """Store the body's entries. Raises RequestRefused, SpoolFull, OSError: those before are stored."""
    gateway.spool.refuse_while_full()
    namespace = await admitted(request)
    parts = Parts(gateway, request.app.state.lexers, namespace)
    held = (
        0  # of the budget: an upload of which nothing waits takes nothing of it, as it may be open for ever
    )
    budget.enter()
    try:
        export = Export()
        try:
            async for chunk in request.stream():
                budget.take(len(chunk))
                held += len(chunk)
                for entry in export.feed(chunk):
                    await parts.add(entry)
                left = min(held, parts.size + export.waiting)
                budget.give_back(held - left)
                held = left
            if last := export.end():
                await parts.add(last)
        except ExportDamaged as error:
            await parts.store()  # what came before it is sound
            message = f"cannot read journal after {parts.entries} entries: {error}"
            raise RequestRefused("bad_journal", message, "send the export format, whole") from None
        await parts.store()
        gateway.counters.add(f"{NAME}_fields_cut", export.cut)
    finally:
        budget.leave()
        budget.give_back(held)


class Parts:
    """Entries of one upload, stored whenever there are enough of them."""

    def __init__(self, gateway: GatewayState, lexers: Lexers, namespace: str) -> None:
        self._gateway, self._lexers, self._namespace = gateway, lexers, namespace
        self._held: list[Fields] = []
        self.size = 0
        self.entries = 0

    async def add(self, entry: Fields) -> None:
        self._held.append(entry)
        self.size += sum(len(name) + len(value) for name, value in entry)
        self.entries += 1
        if self.size >= PART_BYTES:
            await self.store()

    async def store(self) -> None:
        """Make durable what is held. Raises SpoolFull, OSError."""
        if not self._held:
            return
        held, self._held, self.size = self._held, [], 0
        taken = await asyncio.to_thread(self._made, held)
        await accept(self._gateway, taken, NAME)

    def _made(self, held: list[Fields]) -> Taken:
        digest = blake2b(f"{NAME}\0{self._namespace}\0".encode(), digest_size=16)
        for entry in held:
            digest.update(cursor_of(entry) or repr(entry).encode())
        with self._lexers.borrow() as columns:
            intake = Intake(columns, self._namespace, digest.digest())
            for entry in held:
                one = record_of(entry)
                intake.record(
                    one.text,
                    format=one.format,
                    level=one.level,
                    service=one.service,
                    host=one.host,
                    tags=one.tags,
                    timestamp_ns=one.timestamp_ns,
                )
            return intake.finish()
