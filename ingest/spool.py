"""A bounded folder of sealed blocks: a file a block, durable once `put` returns.

The agent keeps what the gateway has not acknowledged, the gateway what ClickHouse has not. A file is named
`<sequence, 16 hex>-<block id, 32 hex>.block`: sorted by name is the order in which blocks go on, and their
ids can be read without opening a file. One that goes to another shard of a cluster than the first has the shard's
number behind its id: `…-2.block`. It is chosen once, and durable with the block.
"""

import contextlib
import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

from ingest.durable import fsync_folder, make_folder, remove_temporaries, replace_file, write_aside
from ingest.errors import SpoolFull
from storage.errors import BlockDamaged
from storage.native.block import Header, SealedBlock
from storage.numbers import FIRST_SHARD

BLOCK_SUFFIX = ".block"
DAMAGED_FOLDER = "damaged"
DEFAULT_QUOTA_BYTES = 2 << 30
"""About an hour of 10,000 lines a second, compressed; a small server's disk still has room beside it."""
KEEP_BYTES = 32 << 20
"""Of the oldest blocks kept in memory too, as much as one INSERT sends: most need not be read and checked again."""
FREE_RESERVE_BYTES = 16 << 20
"""Left free on the disk: checkpoints and ledgers must still be written for the spool to drain."""
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One block in the folder; `created` is seconds since 1970, `shard` the number of the one that it goes to."""

    sequence: int
    block_id: bytes
    size: int
    created: float
    shard: int = FIRST_SHARD

    @property
    def name(self) -> str:
        return block_name(self.sequence, self.block_id, self.shard)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that recovery set aside, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one shard: `depth` blocks of `bytes`, the oldest for `oldest_age` seconds."""

    depth: int
    bytes: int
    oldest_age: float


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """What is waiting: `depth` blocks of `bytes`, the oldest for `oldest_age` seconds, refusals by reason."""

    depth: int
    bytes: int
    quota_bytes: int
    oldest_age: float
    full: str
    reasons: dict[str, int] = field(default_factory=dict)


Seen = Callable[[SpoolEntry, Header], None]


def verify(entry: SpoolEntry, data: bytes | bytearray) -> SealedBlock:
    """Check that `data` is the whole, undamaged block that the file's name says. Raises BlockDamaged."""
    block = SealedBlock.parse(data)
    found = block.header.block_id
    if found != entry.block_id:
        raise BlockDamaged(
            f"cannot use block: its file's name says {entry.block_id.hex()}, its header {found.hex()}"
        )
    return block


class Spool:
    """Bounded, ordered, durable. One thread puts; any thread may take, remove, and ask.

    `twins` tells that recovery found two blocks of one sequence number: a copied folder wrote here.
    """

    def __init__(self, folder: Path, quota_bytes: int = DEFAULT_QUOTA_BYTES, keep_bytes: int = 0) -> None:
        """`keep_bytes`: of blocks that were put and wait, kept in memory too."""
        self.folder = folder
        self.quota_bytes = quota_bytes
        self.keep_bytes = keep_bytes
        self._kept: dict[str, bytes | bytearray] = {}
        self._entries: dict[str, SpoolEntry] = {}
        self._of_shard: dict[int, dict[str, SpoolEntry]] = {}
        self._ids: dict[bytes, SpoolEntry] = {}
        self._bytes = 0
        self._sizes: Counter[int] = Counter()  # bytes by shard
        self._last_sequence = 0
        self.twins = False
        self._full = ""
        self._reasons: dict[str, int] = {}
        self._changed = threading.Condition()
        make_folder(folder)

    def recover(self, seen: Seen | None = None) -> list[Damaged]:
        """Take in what an earlier process left; call once, before anything else.

        Every file is read and checked; `seen` is told of each good one in order. Damaged files move to
        `damaged/` with a `.reason` file beside them. Raises OSError.
        """
        remove_temporaries(self.folder)
        damaged = []
        for path in sorted(self.folder.glob("*" + BLOCK_SUFFIX)):
            try:
                entry, header = self._load(path)
            except BlockDamaged as error:
                damaged.append(self._set_aside(path, error.message))
                continue
            self._admit([entry])
            if seen is not None:
                seen(entry, header)
        self._last_sequence = max([self._last_sequence, *self._damaged_sequences()])
        # A killed writer may have renamed without reaching its fsync of the folder.
        fsync_folder(self.folder)
        return damaged

    def put(
        self,
        blocks: Sequence[tuple[int, bytes, bytes | bytearray]],
        shard: int = FIRST_SHARD,
        *,
        of_one: bool = False,
    ) -> list[SpoolEntry]:
        """Keep `(sequence, block id, data)` for a shard, all of them or none; they are durable on return.

        `of_one`: they are one request's, which cannot be kept in parts. As one block alone it may be above the quota.
        Sequences must grow. Raises SpoolFull where quota or disk has no room, OSError where the disk fails.
        """
        size = sum(len(data) for _, _, data in blocks)
        self._check_order([sequence for sequence, _, _ in blocks])
        self._reserve(size, alone=of_one or len(blocks) == 1)
        try:
            entries = self._write(blocks, shard)
        except OSError as error:
            self._release(size)
            if error.errno in _DISK_FULL:
                raise self._refuse("disk_full") from error
            raise
        with self._changed:
            self._release(size)
            self._full = ""
            self._admit(entries)
            self._keep(entries, [data for _, _, data in blocks])
            self._changed.notify_all()
        return entries

    def refuse_while_full(self) -> None:
        """Raises SpoolFull while the quota is used up and nothing has left: `put` need not be tried."""
        with self._changed:
            full = self._full == "quota" and self._bytes > 0
        if full:
            raise self._refuse("quota")

    def read(self, entry: SpoolEntry) -> bytes:
        """The bytes of a block as they were put. Raises OSError."""
        return (self.folder / entry.name).read_bytes()

    def load(self, entry: SpoolEntry) -> tuple[bytes | bytearray, SealedBlock]:
        """A block as it was put, and its bytes. Raises OSError, and BlockDamaged where the disk changed it."""
        with self._changed:
            kept = self._kept.get(entry.name)
        if kept is not None:
            return kept, SealedBlock.trust(kept)
        data = self.read(entry)
        return data, verify(entry, data)

    def remove(self, entries: Iterable[SpoolEntry]) -> None:
        """Let go of blocks that are safe elsewhere.

        An unlink lost to a power cut only brings back a known double.
        """
        for entry in entries:
            (self.folder / entry.name).unlink(missing_ok=True)
            self._forget(entry)

    def move(self, entry: SpoolEntry, folder: Path) -> Path:
        """Move a block's file into `folder` of the same disk, durably. Raises OSError."""
        make_folder(folder)
        target = folder / entry.name
        os.rename(self.folder / entry.name, target)
        fsync_folder(folder)
        self._forget(entry)
        return target

    def pending(self, limit: int | None = None, shard: int | None = None) -> list[SpoolEntry]:
        """The blocks that wait, oldest first, at most `limit`; those for one `shard`, or all."""
        with self._changed:
            return list(islice(self._waiting(shard).values(), limit))

    def entry(self, block_id: bytes) -> SpoolEntry | None:
        """Of a block that waits."""
        with self._changed:
            return self._ids.get(block_id)

    def wait(
        self, timeout: float, until: Callable[[], bool] = lambda: False, shard: int | None = None
    ) -> bool:
        """Wait for a block (for `shard`), for `until` to hold (after `wake`), or `timeout` seconds;

        tell whether a block is there.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting(shard)) or until(), timeout)
            return bool(self._waiting(shard))

    def wait_for(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until something holds that may change with any block, or by `wake`; whether it does in the end."""
        with self._changed:
            return self._changed.wait_for(holds, timeout)

    def wait_room(self, timeout: float) -> None:
        """Wait until a block leaves, `wake` is called, or `timeout` seconds are over."""
        with self._changed:
            self._changed.wait(timeout)

    def wake(self) -> None:
        """Make waiting threads look at their condition again."""
        with self._changed:
            self._changed.notify_all()

    def __contains__(self, block_id: bytes) -> bool:
        with self._changed:
            return block_id in self._ids

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries)

    @property
    def last_sequence(self) -> int:
        """The highest sequence ever seen here, set-aside files included."""
        with self._changed:
            return self._last_sequence

    def stats(self) -> SpoolStats:
        """A snapshot of what waits."""
        with self._changed:
            all_ = _measured(self._entries, self._bytes)
            reasons = dict(self._reasons)
            return SpoolStats(all_.depth, all_.bytes, self.quota_bytes, all_.oldest_age, self._full, reasons)

    def waits_for(self, shard: int) -> Waiting:
        """What waits for one shard."""
        with self._changed:
            return _measured(self._waiting(shard), self._sizes[shard])

    def shards(self) -> set[int]:
        """The numbers of those that blocks wait for."""
        with self._changed:
            return {shard for shard, entries in self._of_shard.items() if entries}

    def _waiting(self, shard: int | None) -> dict[str, SpoolEntry]:
        return self._entries if shard is None else self._of_shard.get(shard, {})

    def _load(self, path: Path) -> tuple[SpoolEntry, Header]:
        entry = _entry_of(path)
        return entry, verify(entry, path.read_bytes()).header

    def _admit(self, entries: Iterable[SpoolEntry]) -> None:
        for entry in entries:
            self.twins |= entry.sequence == self._last_sequence
            self._entries[entry.name] = entry
            self._of_shard.setdefault(entry.shard, {})[entry.name] = entry
            self._ids[entry.block_id] = entry
            self._bytes += entry.size
            self._sizes[entry.shard] += entry.size
            self._last_sequence = max(self._last_sequence, entry.sequence)

    def _keep(self, entries: Iterable[SpoolEntry], blocks: Iterable[bytes | bytearray]) -> None:
        room = self.keep_bytes - sum(map(len, self._kept.values()))
        for entry, data in zip(entries, blocks, strict=True):
            if len(data) > room:
                return  # what comes later is needed later
            self._kept[entry.name] = data
            room -= len(data)

    def _check_order(self, sequences: Sequence[int]) -> None:
        expected = [self.last_sequence, *sequences]
        if any(later <= earlier for earlier, later in pairwise(expected)):
            raise ValueError(f"sequences must grow: {expected}")

    def _forget(self, entry: SpoolEntry) -> None:
        with self._changed:
            self._kept.pop(entry.name, None)
            if self._entries.pop(entry.name, None) is not None:
                del self._of_shard[entry.shard][entry.name]
                self._ids.pop(entry.block_id, None)
                self._bytes -= entry.size
                self._sizes[entry.shard] -= entry.size
                self._full = ""
                self._changed.notify_all()

    def _reserve(self, size: int, *, alone: bool) -> None:
        with self._changed:
            # What is above the quota goes into an empty spool: refusing it for ever would stop its source.
            if self._bytes + size > self.quota_bytes and not (alone and not self._bytes):
                raise self._refuse("quota")
            if _free_bytes(self.folder) < size + FREE_RESERVE_BYTES:
                raise self._refuse("disk_full")
            self._bytes += size

    def _release(self, size: int) -> None:
        with self._changed:
            self._bytes -= size
            if not self._bytes and self._full == "quota":
                self._full = ""  # nothing is left that could leave and say so

    def _refuse(self, reason: str) -> SpoolFull:
        with self._changed:
            self._full = reason
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        return SpoolFull(reason, f"cannot spool block: {_WHY_FULL[reason]}")

    def _write(self, blocks: Sequence[tuple[int, bytes, bytes | bytearray]], shard: int) -> list[SpoolEntry]:
        """Write and fsync each file, then rename all, then one fsync of the folder for all of them."""
        now = time.time()
        entries = [
            SpoolEntry(sequence, block_id, len(data), now, shard) for sequence, block_id, data in blocks
        ]
        made: list[Path] = []
        try:
            for entry, (_, _, data) in zip(entries, blocks, strict=True):
                made.append(write_aside(self.folder / entry.name, data))
            for place, entry in enumerate(entries):
                made[place] = made[place].rename(self.folder / entry.name)
            fsync_folder(self.folder)
        except OSError:
            for path in made:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        return entries

    def _set_aside(self, path: Path, reason: str) -> Damaged:
        folder = self.folder / DAMAGED_FOLDER
        make_folder(folder)
        replace_file(folder / (path.name + ".reason"), reason.encode() + b"\n")
        os.rename(path, folder / path.name)
        fsync_folder(folder)
        self._reasons["damaged"] = self._reasons.get("damaged", 0) + 1
        return Damaged(path.name, reason)

    def _damaged_sequences(self) -> list[int]:
        folder = self.folder / DAMAGED_FOLDER
        found = []
        for path in folder.glob("*" + BLOCK_SUFFIX):
            with contextlib.suppress(BlockDamaged):
                found.append(_entry_of(path).sequence)
        return found


_WHY_FULL = {"quota": "its quota is used up", "disk_full": "the disk is full"}


def block_name(sequence: int, block_id: bytes, shard: int) -> str:
    """The name of a block's file."""
    behind = "" if shard == FIRST_SHARD else f"-{shard}"
    return f"{sequence:016x}-{block_id.hex()}{behind}{BLOCK_SUFFIX}"


def parts_of(name: str) -> tuple[int, bytes, int]:
    """Sequence, block id and shard, as a file's name says. Raises BlockDamaged where it is no such name."""
    sequence, _, rest = name.removesuffix(BLOCK_SUFFIX).partition("-")
    block_id, behind, shard = rest.partition("-")
    try:
        parts = int(sequence, 16), bytes.fromhex(block_id), int(shard) if behind else FIRST_SHARD
        if name == block_name(*parts) and len(block_id) == 32 and parts[2] >= FIRST_SHARD:
            return parts
    except ValueError:
        pass
    raise BlockDamaged(f"the file name is not one of a spooled block: {name}")


def _measured(waiting: dict[str, SpoolEntry], size: int) -> Waiting:
    oldest = next(iter(waiting.values()), None)
    return Waiting(len(waiting), size, max(0.0, time.time() - oldest.created) if oldest else 0.0)


def _entry_of(path: Path) -> SpoolEntry:
    """Read what a file's name says, and its size and age. Raises BlockDamaged where it is no such name."""
    sequence, block_id, shard = parts_of(path.name)
    found = path.stat()
    return SpoolEntry(sequence, block_id, found.st_size, found.st_mtime, shard)


def _free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
