"""Files followed over everything that happens to log files.

A path names a place; what is read is an identity (`ingest.identity`). Patterns are looked through again and
again: a path that leads to another identity now is a new file, and the old one is read to its end under its
own descriptor. What an earlier process left unread under a name of its own is found again at the start.
"""

import os
import re
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from ingest.batch import Batch, Labels
from ingest.checkpoints import Checkpoints, Progress
from ingest.counters import Counters
from ingest.identity import Mark
from ingest.sources import rotation
from ingest.sources.names import expand, fixed_folder, matcher, root_of, service_of
from ingest.sources.rotation import Key, NotYetWhole
from ingest.sources.tail import MAX_CHUNK_BYTES, OpenFile, Replaced, Tail, relabel
from ingest.sources.wake import POLL_SECONDS, Wake

SCAN_SECONDS = 1.0
"""How long a new file can stay unseen; a look through the patterns costs a few microseconds a file."""
RENAMED_SECONDS = 300.0
"""A writer may go on with a renamed file until it reopens its log; so long without a byte and it is closed.
"""
DELETED_SECONDS = 5.0
"""The same for a deleted one, which keeps its disk space while it is open."""
COPY_SECONDS = 10.0
"""How long a rotation may take between copying a file and truncating it."""
MAX_CLOSED = 4096
"""Identities remembered in memory after they were closed."""


class Files:
    """Every file that `patterns` name, now and later. Used by one thread."""

    def __init__(
        self,
        patterns: Sequence[str],
        checkpoints: Checkpoints,
        labels: Labels,
        counters: Counters,
        *,
        once: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        self._patterns = [os.path.abspath(pattern) for pattern in patterns]
        self._matchers = [matcher(pattern) for pattern in self._patterns]
        self._checkpoints = checkpoints
        self._labels = labels
        self._counters = counters
        self._once = once
        self._tails: dict[Key, Tail] = {}
        self._closed: dict[Key, Progress] = {}
        self._unnamed: set[Key] = set()
        self._moved: dict[Key, float] = {}  # when a byte last came
        self._postponed: dict[Key, float] = {}  # copies that an open file may be truncated after
        self._cut_short: dict[Key, float] = {}  # compressed files that are not whole
        self._finished: set[Key] = set()
        self._next_scan = 0.0
        self._wake = Wake(stop or threading.Event())
        self._buffer = memoryview(bytearray(MAX_CHUNK_BYTES))
        self._recover()
        self.scan()

    def read(self, batch: Batch) -> int:
        """Move what is new into `batch`, until it is full; return the bytes moved."""
        if time.monotonic() >= self._next_scan:
            self.scan()
        moved = 0
        for tail in list(self._tails.values()):
            if batch.full:
                break
            moved += self._read_tail(tail, batch)
        return moved

    @property
    def finished(self) -> bool:
        """With `once`: has every file been read to its end?"""
        return self._once and self._finished.issuperset(self._tails)

    @property
    def behind(self) -> bool:
        """Is there more to read right now?"""
        return any(tail.behind for tail in self._tails.values())

    @property
    def open_files(self) -> int:
        return len(self._tails)

    def sleep(self, seconds: float = POLL_SECONDS) -> None:
        """Wait for a change, at most `seconds`."""
        if self._wake.sleep(min(seconds, POLL_SECONDS)):
            self._next_scan = 0.0  # a file came, went or was renamed

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        self._wake.close()

    def scan(self) -> None:
        """Look through the patterns: open what is new, note what lost its name."""
        self._next_scan = time.monotonic() + SCAN_SECONDS
        named: set[Key] = set()
        for pattern in self._patterns:
            paths = expand(pattern)
            if not paths:
                self._missing(pattern)
            for path in paths:
                self._look_at(path, named)
        self._unnamed = set(self._tails) - named
        folders = {os.path.dirname(tail.path) for tail in self._tails.values()}
        self._wake.watch(folders | {fixed_folder(pattern) for pattern in self._patterns})

    def _look_at(self, path: str, named: set[Key]) -> None:
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return
            key = (found.st_dev, found.st_ino)
            if key in self._tails:
                if key not in named:
                    self._tails[key].rename(path)
            else:
                self._open(path, key)
        except OSError as error:
            self._trouble(path, error)
            return
        except NotYetWhole:
            self._wait_for_whole(path, key)
            return
        named.add(key)
        self._counters.well(path)

    def _open(self, path: str, key: Key) -> None:
        """Raises OSError, NotYetWhole."""
        file = rotation.open_content(path)
        progress = self._progress_of(path, key, file)
        if progress is None:
            file.close()
            return
        self._postponed.pop(key, None)
        self._cut_short.pop(key, None)
        self._add(path, key, file, progress)

    def _progress_of(self, path: str, key: Key, file: OpenFile) -> Progress | None:
        """Where to begin; None while it cannot be told yet."""
        known = self._closed.get(key) or self._checkpoints.progress(*key)
        if known is not None:
            latest = known.latest
            if latest is None or latest.matches(file):
                return known
            return Progress(path, known.generation + 1)
        if root_of(os.path.basename(path)) != os.path.basename(path):
            original = self._vanished_original(path, file)
            if original is not None:
                self._checkpoints.adopt(*key, path, original)
                return Progress(path, 0, original.offset, [], [original])
            if self._may_be_copy(path, key, file):
                return None
        return Progress(path, 0)

    def _vanished_original(self, path: str, file: OpenFile) -> Mark | None:
        """Where reading ended in a file that is gone, if this one has its content."""
        folder, root = os.path.dirname(path), root_of(os.path.basename(path))
        known = [*self._closed.items(), *(((d, i), p) for d, i, p in self._checkpoints.known())]
        for key, progress in known:
            its_folder, its_name = os.path.split(progress.path)
            if key in self._tails or its_folder != folder or root_of(its_name) != root:
                continue
            mark = progress.latest
            if mark is not None and mark.offset and mark.matches(file):
                return replace(mark, generation=0) if rotation.locate(key, progress.path) is None else None
        return None

    def _may_be_copy(self, path: str, key: Key, file: OpenFile) -> bool:
        """Is rotation copying it from a file that is open here? Then that one's truncation decides."""
        if self._once:
            return False
        waited = time.monotonic() - self._postponed.setdefault(key, time.monotonic())
        folder, root = os.path.dirname(path), root_of(os.path.basename(path))
        for tail in self._tails.values():
            its_folder, its_name = os.path.split(tail.path)
            if its_folder == folder and root_of(its_name) == root and tail.begins_like(file):
                return waited < COPY_SECONDS
        return False

    def _add(self, path: str, key: Key, file: OpenFile, progress: Progress) -> None:
        service = self._labels.service or service_of(path)
        labels = relabel(replace(self._labels, service=service), path)
        self._tails[key] = Tail(path, key, file, labels, progress)
        self._moved[key] = time.monotonic()
        self._counters.add("files_opened")

    def _read_tail(self, tail: Tail, batch: Batch) -> int:
        key = tail.key
        if key in self._finished:
            return 0
        ending = self._once or self._ending(tail)
        try:
            moved = tail.read(batch, self._buffer, final=ending)
        except Replaced:
            self._replace(tail)
            return 0
        except OSError as error:
            self._trouble(tail.path, error)
            self._close(tail)
            return 0
        if moved:
            self._moved[key] = time.monotonic()
        elif ending and not tail.behind and not self._once:
            self._close(tail)
        if self._once and not tail.behind:
            self._finished.add(key)
        return moved

    def _ending(self, tail: Tail) -> bool:
        """Has a file without a name been silent for long enough to be at its end for good?"""
        if tail.key not in self._unnamed or tail.behind:
            return False
        deleted = os.fstat(tail.file.handle).st_nlink == 0
        silent = time.monotonic() - self._moved[tail.key]
        return silent > (DELETED_SECONDS if deleted else RENAMED_SECONDS)

    def _replace(self, tail: Tail) -> None:
        """Read the new content from its beginning, and the rest of the old one from its copy."""
        self._counters.add("files_truncated")
        again = OpenFile(os.dup(tail.file.handle))
        copy = rotation.find_copy(tail.path, tail.footprint.mark(0), apart_from=set(self._tails))
        self._close(tail)
        self._closed.pop(tail.key)
        self._tails[tail.key] = Tail(
            tail.path, tail.key, again, tail.labels, Progress(tail.path, tail.generation + 1)
        )
        self._moved[tail.key] = time.monotonic()
        if copy is not None:
            path, key, file = copy
            self._adopt(path, key, file, tail.footprint.mark(0))

    def _adopt(self, path: str, key: Key, file: OpenFile, mark: Mark) -> None:
        """Go on reading, in a copy, after what was read from the original."""
        mark = replace(mark, generation=0)
        self._checkpoints.adopt(*key, path, mark)
        self._postponed.pop(key, None)
        self._add(path, key, file, Progress(path, 0, mark.offset, [], [mark]))

    def _close(self, tail: Tail) -> None:
        self._closed[tail.key] = tail.progress()
        if len(self._closed) > MAX_CLOSED:
            self._closed.pop(next(iter(self._closed)))
        tail.close()
        del self._tails[tail.key]

    def _recover(self) -> None:
        """Find what an earlier process knew and no pattern names now, or whose content moved."""
        gone = []
        for device, inode, progress in self._checkpoints.known():
            if self._matches(progress.path) and not self._find_again((device, inode), progress):
                gone.append((device, inode))
        self._checkpoints.forget(gone)

    def _find_again(self, key: Key, progress: Progress) -> bool:
        """Open the file where it was renamed to, or its copy; tell whether the file itself is there."""
        mark = progress.latest
        path = rotation.locate(key, progress.path)
        if path is not None:
            file = self._open_known(path)
            if file is None:
                return True
            if mark is None or mark.matches(file):
                self._add(path, key, file, progress)
                return True
            file.close()
        known = {(device, inode) for device, inode, _ in self._checkpoints.known()}
        copy = rotation.find_copy(progress.path, mark, apart_from=known) if mark is not None else None
        if copy is not None and mark is not None:
            self._adopt(*copy, mark)
        return path is not None

    def _open_known(self, path: str) -> OpenFile | None:
        try:
            return rotation.open_content(path)
        except (OSError, NotYetWhole):
            return None  # the scan that follows says why

    def _matches(self, path: str) -> bool:
        return any(pattern.fullmatch(path) for pattern in self._matchers)

    def _missing(self, pattern: str) -> None:
        if not re.search(r"[*?[]", pattern):
            self._counters.trouble(pattern, "cannot read file: it is not there")

    def _trouble(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._counters.trouble(path, f"cannot read file: {(error.strerror or str(error)).lower()}")

    def _wait_for_whole(self, path: str, key: Key) -> None:
        """A compressed file may be in the making; one that stays cut short is a trouble to tell of."""
        waited = time.monotonic() - self._cut_short.setdefault(key, time.monotonic())
        if self._once or waited > COPY_SECONDS:
            self._counters.trouble(path, "cannot read file: its compressed data are not whole")
