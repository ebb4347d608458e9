"""Blocks that nobody takes, kept with the reason: `<block>.block` and `<block>.block.reason` beside it."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.durable import fsync_folder, make_folder, replace_file
from ingest.errors import UsageError
from ingest.spool import BLOCK_SUFFIX, Spool, SpoolEntry, parts_of
from storage.errors import BlockDamaged
from storage.native.block import START, Header, parse_header
from storage.numbers import FIRST_SHARD

REASON_SUFFIX = ".reason"
SHORTEST_PREFIX = 6
"""Of an id on a command line; shorter ones name a block by accident."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused block; `refused_at` is seconds since 1970, `oldest` the time of its first event in nanoseconds.

    A damaged one has no rows and no namespace. `shard`: the number of the one that it was meant for.
    """

    path: Path
    block_id: str
    rows: int
    namespace: str
    reason: str
    refused_at: float
    oldest: int = 0
    shard: int = FIRST_SHARD

    def to_json(self) -> dict[str, Any]:
        """As `GET /gateway/deadletter` has it."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.refused_at))
        said = {"id": self.block_id, "rows": self.rows, "namespace": self.namespace}
        return {**said, "reason": self.reason, "refused_at": when}


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

    def all(self) -> list[DeadLetter]:
        """Those that there are, oldest first. Raises OSError."""
        found = []
        for path in self.folder.glob("*" + BLOCK_SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # sent again meanwhile
                found.append(_read(path))
        return sorted(found, key=lambda one: (one.refused_at, one.path.name))

    def choose(self, ids: Sequence[str], *, every: bool) -> list[DeadLetter]:
        """Those whose ids start as given, or `every` one. Raises UsageError, OSError."""
        known = self.all()
        if every:
            return known
        return [one for text in ids for one in _matching(known, text)]

    def remove(self, letter: DeadLetter) -> None:
        """Let go of a block that is safe elsewhere, durably. Raises OSError."""
        letter.path.unlink(missing_ok=True)
        letter.path.with_name(letter.path.name + REASON_SUFFIX).unlink(missing_ok=True)
        fsync_folder(self.folder)

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*" + BLOCK_SUFFIX))


def _matching(known: Sequence[DeadLetter], text: str) -> list[DeadLetter]:
    found = [one for one in known if one.block_id.startswith(text.lower())]
    if len(text) < SHORTEST_PREFIX or not found:
        raise UsageError(f"cannot find dead letter: {text}", "neve deadletter list shows their ids")
    if len({one.block_id for one in found}) > 1:
        raise UsageError(f"cannot choose dead letter: {text} starts several ids", "give more of it")
    return found


def _read(path: Path) -> DeadLetter:
    try:
        _, block_id, shard = parts_of(path.name)
    except BlockDamaged:
        block_id, shard = b"", FIRST_SHARD
    header = _header(path)
    reason, refused_at = _reason(path)
    rows, namespace, oldest = (
        (header.rows, header.namespace, header.min_timestamp) if header is not None else (0, "", 0)
    )
    return DeadLetter(path, block_id.hex(), rows, namespace, reason, refused_at, oldest, shard)


def _header(path: Path) -> Header | None:
    try:
        with path.open("rb") as file:
            start = file.read(START.size)
            length = START.unpack(start)[2] if len(start) == START.size else 0
            return parse_header(start + file.read(length + 4))[0]
    except BlockDamaged:
        return None


def _reason(path: Path) -> tuple[str, float]:
    try:
        said = json.loads(path.with_name(path.name + REASON_SUFFIX).read_bytes())
        return str(said["reason"]), float(said["refused_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", path.stat().st_mtime
