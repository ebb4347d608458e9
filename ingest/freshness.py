"""How fresh searches are, by namespace: the newest event that is stored, and since when blocks wait that are not."""

import threading
import time
from collections.abc import Iterable, Mapping

from storage.native.block import Header

NANOS = 1e9


class Freshness:
    """Told of each block when it is taken, and when it is stored or set aside. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[str, float]] = {}  # oldest first, by the monotonic clock
        self._newest: dict[str, int] = {}

    def taken(self, headers: Iterable[Header], created: float | None = None) -> None:
        """These wait from now on, or since `created` (seconds since 1970) where an earlier process took them."""
        now = time.monotonic()
        since = now if created is None else now - max(0.0, time.time() - created)
        with self._lock:
            self._waiting.update((one.block_id, (one.namespace, since)) for one in headers)

    def stored(self, headers: Iterable[Header]) -> None:
        """These can be found."""
        with self._lock:
            for one in headers:
                self._waiting.pop(one.block_id, None)
                newest = self._newest.get(one.namespace, one.max_timestamp)
                self._newest[one.namespace] = max(newest, one.max_timestamp)

    def gone(self, block_ids: Iterable[bytes]) -> None:
        """These do not wait any more, and were not stored."""
        with self._lock:
            for block_id in block_ids:
                self._waiting.pop(block_id, None)

    def waiting(self) -> Mapping[str, float]:
        """By namespace, for how many seconds its oldest block has waited; 0 where none does."""
        now = time.monotonic()
        with self._lock:
            found = dict.fromkeys(self._newest, 0.0)
            for namespace, since in self._waiting.values():
                found[namespace] = max(found.get(namespace, 0.0), now - since)
        return found

    def ages(self) -> Mapping[str, float]:
        """By namespace, the seconds between now and the newest event that this process has stored."""
        now = time.time()
        with self._lock:
            return {namespace: max(0.0, now - newest / NANOS) for namespace, newest in self._newest.items()}
