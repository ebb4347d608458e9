"""How far each file has been shipped, on disk; and, with the spool beside it, how far it has been read.

A block may leave the spool only after `Checkpoints.acknowledge` has returned: from then on a restart knows
without the block that its ranges are done. What the spool still holds is added with `spooled`, so that a
restart reads on after it. Should a block be lost from the spool (a flipped bit), its range is a gap, and is
read again.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from ingest.durable import replace_file
from ingest.errors import StateDamaged
from ingest.identity import Mark
from storage.native.block import Header, Source

VERSION = 1
MAX_FORMER = 16
"""Of one file, contents that were replaced by the present one: a copy of each may turn up later."""
FORGET_SECONDS = 30 * 86400.0
"""A file that gave nothing for so long and is not there any more is forgotten: inodes are used again."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One file: everything before `offset` has been acknowledged. `mark` is what the file was there.

    `former` has the offset and mark at which reading ended in each earlier generation.
    """

    device: int
    inode: int
    path: str
    offset: int
    mark: str
    updated: float
    former: tuple[tuple[int, str], ...] = ()

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode

    @property
    def reached(self) -> tuple[int, int]:
        """Generation and offset: what comes later is greater."""
        return Mark.decode(self.mark, self.offset).generation, self.offset


@dataclass(slots=True)
class Progress:
    """What need not be read again: all before `mark.offset`, and the `ahead` ranges [start, end) beyond it.

    `marks` are of the ends of those ranges, highest offset last, `mark` among them; `former` of the ends of what
    was read of contents that this one replaced.
    """

    path: str
    generation: int
    offset: int = 0
    ahead: list[tuple[int, int]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    former: list[Mark] = field(default_factory=list)

    @property
    def latest(self) -> Mark | None:
        """The mark furthest into the file."""
        return max(self.marks, key=lambda mark: mark.offset, default=None)

    def add(self, start: int, end: int, mark: Mark) -> None:
        self.marks.append(mark)
        self.ahead = sorted([*self.ahead, (start, end)])
        self.reach(self.offset)

    def reach(self, offset: int) -> None:
        """All before `offset` need not be read again."""
        self.offset = max(self.offset, offset)
        while self.ahead and self.ahead[0][0] <= self.offset:
            self.offset = max(self.offset, self.ahead.pop(0)[1])


class Checkpoints:
    """The state file. Safe from any thread: one acknowledges, another reads and adopts."""

    def __init__(self, path: Path) -> None:
        """Raises StateDamaged where the file is there but unreadable, OSError as the system does."""
        self.path = path
        self.sequence = 0
        self.waiting: frozenset[int] = frozenset()  # that have not arrived, though later ones have
        self.block_id = b""
        self._lock = threading.RLock()
        self._files: dict[tuple[int, int], Checkpoint] = {}
        self._began: dict[str, int] = {}
        self._spooled: dict[tuple[int, int], list[Source]] = {}
        self._adopted: list[_Adopted] = []  # that wait for what they rest on
        if path.exists():
            self._load(path.read_bytes())

    def acknowledge(self, blocks: Iterable[Header], before: Iterable[int] = ()) -> None:
        """Record, durably, that these blocks and all before them arrived, but those that wait in the spool: `before`
        has their sequences, and may have others that come after. Raises OSError."""
        with self._lock:
            for block in blocks:
                if block.sequence > self.sequence:
                    self.sequence, self.block_id = block.sequence, block.block_id
                for source in block.sources:
                    if source.inode:
                        self._advance(source)
            self.waiting = frozenset(one for one in before if one < self.sequence)
            self._adopted = [one for one in self._adopted if not self._settle(one)]
            self._save()

    def has_arrived(self, sequence: int) -> bool:
        """Has the block of this number?"""
        return sequence <= self.sequence and sequence not in self.waiting

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
            former = [Mark.decode(text, offset) for offset, text in known.former]
            progress = Progress(known.path, mark.generation, known.offset, [], [mark], former)
        for source in self._spooled.get((device, inode), []):
            progress = _with_source(progress, source)
        return progress

    def place(self, device: int, inode: int) -> tuple[str, int, list[tuple[int, int]]]:
        """For what is no file: the path of the source up to which all is done, its end, and ranges beyond it that are.

        A damaged block leaves a gap before these.
        """
        with self._lock:
            known = self._files.get((device, inode))
        path, offset = (known.path, known.offset) if known is not None else ("", 0)
        ahead = []
        for source in sorted(self._spooled.get((device, inode), []), key=lambda one: one.start):
            if source.start > offset:
                ahead.append((source.start, source.end))
            elif source.end > offset:
                path, offset = source.path, source.end
        return path, offset, ahead

    def known(self) -> list[tuple[int, int, Progress]]:
        """Every file that anything is known of: device, inode, progress."""
        with self._lock:
            keys = sorted({*self._files, *self._spooled})
        found = [(device, inode, self.progress(device, inode)) for device, inode in keys]
        return [(device, inode, progress) for device, inode, progress in found if progress is not None]

    def adopt(
        self,
        device: int,
        inode: int,
        path: str,
        mark: Mark,
        original: tuple[tuple[int, int], int] | None = None,
    ) -> None:
        """Count `mark.offset` bytes of a file as done. Written with an acknowledgement.

        Of a copy they came from the `original` (identity, generation), where they may have been read and not be
        durable yet: then they count once they have arrived. Until then a restart finds that out anew.
        """
        adopted = _Adopted(Checkpoint(device, inode, path, mark.offset, mark.encode(), time.time()), original)
        with self._lock:
            if not self._settle(adopted):
                self._adopted.append(adopted)

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

    def _settle(self, one: "_Adopted") -> bool:
        """Take an adopted file up, if all that it rests on has arrived."""
        if one.original is None:
            self._files[one.checkpoint.key] = one.checkpoint
            return True
        original, generation = one.original
        if self._arrived(original) < (generation, one.checkpoint.offset):
            return False
        # What has arrived of the copy itself lies behind what came of its original.
        if self._arrived(one.checkpoint.key) < one.checkpoint.reached:
            self._files[one.checkpoint.key] = one.checkpoint
        return True

    def _arrived(self, key: tuple[int, int]) -> tuple[int, int]:
        known = self._files.get(key)
        return (-1, 0) if known is None else known.reached

    def _advance(self, source: Source) -> None:
        key = (source.device, source.inode)
        mark = Mark.decode(source.head, source.end)
        known = self._files.get(key)
        former: tuple[tuple[int, str], ...] = ()
        if known is not None:
            before = Mark.decode(known.mark, known.offset)
            if mark.generation < before.generation:  # it was overtaken
                former = tuple(_reaching(known.former, (source.end, source.head)))
                self._files[key] = replace(known, former=former)
                return
            if mark.generation == before.generation and source.end <= known.offset:
                return
            former = known.former
            if mark.generation > before.generation:
                former = (*former, (known.offset, known.mark))[-MAX_FORMER:]
        self._files[key] = Checkpoint(
            source.device, source.inode, source.path, source.end, source.head, time.time(), former
        )

    def _save(self) -> None:
        files = [asdict(one) for one in self._files.values()]
        state = {
            "version": VERSION,
            "sequence": self.sequence,
            "block_id": self.block_id.hex(),
            "files": files,
            "began": self._began,
            **({"waiting": sorted(self.waiting)} if self.waiting else {}),
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
            self.waiting = frozenset(map(int, state.get("waiting", ())))
            files = [_checkpoint(one) for one in state["files"]]
            self._began = {str(key): int(value) for key, value in state.get("began", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateDamaged(
                f"cannot read checkpoints: {self.path}: {error}",
                "restore the file, or delete it to read everything again",
            ) from error
        self._files = {(one.device, one.inode): one for one in files}


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A file to count as done as the checkpoint says, once so much of its original has arrived."""

    checkpoint: Checkpoint
    original: tuple[tuple[int, int], int] | None


def _checkpoint(stored: dict[str, Any]) -> Checkpoint:
    former = tuple((int(offset), str(mark)) for offset, mark in stored.pop("former", ()))
    return Checkpoint(**stored, former=former)


def _reaching(former: Iterable[tuple[int, str]], one: tuple[int, str]) -> Iterator[tuple[int, str]]:
    """What was read of earlier contents, where one of them was read further, as is known now. Offsets and marks."""
    generation = Mark.decode(one[1], one[0]).generation
    for offset, text in former:
        same = Mark.decode(text, offset).generation == generation
        yield one if same and one[0] > offset else (offset, text)


def _with_source(progress: Progress | None, source: Source) -> Progress:
    """Add one spooled range; a higher generation under the same inode replaces what was known."""
    mark = Mark.decode(source.head, source.end)
    if progress is None or mark.generation > progress.generation:
        former = [] if progress is None else [*progress.former, *progress.marks[-1:]]
        progress = Progress(source.path, mark.generation, former=former)
    if mark.generation < progress.generation:  # overtaken by what came of a later content
        progress.former = [
            mark if one.generation == mark.generation and one.offset < mark.offset else one
            for one in progress.former
        ]
    if mark.generation == progress.generation:
        progress.path = source.path
        progress.add(source.start, source.end, mark)
    return progress
