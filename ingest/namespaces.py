"""Which namespaces exist, as far as the gateway knows; remembered on disk for when ClickHouse is away."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ingest.durable import make_folder, replace_file
from storage.errors import NamespaceUnknown, StorageUnavailable
from storage.schema import namespace_database

PATIENCE_SECONDS = 1.0
"""How long a request waits for another that asks about a namespace, and how long no answer counts as none."""


class Places(Protocol):
    """Where namespaces are: a `Hot`, or all `Shards`."""

    def create_namespace(self, namespace: str) -> None: ...
    def namespaces(self) -> list[str]: ...


class Namespaces:
    """Asks ClickHouse only about names that it has not met. `create` makes the unknown ones. Thread-safe."""

    def __init__(
        self,
        hot: Places,
        path: Path,
        *,
        asking: Places,
        create: bool,
        made: Callable[[], object] = lambda: None,
        is_gone: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        """`asking`: for requests, which wait for an answer; it must not go on for long without one. `made` is called
        after one was made, before anything is accepted for it; `is_gone`: was one deleted?"""
        self._hot = hot
        self._asking = asking
        self._made = made
        self._path = path
        self._create = create
        self.is_gone = is_gone
        self._lock = threading.Lock()
        self._failed = float("-inf")
        self._known: frozenset[str] = frozenset()
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError, ValueError):  # what is damaged is learnt anew
            self._known = frozenset(json.loads(path.read_bytes()))

    @property
    def known(self) -> frozenset[str]:
        """Those that it has met."""
        return self._known

    def check(self, namespace: str) -> None:
        """Return if it exists.

        Raises NamespaceUnknown, or NeveError where its name is wrong or nobody can tell.
        """
        if self.is_gone(namespace):
            hint = "make it anew with neve namespaces create, or name another"
            raise NamespaceUnknown(f"cannot find namespace: {namespace} was deleted", hint)
        if namespace in self._known:
            return
        namespace_database(namespace)
        # Whoever waits here has a thread that others need for namespaces that are known.
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            raise StorageUnavailable(f"cannot look for namespace: {namespace}: clickhouse does not answer")
        try:
            if namespace not in self._known:
                self._look(namespace)
        finally:
            self._lock.release()
        if namespace not in self._known:
            raise NamespaceUnknown(f"cannot find namespace: {namespace}", "make it first, or name another")

    def ensure(self, namespace: str, on: Places | None = None) -> None:
        """Make a namespace unless it is there; `on` one shard alone, or everywhere. Raises NeveError."""
        # Without the lock: a start makes several, which takes a while, and a request for another need not wait.
        (on or self._hot).create_namespace(namespace)
        self._made()
        with self._lock:
            self._learn(self._hot)

    def _look(self, namespace: str) -> None:
        if time.monotonic() < self._failed + PATIENCE_SECONDS:
            raise StorageUnavailable(f"cannot look for namespace: {namespace}: clickhouse did not answer")
        try:
            if self._create:
                self._asking.create_namespace(namespace)
                self._made()
            self._learn(self._asking)
        except StorageUnavailable:
            self._failed = time.monotonic()
            raise

    def _learn(self, hot: Places) -> None:
        self._known = frozenset(hot.namespaces())
        replace_file(self._path, json.dumps(sorted(self._known)).encode() + b"\n")
