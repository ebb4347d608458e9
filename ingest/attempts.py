"""What was last sent to ClickHouse, written down before it is sent.

After a crash the record says which blocks may be stored already, in which epoch, and under which token.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ingest.durable import make_folder, replace_file
from ingest.errors import StateDamaged


@dataclass(frozen=True, slots=True)
class Attempt:
    """One INSERT: these blocks (ids in hex), in this order, with this epoch. `number` counts its tokens."""

    namespace: str
    epoch: int
    blocks: tuple[str, ...]
    number: int = 0

    @property
    def token(self) -> str:
        """ClickHouse's deduplication token: the same for the same blocks in the same order and number."""
        text = "\n".join((self.namespace, str(self.epoch), str(self.number), *self.blocks))
        return blake2b(text.encode("ascii"), digest_size=16).hexdigest()

    def again(self) -> "Attempt":
        """The same blocks under another token."""
        return replace(self, number=self.number + 1)


class AttemptRecord:
    """The file of the last attempt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        make_folder(path.parent)

    def write(self, attempt: Attempt) -> None:
        """Durable on return. Raises OSError."""
        replace_file(self._path, json.dumps(asdict(attempt)).encode() + b"\n")

    def read(self) -> Attempt | None:
        """The last attempt, if there ever was one. Raises StateDamaged, OSError."""
        if not self._path.exists():
            return None
        try:
            fields: dict[str, Any] = json.loads(self._path.read_bytes())
            return Attempt(**{**fields, "blocks": tuple(fields["blocks"])})
        except (ValueError, KeyError, TypeError) as error:
            hint = "restore the file, or delete it if clickhouse has every block that left the spool"
            raise StateDamaged(f"cannot read insert record: {self._path}: {error}", hint) from error


def attempt_for(namespace: str, epoch: int, block_ids: Sequence[bytes]) -> Attempt:
    """The first attempt with these blocks."""
    return Attempt(namespace, epoch, tuple(block_id.hex() for block_id in block_ids))
