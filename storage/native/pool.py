"""A bounded pool of connections; thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from storage.config import ClickHouseConfig
from storage.errors import StorageUnavailable
from storage.native.connection import NativeConnection


class Pool:
    """Up to `config.pool_size` connections, lent to one thread at a time.

    The one used last is lent first. One that the server has closed meanwhile, or that comes back unusable, is
    thrown away.
    """

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._free: list[NativeConnection] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(config.pool_size)
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[NativeConnection]:
        """Lend a connection; waits for one up to the connect timeout, then StorageUnavailable."""
        if not self._slots.acquire(timeout=self._config.connect_timeout):
            raise StorageUnavailable(f"cannot get a connection: all {self._config.pool_size} are in use")
        try:
            connection = self._take() or NativeConnection(self._config)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the free connections now and the lent ones when they come back."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    def _take(self) -> NativeConnection | None:
        while True:
            with self._lock:
                if not self._free:
                    return None
                connection = self._free.pop()
            if not connection.is_stale():
                return connection
            connection.close()

    def _give_back(self, connection: NativeConnection) -> None:
        with self._lock:
            if connection.usable and not self._closed:
                self._free.append(connection)
                return
        connection.close()
