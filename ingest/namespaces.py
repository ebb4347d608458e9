"""Which namespaces exist, as far as the gateway knows; remembered on disk for when ClickHouse is away."""

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

from ingest.durable import make_folder, replace_file
from storage.errors import NamespaceUnknown
from storage.hot import Hot
from storage.schema import namespace_database


class Namespaces:
    """Asks ClickHouse only about names that it has not met. `create` makes the unknown ones. Thread-safe."""

    def __init__(
        self, hot: Hot, path: Path, *, create: bool, made: Callable[[], object] = lambda: None
    ) -> None:
        """`made` is called after one was made, before anything is accepted for it."""
        self._hot = hot
        self._made = made
        self._path = path
        self._create = create
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError, ValueError):  # what is damaged is learnt anew
            self._known = frozenset(json.loads(path.read_bytes()))

    def check(self, namespace: str) -> None:
        """Return if it exists.

        Raises NamespaceUnknown, or NeveError where its name is wrong or nobody can tell.
        """
        if namespace in self._known:
            return
        namespace_database(namespace)
        with self._lock:
            if self._create:
                self._hot.create_namespace(namespace)
                self._made()
            self._learn()
        if namespace not in self._known:
            raise NamespaceUnknown(f"cannot find namespace: {namespace}", "make it first, or name another")

    def ensure(self, namespace: str) -> None:
        """Make a namespace unless it is there. Raises NeveError."""
        with self._lock:
            self._hot.create_namespace(namespace)
            self._made()
            self._learn()

    def _learn(self) -> None:
        self._known = frozenset(self._hot.namespaces())
        replace_file(self._path, json.dumps(sorted(self._known)).encode() + b"\n")
