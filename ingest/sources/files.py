"""Files followed over everything that happens to log files.

A path names a place; what is read is an identity (`ingest.identity`). Patterns are looked through again and
again: a path that leads to another identity now is a new file, and the old one is read to its end under its
own descriptor. What an earlier process left unread under a name of its own is found again at the start, and
what came and went between two looks is found beside the path (`ingest.sources.siblings`).
"""

import os
import re
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingest.batch import Batch, Labels
from ingest.checkpoints import Checkpoints, Progress
from ingest.counters import Counters
from ingest.identity import Mark
from ingest.sources import rotation
from ingest.sources.lineage import COPY_SECONDS, Lineage
from ingest.sources.names import expand, fixed_folder, kubernetes_of, matcher, service_of
from ingest.sources.packed import NotYetWhole
from ingest.sources.rotation import Key
from ingest.sources.siblings import Siblings
from ingest.sources.tail import MAX_CHUNK_BYTES, OpenFile, Replaced, Tail, relabel
from ingest.sources.wake import POLL_SECONDS, Wake

SCAN_SECONDS = 1.0
"""How long a new file can stay unseen; a look through the patterns costs a few microseconds a file."""
RENAMED_SECONDS = 300.0
"""A writer may go on with a renamed file until it reopens its log; so long without a byte and it is closed.
"""
DELETED_SECONDS = 5.0
"""The same for a deleted one, which keeps its disk space while it is open."""


@dataclass(slots=True)
class CutShort:
    """A compressed file that is not whole: since when, and its size and time when that was seen."""

    since: float
    state: tuple[int, int]


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
        self._lineage = Lineage(checkpoints, self._tails, once=once)
        self._siblings = Siblings(
            checkpoints,
            self._lineage,
            counters,
            is_open=self._tails.__contains__,
            is_named=self._matches,
        )
        self._unnamed: set[Key] = set()
        self._moved: dict[Key, float] = {}  # when a byte last came
        self._cut_short: dict[Key, CutShort] = {}
        self._finished: set[Key] = set()
        self._next_scan = 0.0
        self._wake = Wake(stop or threading.Event())
        self._buffer = memoryview(bytearray(MAX_CHUNK_BYTES))
        started = time.time_ns()
        self._recover()
        self.scan()
        self._siblings.begin(self._patterns, started, self._tails.values())

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
        self._siblings.new_scan()
        named: set[Key] = set()
        for pattern in self._patterns:
            paths = expand(pattern)
            if not paths or (self._once and all(map(os.path.isdir, paths))):
                self._missing(pattern)
            for path in paths:
                self._look_at(pattern, path, named)
        self._unnamed = set(self._tails) - named
        folders = {os.path.dirname(tail.path) for tail in self._tails.values()}
        self._wake.watch(folders | {fixed_folder(pattern) for pattern in self._patterns})

    def _look_at(self, pattern: str, path: str, named: set[Key]) -> None:
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                self._not_a_file(pattern, path, found)
                return
            key = rotation.key_of(found)
            self._read_siblings(pattern, path, key)
            if key in self._tails:
                if key not in named:
                    self._tails[key].rename(path)
            elif not self._is_still_cut_short(path, key, found):
                self._open(path, key)
        except OSError as error:
            self._trouble(path, error)
            return
        except NotYetWhole:
            self._wait_for_whole(path, key, found)
            return
        named.add(key)
        if key not in self._cut_short:
            self._counters.well(path)

    def _read_siblings(self, pattern: str, path: str, key: Key | None) -> None:
        for one in self._siblings.find(pattern, path, key):
            self._add(one.path, one.key, one.file, one.progress)

    def _open(self, path: str, key: Key) -> None:
        """Raises OSError, NotYetWhole."""
        self._go_on(path, key, rotation.open_content(path, key))

    def _go_on(self, path: str, key: Key, file: OpenFile) -> None:
        """Read on in a file, where it can be told yet what of it was read."""
        progress = self._lineage.progress_of(path, key, file)
        if progress is None:
            file.close()
        else:
            self._add(path, key, file, progress)

    def _add(self, path: str, key: Key, file: OpenFile, progress: Progress) -> None:
        service = self._labels.service or service_of(path)
        known = self._labels
        if container := kubernetes_of(path):
            known = replace(known, tags={**container, **known.tags}, container=True)
        labels = relabel(replace(known, service=service), path)
        self._tails[key] = Tail(path, key, file, labels, progress)
        self._moved[key] = time.monotonic()
        self._cut_short.pop(key, None)
        self._lineage.settled(key)
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
        """Read the new content, from its beginning unless it is a copy, and the rest of the old one from its copy."""
        self._counters.add("files_truncated")
        again = OpenFile(os.dup(tail.file.handle))
        mark = tail.footprint.mark(tail.generation)
        copy = rotation.find_copy(tail.path, mark, apart_from=set(self._tails))
        self._close(tail)
        self._lineage.replaced(tail.key, tail.path, mark)
        self._siblings.look_again(tail.path)
        progress = self._lineage.progress_of(tail.path, tail.key, again)
        if progress is None:
            again.close()  # a copy in the making: a scan to come opens it
        else:
            self._tails[tail.key] = Tail(tail.path, tail.key, again, tail.labels, progress)
            self._moved[tail.key] = time.monotonic()
        if copy is not None:
            self._adopt(*copy, tail.key, mark)

    def _adopt(self, path: str, key: Key, file: OpenFile, original: Key, mark: Mark) -> None:
        self._add(path, key, file, self._lineage.adopt(path, key, file, original, mark))

    def _close(self, tail: Tail) -> None:
        self._lineage.remember(tail.key, tail.progress())
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
                self._go_on(path, key, file)
                return True
            file.close()
            self._lineage.replaced(key, progress.path, mark)
        known = {(device, inode) for device, inode, _ in self._checkpoints.known()}
        copy = rotation.find_copy(progress.path, mark, apart_from=known) if mark is not None else None
        if copy is not None and mark is not None:
            self._adopt(*copy, key, mark)
        return path is not None

    def _open_known(self, path: str) -> OpenFile | None:
        try:
            return rotation.open_content(path)
        except (OSError, NotYetWhole):
            return None  # the scan that follows says why

    def _matches(self, path: str) -> bool:
        return any(pattern.fullmatch(path) for pattern in self._matchers)

    def _missing(self, pattern: str) -> None:
        if os.path.isdir(pattern):
            self._counters.trouble(pattern, "cannot read files: the folder has none; check the path")
        elif not re.search(r"[*?[]", pattern):
            self._counters.trouble(pattern, "cannot read file: it is not there; check the path")
            self._read_siblings(pattern, pattern, None)
        elif self._once:
            self._counters.trouble(pattern, "cannot read files: none matches; check the pattern")

    def _trouble(self, path: str, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._counters.trouble(path, f"cannot read file: {(error.strerror or str(error)).lower()}")

    def _not_a_file(self, pattern: str, path: str, found: os.stat_result) -> None:
        """Folders among what a pattern finds are passed over; what was named outright is told of."""
        if pattern == path and not stat.S_ISDIR(found.st_mode):
            self._counters.trouble(path, "cannot read file: it is no regular file; pipe it into neve ship -")

    def _is_still_cut_short(self, path: str, key: Key, found: os.stat_result) -> bool:
        """Unpacking it again tells nothing new while it has not changed."""
        known = self._cut_short.get(key)
        if known is None or known.state != (found.st_size, found.st_mtime_ns):
            return False
        self._tell_cut_short(path, known)
        return True

    def _wait_for_whole(self, path: str, key: Key, found: os.stat_result) -> None:
        state = (found.st_size, found.st_mtime_ns)
        known = self._cut_short.setdefault(key, CutShort(time.monotonic(), state))
        known.state = state
        self._tell_cut_short(path, known)

    def _tell_cut_short(self, path: str, known: CutShort) -> None:
        """A compressed file may be in the making; one that stays cut short is a trouble to tell of."""
        if self._once or time.monotonic() - known.since > COPY_SECONDS:
            self._counters.trouble(path, "cannot read file: its compressed data are not whole")
