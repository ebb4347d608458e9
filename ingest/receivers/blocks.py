"""`POST /api/v1/blocks`: a sealed block from an agent, kept as it came."""

import asyncio
from threading import BoundedSemaphore
from typing import Any

from fastapi import APIRouter, Request

from ingest.committer import REQUEST_AGENT, Submission, committed
from ingest.destination import AGAIN_HEADER
from ingest.errors import RequestRefused
from ingest.gateway import GatewayState
from ingest.receivers.body import gateway_of, read_body
from ingest.receivers.sender import admitted
from storage.native.block import REDACTION_VERSION, Header, SealedBlock
from storage.native.columns import BlockColumns
from storage.schema import SCHEMA_VERSION

MAX_BLOCK_BYTES = 64 << 20
"""More than a full batch can come to, headers and incompressible lines included."""
MAX_DECODED_BYTES = 96 << 20
"""Of its columns, unpacked: twice those of a full batch."""
_LOOKING = BoundedSemaphore(2)
"""Blocks that are unpacked at once: each takes as much memory as it comes to."""

router = APIRouter()


@router.post("/api/v1/blocks", summary="Take a sealed block from an agent")
async def take_block(request: Request) -> dict[str, Any]:
    """Answers once the block is durable here: `accepted`, or `duplicate` if it was before."""
    gateway = gateway_of(request)
    async with read_body(request, MAX_BLOCK_BYTES) as data:
        header = await asyncio.to_thread(_verify, data)
        await admitted(request, header.namespace)
        _check_redaction(header, gateway)
        gateway.admit(header.namespace, header.rows, max(header.raw_bytes, len(data)))
        submission = Submission(((header.block_id, data),), headers=(header,))
        fresh = await _taken(gateway, submission, again=AGAIN_HEADER in request.headers)
    gateway.counters.add("blocks_received")
    gateway.counters.add("lines_received", header.rows if fresh else 0)
    gateway.counters.add("blocks_duplicate", 0 if fresh else 1)
    return {"status": "accepted" if fresh else "duplicate", "block_id": header.block_id.hex()}


async def _taken(gateway: GatewayState, submission: Submission, *, again: bool) -> bool:
    """True once it is durable, False if it was before, here or at another gateway. Raises RequestRefused, SpoolFull."""
    [(block_id, _)] = submission.blocks
    peers = gateway.peers
    if peers is None:
        return await committed(gateway.committer, submission)
    peers.begin(block_id, again=again)
    try:
        if again and not gateway.committer.accepted_before(block_id):
            if await asyncio.to_thread(peers.elsewhere, block_id):
                peers.end(block_id)
                return False
            peers.take(block_id)
        answer = gateway.committer.submit(submission)
    except BaseException:
        peers.end(block_id)
        raise
    # Whoever sent it may be gone: it is on its way all the same.
    answer.add_done_callback(lambda _answer: peers.end(block_id))
    return await asyncio.shield(asyncio.wrap_future(answer))


def _check_redaction(header: Header, gateway: GatewayState) -> None:
    """Raises RequestRefused for a block that may hold what this gateway masks: nothing of it is written here."""
    wanted = gateway.settings.redaction
    missing = () if wanted is None else [name for name in wanted.names if name not in header.redaction]
    if not missing:
        return
    gateway.counters.add("blocks_not_redacted")
    some = ", ".join(name.removeprefix("key:") for name in missing[:5]) + (" …" if len(missing) > 5 else "")
    classes = [name for name in missing if not name.startswith("key:")]
    classes += ["keys"] if len(classes) < len(missing) else []
    raise RequestRefused(
        "not_redacted",
        f"cannot take block: its agent masked less than this gateway asks for: {some}",
        f"start neve ship with --redact {','.join(classes)}, and read again what was refused",
        422,
    )


def _verify(data: bytes | bytearray) -> Any:
    """The header of a whole, undamaged block that this version can insert.

    Its columns are walked over, which costs 0.4 µs an event: ClickHouse waits for ever for the rest of one that is cut
    short, and all that lies behind it in the spool would wait too. Raises BlockDamaged, RequestRefused.
    """
    block = SealedBlock.parse(data)
    header = block.header
    if header.agent_id.startswith(REQUEST_AGENT):
        raise RequestRefused("bad_agent", "cannot take block: it is no agent's", "send it from an agent", 422)
    if block.decoded_bytes > MAX_DECODED_BYTES:
        message = f"cannot take block: its columns are more than {MAX_DECODED_BYTES} bytes"
        raise RequestRefused("too_large", message, "send it in parts", 413)
    for name, found, known in (
        ("schema version", header.schema_version, SCHEMA_VERSION),
        ("redaction policy", header.redaction_version, REDACTION_VERSION),
    ):
        if found > known:
            message = f"cannot take block: {name} {found} is newer than this gateway's {known}"
            raise RequestRefused(
                "block_too_new", message, "upgrade the gateway, then replay the dead letters", 422
            )
    with _LOOKING:
        BlockColumns(block)
    return header
