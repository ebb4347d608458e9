"""How far each file has been shipped, on disk; and, with the spool beside it, how far it has been read.

A block may leave the spool only after `Checkpoints.acknowledge` has returned: from then on a restart knows
without the block that its ranges are done. What the spool still holds is added with `spooled`, so that a
restart reads on after it. Should a block be lost from the spool (a flipped bit), its range is a gap, and is
read again.
"""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

from ingest.durable import replace_file
from ingest.errors import StateDamaged
from ingest.identity import Mark
from storage.native.block import Header, Source

VERSION = 1
FORGET_SECONDS = 30 * 86400.0
"""A file that gave nothing for so long and is not there any more is forgotten: inodes are used again."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file: everything before `offset` has been acknowledged. `mark` is what the file was there."""

    device: int
    inode: int
    path: str
    offset: int
    mark: str
    updated: float


@dataclass(slots=True)
class Progress:
    """What need not be read again: all before `mark.offset`, and the `ahead` ranges [start, end) beyond it.

    `marks` are of the ends of those ranges, highest offset last, `mark` among them.
    """

    path: str
    generation: int
    offset: int = 0
    ahead: list[tuple[int, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def latest(self) -> Mark | None:
        """The mark furthest into the file."""
        return max(self.marks, key=lambda mark: mark.offset, default=None)

    def add(self, start: int, end: int, mark: Mark) -> None:
        self.marks.append(mark)
        self.ahead = sorted([*self.ahead, (start, end)])
        while self.ahead and self.ahead[0][0] <= self.offset:
            self.offset = max(self.offset, self.ahead.pop(0)[1])


class Checkpoints:
    """The state file. Safe from any thread: one acknowledges, another reads and adopts."""

    def __init__(self, path: Path) -> None:
        """Raises StateDamaged where the file is there but unreadable, OSError as the system does."""
        self.path = path
        self.sequence = 0
        self.block_id = b""
        self._lock = threading.RLock()
        self._files: dict[tuple[int, int], Checkpoint] = {}
        self._began: dict[str, int] = {}
        self._spooled: dict[tuple[int, int], list[Source]] = {}
        if path.exists():
            self._load(path.read_bytes())

    def acknowledge(self, blocks: Iterable[Header]) -> None:
        """Record, durably, that these blocks and all before them arrived. Raises OSError."""
        with self._lock:
            for block in blocks:
                self.sequence, self.block_id = block.sequence, block.block_id
                for source in block.sources:
                    if source.inode:
                        self._advance(source)
            self._save()

    def spooled(self, sources: Iterable[Source]) -> None:
        """Count in the ranges of a block that recovery found in the spool; call in order of sequence."""
        for source in sources:
            if source.inode:
                self._spooled.setdefault((source.device, source.inode), []).append(source)

    def progress(self, device: int, inode: int) -> Progress | None:
        """What is known of the file with this identity, from the checkpoint and the spool."""
        with self._lock:
            known = self._files.get((device, inode))
        progress = None
        if known is not None:
            mark = Mark.decode(known.mark, known.offset)
            progress = Progress(known.path, mark.generation, known.offset, [], [mark])
        for source in self._spooled.get((device, inode), []):
            progress = _with_source(progress, source)
        return progress

    def known(self) -> list[tuple[int, int, Progress]]:
        """Every file that anything is known of: device, inode, progress."""
        with self._lock:
            keys = sorted({*self._files, *self._spooled})
        found = [(device, inode, self.progress(device, inode)) for device, inode in keys]
        return [(device, inode, progress) for device, inode, progress in found if progress is not None]

    def adopt(self, device: int, inode: int, path: str, mark: Mark) -> None:
        """Count `mark.offset` bytes of a file as done: they came from the file that it is a copy of.

        Written with the next acknowledgement.
        """
        adopted = Checkpoint(device, inode, path, mark.offset, mark.encode(), time.time())
        with self._lock:
            self._files[device, inode] = adopted

    def began(self, pattern: str) -> int | None:
        """When, in nanoseconds since 1970, the agent began to follow `pattern` for the first time."""
        return self._began.get(pattern)

    def begin(self, patterns: Iterable[str], now_ns: int) -> None:
        """Record, durably, that these patterns are followed from now on, with all adopted before.

        Raises OSError.
        """
        with self._lock:
            self._began.update(dict.fromkeys(patterns, now_ns))
            self._save()

    def forget(self, gone: Sequence[tuple[int, int]], now: float | None = None) -> None:
        """Drop files that are `gone` and have been silent for FORGET_SECONDS;

        written with the next acknowledgement.
        """
        limit = (time.time() if now is None else now) - FORGET_SECONDS
        with self._lock:
            for key in gone:
                known = self._files.get(key)
                if known is not None and known.updated < limit and key not in self._spooled:
                    del self._files[key]

    def _advance(self, source: Source) -> None:
        key = (source.device, source.inode)
        mark = Mark.decode(source.head, source.end)
        known = self._files.get(key)
        if known is not None:
            before = Mark.decode(known.mark, known.offset)
            older = mark.generation < before.generation
            if older or (mark.generation == before.generation and source.end <= known.offset):
                return
        self._files[key] = Checkpoint(
            source.device, source.inode, source.path, source.end, source.head, time.time()
        )

    def _save(self) -> None:
        files = [asdict(one) for one in self._files.values()]
        state = {
            "version": VERSION,
            "sequence": self.sequence,
            "block_id": self.block_id.hex(),
            "files": files,
            "began": self._began,
        }
        body = json.dumps(state, ensure_ascii=True, separators=(",", ":")).encode()
        replace_file(self.path, b"%08x\n%s\n" % (crc32(body), body))

    def _load(self, data: bytes) -> None:
        checksum, _, body = data.partition(b"\n")
        body = body.removesuffix(b"\n")
        try:
            if int(checksum, 16) != crc32(body):
                raise ValueError("checksum differs")
            state = json.loads(body)
            if state["version"] != VERSION:
                raise ValueError(f"version {state['version']}")
            self.sequence, self.block_id = int(state["sequence"]), bytes.fromhex(state["block_id"])
            files = [Checkpoint(**one) for one in state["files"]]
            self._began = {str(key): int(value) for key, value in state.get("began", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateDamaged(
                f"cannot read checkpoints: {self.path}: {error}",
                "restore the file, or delete it to read everything again",
            ) from error
        self._files = {(one.device, one.inode): one for one in files}


def _with_source(progress: Progress | None, source: Source) -> Progress:
    """Add one spooled range; a higher generation under the same inode replaces what was known."""
    mark = Mark.decode(source.head, source.end)
    if progress is None or mark.generation > progress.generation:
        progress = Progress(source.path, mark.generation)
    if mark.generation == progress.generation:
        progress.path = source.path
        progress.add(source.start, source.end, mark)
    return progress
