"""Blocks that nobody takes, kept with the reason: `<block>.block` and `<block>.block.reason` beside it."""

import json
import time
from pathlib import Path

from ingest.durable import make_folder, replace_file
from ingest.spool import BLOCK_SUFFIX, Spool, SpoolEntry

REASON_SUFFIX = ".reason"


class DeadLetters:
    """A folder of refused blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, spool: Spool, entry: SpoolEntry, reason: str) -> None:
        """Move a block out of the spool, with its reason, durably. Raises OSError."""
        make_folder(self.folder)
        said = {"reason": reason, "refused_at": time.time()}
        replace_file(self.folder / (entry.name + REASON_SUFFIX), json.dumps(said).encode() + b"\n")
        spool.move(entry, self.folder)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*" + BLOCK_SUFFIX))
