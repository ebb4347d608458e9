"""Rotated files that came and went while nobody looked: created, written and renamed between two looks.

A pattern may name the live file alone (`app.log`). Whenever that path leads to another file than before, and at
every start, the files beside it are looked at that are named as its rotated versions. One that is not known, by
identity or as a copy of what is known, is read from its beginning, the oldest first.

Archives from before the first start are not read. What lay there then counts as known: plain files by identity
and content, and anything by its time: a file whose last write is older than the moment at which the agent
first followed the pattern (kept beside the checkpoints) is none of ours. Compressing keeps that time.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ingest.checkpoints import Checkpoints, Progress
from ingest.counters import Counters
from ingest.identity import Footprint
from ingest.sources import rotation
from ingest.sources.lineage import Lineage
from ingest.sources.names import expand, is_compressed, root_of
from ingest.sources.packed import NotYetWhole
from ingest.sources.rotation import Family, Key
from ingest.sources.tail import OpenFile, Tail

FRESH_SECONDS = 60.0
"""A file that cannot be read yet is tried again while it was written in the last minute: a compression runs."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file to read, open, and where to begin."""

    path: str
    key: Key
    file: OpenFile
    progress: Progress


@dataclass(slots=True)
class Place:
    """A followed path: where it led, and what beside it gave nothing, by size and time."""

    key: Key | None
    settled: bool = False
    looked: dict[Key, tuple[int, int]] = field(default_factory=dict)


class Siblings:
    """Finds them. `is_open` and `is_named` say what is read already and what a pattern finds by itself."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        lineage: Lineage,
        counters: Counters,
        *,
        is_open: Callable[[Key], bool],
        is_named: Callable[[str], bool],
    ) -> None:
        self._checkpoints = checkpoints
        self._lineage = lineage
        self._counters = counters
        self._is_open = is_open
        self._is_named = is_named
        self._places: dict[str, Place] = {}
        self._listings: dict[str, dict[str, list[str]]] = {}

    def begin(self, patterns: Sequence[str], now_ns: int, tails: Iterable[Tail]) -> None:
        """Note, durably, patterns that are followed for the first time, since `now_ns`, and what is open.

        Raises OSError.
        """
        fresh = [pattern for pattern in patterns if self._checkpoints.began(pattern) is None]
        for tail in tails if fresh else ():
            if self._lineage.known(tail.key) is None:  # not a byte of it is durable yet
                self._checkpoints.adopt(*tail.key, tail.path, Footprint().mark(tail.generation))
        for pattern in fresh:
            for path in expand(pattern) or [pattern]:
                for other, found in self._relatives(path):
                    if found.st_mtime_ns < now_ns and not is_compressed(other):
                        self._adopt(other, rotation.key_of(found))
        if fresh:
            self._checkpoints.begin(fresh, now_ns)

    def new_scan(self) -> None:
        """Folders may hold other files than in the last look through the patterns."""
        self._listings.clear()

    def look_again(self, path: str) -> None:
        """The content at `path` was replaced under the same identity."""
        self._places.pop(path, None)

    def find(self, pattern: str, path: str, key: Key | None) -> Iterator[Sibling]:
        """What is to be read before the file `key` that `path` leads to now. The caller opens each at once."""
        place = self._places.get(path)
        if place is None or place.key != key:
            place = self._places[path] = Place(key)
        began = self._checkpoints.began(pattern)
        if place.settled or began is None:
            return
        place.settled = True
        kin = rotation.families(path)
        for other, found in sorted(self._relatives(path), key=lambda one: one[1].st_mtime_ns):
            if found.st_mtime_ns < began:
                continue
            sibling = self._open(place, other, found, kin)
            if sibling is not None:
                self._counters.add("siblings_found")
                yield sibling

    def _open(self, place: Place, path: str, found: os.stat_result, kin: Sequence[Family]) -> Sibling | None:
        key, state = rotation.key_of(found), (found.st_size, found.st_mtime_ns)
        if place.looked.get(key) == state:
            place.settled &= not _is_fresh(found)
            return None
        place.looked[key] = state
        try:
            file = rotation.open_content(path, key)
        except FileNotFoundError:  # it has another name by now
            del place.looked[key]
            place.settled = False
            return None
        except (OSError, NotYetWhole) as error:
            self._not_yet(place, path, found, error)
            return None
        progress = self._lineage.progress_of_sibling(path, key, file, kin)
        if progress is not None and file.size():
            self._counters.well(path)
            return Sibling(path, key, file, progress)
        place.settled &= file.size() > 0 or not _is_fresh(found)
        file.close()
        return None

    def _not_yet(self, place: Place, path: str, found: os.stat_result, error: OSError | NotYetWhole) -> None:
        """One that is being written is tried again."""
        if _is_fresh(found):
            place.settled = False
        elif isinstance(error, NotYetWhole):
            self._counters.trouble(path, "cannot read file: its compressed data are not whole")
        else:
            self._counters.trouble(path, f"cannot read file: {(error.strerror or str(error)).lower()}")

    def _relatives(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """Files beside `path` that are named as its rotated versions, and that nobody reads."""
        kin, itself = rotation.families(path), {path, os.path.realpath(path)}
        if kin[0][1] != os.path.basename(path):
            return  # itself a rotated version
        for folder, root in kin:
            for name in self._listing(folder).get(root, ()):
                other = os.path.join(folder, name)
                found = None if other in itself or self._is_named(other) else rotation.regular(other)
                if found is not None and not self._is_open(rotation.key_of(found)):
                    yield other, found

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """The names in a folder by their root; read once a scan, however many files are followed in it."""
        known = self._listings.get(folder)
        if known is None:
            known = self._listings[folder] = {}
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            for name in names:
                known.setdefault(root_of(name), []).append(name)
        return known

    def _adopt(self, path: str, key: Key) -> None:
        if self._lineage.known(key) is not None:
            return
        try:
            file = rotation.open_content(path, key)
        except (OSError, NotYetWhole):
            return
        self._checkpoints.adopt(*key, path, Footprint.of(file, file.size()).mark(0))
        file.close()


def _is_fresh(found: os.stat_result) -> bool:
    return time.time() - found.st_mtime < FRESH_SECONDS
