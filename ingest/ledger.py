"""The ids of what was accepted and has left the spool, so that a late resend is known for what it is.

While a block is in the spool its file name is the entry. Before that file is unlinked its id is appended here
and fsynced. Records have one size and a checksum each: a torn tail is cut off, a damaged record is passed
over. The last record of an id holds: its time below zero says that the block was set aside as a dead letter, zero
that the id is forgotten, because its block is about to be put back. A record of no id says until when ids were
forgotten because of the window, so that it can be told whose word nobody can take any more.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from zlib import crc32

from ingest.durable import make_folder, replace_file, write_all

ID_BYTES = 16
WINDOW_IDS = 1 << 18
"""The window by count: 40 minutes of a block a second from each of 100 agents; 25 MB of memory."""
WINDOW_SECONDS = 7 * 86400
"""The window by age: a sender that was away for a week-end still meets its own ids."""
NO_ID = bytes(ID_BYTES)
SLACK_SECONDS = 900
"""By how much the clocks of senders may be ahead."""
_RECORD = Struct(f"<{ID_BYTES}sq")
_CHECKSUM = Struct("<I")
RECORD_BYTES = _RECORD.size + _CHECKSUM.size


class Ledger:
    """Append-only file of ids with a bounded memory of them. Thread-safe."""

    def __init__(
        self, path: Path, window_ids: int = WINDOW_IDS, window_seconds: float = WINDOW_SECONDS
    ) -> None:
        """Reads the file and cuts off a torn tail. Raises OSError."""
        self.path = path
        self._window_ids = window_ids
        self._window_seconds = window_seconds
        self._known: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._forgotten_through = 0
        self.damaged_records = 0
        make_folder(path.parent)
        if not path.exists():
            replace_file(path, b"")
        self._load()
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def append(self, ids: Iterable[bytes], now: float | None = None) -> None:
        """Remember `ids` (16 bytes each) as done with, durably on return. Raises OSError."""
        moment = int(time.time() if now is None else now)
        with self._lock:
            self._write({one: moment for one in ids if self._known.get(one, 0) <= 0})

    def set_aside(self, ids: Iterable[bytes]) -> None:
        """Remember `ids` as kept among the dead letters, durably on return. Raises OSError."""
        moment = -int(time.time())
        with self._lock:
            self._write({one: moment for one in ids if one not in self._known})

    def forget(self, ids: Iterable[bytes]) -> None:
        """Take out `ids` that were set aside, durably on return. Raises OSError."""
        with self._lock:
            self._write({one: 0 for one in ids if self._known.get(one, 0) < 0})

    def doubt_through(self, moment: float) -> None:
        """Of what was made until `moment`, ids that are not here may have been known once. Durable on return."""
        with self._lock:
            self._write({NO_ID: int(moment)})

    def is_done(self, one: bytes) -> bool:
        """Was it taken by who comes after, and not merely set aside?"""
        return self._known.get(one, 0) > 0

    def may_have_forgotten(self, created: float) -> bool:
        """May a block that was made at `created` (seconds since 1970) be one that it knew once?"""
        return created <= self._forgotten_through + SLACK_SECONDS if self._forgotten_through else False

    def _write(self, changes: dict[bytes, int]) -> None:
        if not changes:
            return
        whole = self._records() * RECORD_BYTES
        # What a full disk has left of a record would put all that comes after it out of step.
        os.ftruncate(self._handle, whole)
        try:
            write_all(self._handle, b"".join(_record(*change) for change in changes.items()))
            os.fdatasync(self._handle)
        except OSError:
            with contextlib.suppress(OSError):  # else the next one does it
                os.ftruncate(self._handle, whole)
            raise
        for change in changes.items():
            self._learn(*change)
        if self._records() > 2 * self._window_ids:
            self._prune(time.time())

    def _learn(self, one: bytes, moment: int) -> None:
        if one == NO_ID:
            self._forgotten_through = max(self._forgotten_through, moment)
            return
        self._known.pop(one, None)  # so that it goes to the end
        if moment:
            self._known[one] = moment

    def prune(self, now: float | None = None) -> None:
        """Forget what is beyond the window by age or count; write the file anew. Raises OSError."""
        with self._lock:
            self._prune(time.time() if now is None else now)

    def _prune(self, now: float) -> None:
        oldest = now - self._window_seconds
        kept = [(one, moment) for one, moment in self._known.items() if abs(moment) >= oldest]
        kept = kept[-self._window_ids :]
        staying = {one for one, _ in kept}
        forgotten = [abs(moment) for one, moment in self._known.items() if one not in staying]
        self._learn(NO_ID, max(forgotten, default=0))
        records = [(NO_ID, self._forgotten_through), *kept] if self._forgotten_through else kept
        replace_file(self.path, b"".join(_record(one, moment) for one, moment in records))
        os.close(self._handle)
        self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._known = dict(kept)

    def __contains__(self, one: bytes) -> bool:
        return one in self._known

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        """Close the file; nothing is pending."""
        os.close(self._handle)

    def _records(self) -> int:
        return os.fstat(self._handle).st_size // RECORD_BYTES

    def _load(self) -> None:
        data = self.path.read_bytes()
        whole = len(data) - len(data) % RECORD_BYTES
        sound = True
        for place in range(0, whole, RECORD_BYTES):
            sound = self._take(data[place : place + RECORD_BYTES])
        if self.damaged_records:  # no later than what comes after it, or than the last write
            latest = max(map(abs, self._known.values()), default=0)
            self._learn(NO_ID, latest if sound else max(latest, int(self.path.stat().st_mtime)))
        if whole != len(data):
            os.truncate(self.path, whole)

    def _take(self, record: bytes) -> bool:
        """Learn what a record says; False where it is damaged."""
        body, checksum = record[: _RECORD.size], record[_RECORD.size :]
        if crc32(body) != _CHECKSUM.unpack(checksum)[0]:
            self.damaged_records += 1
            return False
        one, moment = _RECORD.unpack(body)
        self._learn(one, moment)
        return True


def _record(one: bytes, moment: int) -> bytes:
    if len(one) != ID_BYTES:
        raise ValueError(f"an id has {ID_BYTES} bytes, not {len(one)}")
    body = _RECORD.pack(one, moment)
    return body + _CHECKSUM.pack(crc32(body))
