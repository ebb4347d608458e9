"""Where does reading begin in a file that turns up? It may be known, a copy of one that is known, or new."""

import os
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from ingest.checkpoints import Checkpoints, Progress
from ingest.identity import Content, Mark
from ingest.sources import rotation
from ingest.sources.rotation import Family, Key
from ingest.sources.tail import OpenFile, Tail

COPY_SECONDS = 10.0
"""How long a rotation may take between copying a file and truncating it."""
MAX_CLOSED = 4096
"""Identities remembered in memory after they were closed."""


class Lineage:
    """What is known of files beyond those that are open. `tails` are those, kept by the caller."""

    def __init__(self, checkpoints: Checkpoints, tails: Mapping[Key, Tail], *, once: bool) -> None:
        self._checkpoints = checkpoints
        self._tails = tails
        self._once = once
        self._closed: dict[Key, Progress] = {}
        self._replaced: deque[tuple[Key, str, Mark]] = deque(maxlen=MAX_CLOSED)
        self._postponed: dict[Key, float] = {}  # copies that an open file may be truncated after

    def remember(self, key: Key, progress: Progress) -> None:
        """A file was closed, read so far."""
        self._closed[key] = progress
        if len(self._closed) > MAX_CLOSED:
            self._closed.pop(next(iter(self._closed)))

    def replaced(self, key: Key, path: str, mark: Mark) -> None:
        """Other content is under this identity now; what was read up to `mark` may turn up in a copy."""
        self._replaced.append((key, path, mark))

    def settled(self, key: Key) -> None:
        """The file is open now."""
        self._postponed.pop(key, None)

    def known(self, key: Key) -> Progress | None:
        """What is known under this identity, be it of other content."""
        return self._closed.get(key) or self._checkpoints.progress(*key)

    def progress_of(self, path: str, key: Key, file: OpenFile) -> Progress | None:
        """Where to begin in a file that is followed; None while that cannot be told yet."""
        known = self.known(key)
        kin = rotation.family(path)
        rotated = kin[1] != os.path.basename(path)
        if known is not None and _holds(known, file) and (_was_read(known) or not rotated):
            return self.continued(path, key, file, known)
        if rotated:
            if not file.size():
                return None  # what is copied into it may be known
            original = self._known_copy(key, file, [kin], gone=True)
            if original is not None:
                return self.adopt(path, key, file, *original)
            if self._may_be_copy(path, key, file):
                return None
        return self._begun_anew(path, known)

    def progress_of_sibling(
        self, path: str, key: Key, file: OpenFile, kin: Collection[Family]
    ) -> Progress | None:
        """The same for a rotated file of a family that is followed; None where nothing in it is to be read.

        Nobody named it, so a copy of what is known is left alone while the original is there, or its end is not noticed
        yet: then its reader looks for the copy.
        """
        known = self.known(key)
        if known is not None and _holds(known, file) and _was_read(known):
            known = self.continued(path, key, file, known)
            return known if file.size() > known.offset else None
        if any(
            rotation.family(tail.path) in kin and (rotation.is_copy(file, tail.file) or tail.went_to(file))
            for tail in self._tails.values()
        ):
            return None
        original = self._known_copy(key, file, kin, gone=False)
        if original is not None:
            gone = self._known_copy(key, file, kin, gone=True)
            return self.adopt(path, key, file, *gone) if gone is not None else None
        return self._begun_anew(path, known)

    def adopt(self, path: str, key: Key, file: Content, original: Key, mark: Mark) -> Progress:
        """Go on reading, in a copy, after what was read from the original: up to its mark."""
        known = self.known(key)
        progress = known if known is not None and _holds(known, file) else self._begun_anew(path, known)
        mine = replace(mark, generation=progress.generation)
        progress.marks.append(mine)
        progress.reach(mine.offset)
        self._checkpoints.adopt(*key, path, mine, (original, mark.generation))
        self.settled(key)
        return progress

    def _begun_anew(self, path: str, known: Progress | None) -> Progress:
        """Of content that was not under this identity before."""
        return Progress(path, 0 if known is None else known.generation + 1)

    def continued(self, path: str, key: Key, file: Content, known: Progress) -> Progress:
        """What is known of a file, and, where only ranges of it are, what was read before them from its original."""
        if known.ahead:
            original = self._known_copy(key, file, rotation.families(path), gone=True)
            if original is not None:
                known.reach(original[1].offset)
        return known

    def _known_copy(
        self, key: Key, file: Content, kin: Collection[Family], *, gone: bool
    ) -> tuple[Key, Mark] | None:
        """Of what file of the family this one has the content, and how far that was read; if it is `gone`."""
        for its_key, path, mark in self._replaced_contents():
            if its_key != key and rotation.family(path) in kin and rotation.holds(mark, file):
                return its_key, mark
        known = [*self._closed.items(), *(((d, i), p) for d, i, p in self._checkpoints.known())]
        for its_key, progress in known:
            if its_key == key or its_key in self._tails or rotation.family(progress.path) not in kin:
                continue
            mark_there = progress.latest
            if mark_there is None or not rotation.holds(mark_there, file):
                continue
            if not gone or not rotation.is_there(its_key, progress.path, mark_there):
                return its_key, mark_there
        return None

    def _replaced_contents(self) -> Iterator[tuple[Key, str, Mark]]:
        """What was read of contents that are no longer under their identity; what this process read first."""
        yield from reversed(self._replaced)
        for device, inode, progress in self._checkpoints.known():
            for mark in reversed(progress.former):
                yield (device, inode), progress.path, mark

    def _may_be_copy(self, path: str, key: Key, file: OpenFile) -> bool:
        """Is rotation copying it from a file that is open here? Then that one's truncation decides."""
        if self._once:
            return False
        waited = time.monotonic() - self._postponed.setdefault(key, time.monotonic())
        kin = rotation.family(path)
        for tail in self._tails.values():
            if rotation.family(tail.path) == kin and tail.begins_like(file):
                return waited < COPY_SECONDS
        return False


def _holds(known: Progress, file: Content) -> bool:
    return known.latest is None or known.latest.matches(file)


def _was_read(known: Progress) -> bool:
    """Any of it; else its mark says nothing of what it holds."""
    return known.latest is not None and known.latest.offset > 0
