"""Which spooled blocks go into one INSERT: those that follow one another, of one namespace and the same columns."""

from dataclasses import dataclass

from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.spool import Spool, SpoolEntry
from storage.errors import BlockDamaged
from storage.hot import INSERT_BYTES
from storage.native.block import Header, SealedBlock
from storage.numbers import FIRST_SHARD

MAX_ROWS = 1 << 19
"""Of one INSERT; storage stores twice as many wholly or not at all, if they unpack to at most INSERT_BYTES."""
MAX_BYTES = 32 << 20
"""Of one INSERT, compressed: they are all in memory while it is sent."""
MAX_BLOCKS = 256
SMALL_BYTES = 8 << 20
"""Less than this is worth waiting a moment for more."""
SMALL_BESIDE_BYTES = 2 * SMALL_BYTES
"""The same where other shards store meanwhile: one server would be busy, and more would come."""


@dataclass(frozen=True, slots=True)
class Held:
    """A block in the spool and in memory."""

    entry: SpoolEntry
    block: SealedBlock

    @property
    def header(self) -> Header:
        return self.block.header


class Gatherer:
    """Takes blocks for one shard out of the spool into memory; sets damaged ones aside."""

    def __init__(
        self, spool: Spool, dead_letters: DeadLetters, counters: Counters, shard: int = FIRST_SHARD
    ) -> None:
        self._spool = spool
        self._shard = shard
        self._dead_letters = dead_letters
        self._counters = counters

    def little(self, size: int = SMALL_BYTES) -> bool:
        """Would an INSERT of what is there be a small one, of less than so many bytes?"""
        return sum(entry.size for entry in self._spool.pending(MAX_BLOCKS, self._shard)) < size

    def take(self) -> list[Held]:
        """The next blocks that fit into one INSERT. Raises OSError."""
        taken: list[Held] = []
        rows = size = decoded = 0
        for entry in self._spool.pending(MAX_BLOCKS, self._shard):
            if taken and size + entry.size > MAX_BYTES:
                break
            held = self.load(entry)
            if held is None:
                continue
            rows, size = rows + held.header.rows, size + entry.size
            decoded += held.block.decoded_bytes
            too_much = rows > MAX_ROWS or decoded > INSERT_BYTES
            if taken and (too_much or not _go_together(taken[0].header, held.header)):
                break
            taken.append(held)
        return taken

    def load(self, entry: SpoolEntry) -> Held | None:
        """A block, or None where it is damaged. Raises OSError."""
        try:
            return Held(entry, self._spool.load(entry)[1])
        except BlockDamaged as error:
            self._dead_letters.take(self._spool, entry, error.message)
            self._counters.add("blocks_damaged")
            self._counters.trouble(f"block {entry.block_id.hex()}", error.message)
            return None


def _go_together(first: Header, other: Header) -> bool:
    return first.namespace == other.namespace and first.columns == other.columns
