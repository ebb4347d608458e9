"""What a gateway tells whoever watches it, as records: 4 bytes of length (little-endian), a kind, then the payload.

    HELLO  JSON {"gateway","run","position","recovered"}: blocks after this position follow, and gaps for those that do
           not; up to `recovered` they are of a run before, with the sequences that they had there
    BLOCK  8 bytes of sequence (little-endian), then the sealed block as it lies in the spool
    GAP    JSON {"after","upto","rows":{namespace: n}}: blocks within these were not sent, the watcher was slow
    ALIVE  nothing; comes when nothing else does

A sequence is the block's in the gateway's spool. It grows within one `run` of the gateway, and may start anew with the
next: a position is a run and a sequence.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from storage.errors import BlockDamaged
from storage.native.block import Header

HELLO, BLOCK, GAP, ALIVE = 1, 2, 3, 4
HEAD = struct.Struct("<IB")
SEQUENCE = struct.Struct("<Q")
MAX_RECORD_BYTES = 128 << 20
"""Beyond the largest block that a gateway takes."""
ALIVE_SECONDS = 5.0
"""A stream that says nothing for several of these is dead."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One block that became durable. Times are nanoseconds since 1970."""

    sequence: int
    block_id: bytes
    namespace: str
    rows: int
    min_timestamp: int
    max_timestamp: int

    @classmethod
    def of(cls, sequence: int, header: Header) -> Arrival:
        times = header.min_timestamp, header.max_timestamp
        return cls(sequence, header.block_id, header.namespace, header.rows, *times)

    def to_json(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "block_id": self.block_id.hex(),
            "namespace": self.namespace,
            "rows": self.rows,
            "min_timestamp": self.min_timestamp,
            "max_timestamp": self.max_timestamp,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Arrival:
        """Raises KeyError, ValueError, TypeError for what is none."""
        numbers = (said["rows"], said["min_timestamp"], said["max_timestamp"])
        block_id = bytes.fromhex(said["block_id"])
        return cls(int(said["sequence"]), block_id, str(said["namespace"]), *map(int, numbers))


def head(kind: int, size: int) -> bytes:
    """What stands before a payload of so many bytes."""
    return HEAD.pack(size, kind)


def record(kind: int, said: Mapping[str, Any] | None = None) -> bytes:
    """A whole record with a payload of JSON, or none."""
    payload = b"" if said is None else json.dumps(said, separators=(",", ":")).encode()
    return head(kind, len(payload)) + payload


class Records:
    """Records out of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take a piece; the records that are whole now, as (kind, payload). Raises BlockDamaged."""
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            size, kind = HEAD.unpack_from(self._buffer)
            if size > MAX_RECORD_BYTES:
                raise BlockDamaged(f"cannot read stream of arrivals: a record of {size} bytes")
            end = HEAD.size + size
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[HEAD.size : end])
            del self._buffer[:end]
            yield kind, payload
