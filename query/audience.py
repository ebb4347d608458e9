"""Who watches what of a live tail: viewers by filter, what is told to them, and what they are told is missing."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterator

from query.digest import TailFilter
from query.tailsource import Source
from query.viewers import Budget, Chunk, Gap, Viewer
from storage.errors import NeveError

log = logging.getLogger("neve.query")
DELIVERED = 1 << 16  # ids of blocks that are not told twice
BEHIND = "the server is behind"
FAULT = "a fault of the server's own"


class Audience:
    """Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.budget = Budget()
        self._watched: dict[TailFilter, list[Viewer]] = {}
        self._delivered: OrderedDict[bytes, None] = OrderedDict()

    @property
    def viewers(self) -> int:
        return sum(map(len, self._watched.values()))

    @property
    def filters(self) -> int:
        return len(self._watched)

    def add(self, wanted: TailFilter, viewer: Viewer) -> None:
        self._watched.setdefault(wanted, []).append(viewer)

    def leave(self, wanted: TailFilter, viewer: Viewer) -> None:
        """Harmless when repeated."""
        viewer.end()
        viewers = self._watched.get(wanted, [])
        if viewer in viewers:
            viewers.remove(viewer)
        if not viewers:
            self._watched.pop(wanted, None)

    def wake(self) -> None:
        """Everybody looks up."""
        for viewers in self._watched.values():
            for viewer in viewers:
                viewer.ready.set()

    def wanted(self, namespace: str) -> list[TailFilter]:
        """The distinct filters that are watched there."""
        return [wanted for wanted in self._watched if wanted.namespace == namespace]

    def is_new(self, block_id: bytes) -> bool:
        """Was it never told? From now on it was."""
        if self.was_told(block_id):
            return False
        self._delivered[block_id] = None
        if len(self._delivered) > DELIVERED:
            self._delivered.popitem(last=False)
        return True

    def was_told(self, block_id: bytes) -> bool:
        return block_id in self._delivered

    def tell(
        self, source: Source, sequence: int, block_id: bytes, found: dict[TailFilter, list[Chunk]]
    ) -> None:
        """What each filter found in a block."""
        for wanted, chunks in found.items():
            for viewer in self._watched.get(wanted, ()):
                if not viewer.has(block_id, source.run, sequence):
                    for chunk in chunks:
                        viewer.offer(chunk)

    def tell_gap(self, gap: Gap, namespace: str | None = None, alone: Gap | None = None) -> None:
        """`alone`: what is said to those for whom not all events exist."""
        for wanted, viewers in self._watched.items():
            if namespace in (None, wanted.namespace):
                for viewer in viewers:
                    viewer.tell(alone if alone is not None and wanted.alone else gap)

    def tell_of(self, source: Source, what: str, *, unknown: bool = True) -> None:
        gap, alone = source.gaps(what, unknown=unknown)
        self.tell_gap(gap, None, alone)

    @contextlib.contextmanager
    def told_of_faults(self) -> Iterator[list[Exception]]:
        """Whatever goes wrong inside, viewers are told, and the next block is told. What did is in the list then."""
        faults: list[Exception] = []
        try:
            yield faults
        except NeveError as error:
            log.warning("%s", error)
            self.tell_gap(Gap(0, BEHIND, unknown=True))
            faults.append(error)
        except Exception as error:
            log.exception("fault while telling viewers")
            self.tell_gap(Gap(0, FAULT, unknown=True))
            faults.append(error)
