"""Which of several gateways a block belongs to, on disk.

A block belongs to the first gateway that it was sent to, until that one has answered for it: another would not know it,
and store it a second time. One gateway is the `current` one: it gets the blocks that were never sent, oldest first, one
at a time. So as long as that does not change, what is on disk need not either: of the blocks that wait, the oldest that
belongs to nobody may have been sent to the current one, and no other. Before it does change, what is under way or
unknown at a gateway is written down as `bound` to it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from ingest.durable import replace_file
from ingest.errors import StateDamaged, UsageError
from ingest.spool import Spool

FILE = "targets.json"


class Targets:
    """The file, and what it says. Not thread-safe. `bound`: by gateway the id of the block that belongs to it."""

    def __init__(self, path: Path, gateways: Sequence[str], spool: Spool) -> None:
        """After the spool's recovery; without a file the first gateway is the one that a block was sent to.

        Raises StateDamaged, OSError, and UsageError where a gateway is missing that has a block.
        """
        self._path = path
        self.gateways = list(gateways)
        self.current = self.gateways[0]
        self.bound: dict[str, bytes] = {}
        if path.exists():
            self._load()
        self.bound = {url: one for url, one in self.bound.items() if one in spool}
        taken = set(self.bound.values())
        oldest = next((one for one in spool.pending(len(taken) + 1) if one.block_id not in taken), None)
        if oldest is not None and self.current not in self.bound:
            self.bound[self.current] = oldest.block_id
        for url in self.bound:
            if url not in self.gateways:
                raise UsageError(
                    f"cannot do without {url}: a block was sent there, and it has not answered for it",
                    f"give it with --to, too; if it has another address now, put that into {path}",
                )
        self.switch(self.current if self.current in self.gateways else self.gateways[0])

    def switch(self, current: str) -> None:
        """Let another gateway have what was never sent, and write down what is bound. Durable on return."""
        self.current = current
        bound = {url: one.hex() for url, one in self.bound.items()}
        replace_file(self._path, json.dumps({"current": current, "bound": bound}).encode() + b"\n")

    def _load(self) -> None:
        try:
            said = json.loads(self._path.read_bytes())
            self.current = str(said["current"])
            self.bound = {str(url): bytes.fromhex(one) for url, one in said["bound"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "restore the file, or delete it if no block waits"
            raise StateDamaged(f"cannot read targets: {self._path}: {error}", hint) from error
