"""When small blocks have waited long enough for company: as long on several shards as on one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GATHER_SECONDS = 0.25
"""Small blocks wait for company so long after the INSERT before: four parts a second are merged with ease."""


class Pace:
    """INSERTs of one process, whichever shard they are for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._ended = float("-inf")

    @contextmanager
    def storing(self) -> Iterator[None]:
        """While blocks are stored."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._ended = time.monotonic()

    def left(self, waited: float) -> float:
        """Seconds that a shard's blocks wait still, of which the oldest has waited so many.

        Where others store, a shard has been without blocks and more are to come: what came first is not to be an INSERT
        alone.
        """
        with self._lock:
            quiet = 0.0 if self._under_way else time.monotonic() - self._ended
        return GATHER_SECONDS - max(quiet, waited)
