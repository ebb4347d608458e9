"""Sealed blocks and files to try the way in with, without a ClickHouse."""

from collections.abc import Callable, Sequence

import pytest

from lexer import Columns
from storage.native.block import SealedBlock, Source, seal

MakeSealed = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture(scope="session")
def sealed() -> MakeSealed:
    """Make `(sequence, block id, data)` of a few lines."""

    def make(
        sequence: int, lines: bytes = b"a line\n", sources: Sequence[Source] = (), agent_id: str = "agent"
    ) -> tuple[int, bytes, bytes]:
        columns = Columns(max_rows=1000, max_bytes=1 << 20)
        columns.add(lines, received_ns=1_700_000_000_000_000_000, final=True)
        data = seal(columns, agent_id=agent_id, sequence=sequence, namespace="default", sources=sources)
        return sequence, SealedBlock.parse(data).header.block_id, data

    return make
