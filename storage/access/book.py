"""What every process knows of keys, roles and namespaces' settings: read from ClickHouse, looked at again and again.

A change is known everywhere after REFRESH_SECONDS. While ClickHouse is away what was known last holds, which the
gateway keeps on disk too (hashes, no keys): agents and their events must get in at any time.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.access.keys import Key
from storage.access.roles import Role
from storage.documents import Asks, Documents
from storage.embedded_files import write_private
from storage.errors import NeveError, StorageUnavailable
from storage.namespace_settings import Settings

log = logging.getLogger("neve.access")
REFRESH_SECONDS = 2.0
SOON_SECONDS = 0.5  # a key that nobody knows is looked for at once, but not again before that
USED_SECONDS = 600  # how coarsely it is noted that a key was used
KEPT = ("keys", "roles", "namespaces")


@dataclass(frozen=True)
class Known:
    """What holds, as one value."""

    keys: Mapping[str, Key] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    namespaces: Mapping[str, Settings] = field(default_factory=dict)

    @classmethod
    def read(cls, said: Mapping[str, Mapping[str, Any]]) -> Known:
        """Of documents by table and name."""
        return cls(
            {name: Key.read(one) for name, one in said["keys"].items()},
            {name: Role.read(name, one) for name, one in said["roles"].items() if not one.get("deleted")},
            {name: Settings.read(one) for name, one in said["namespaces"].items()},
        )


class Book:
    """The documents of one process. Thread-safe."""

    def __init__(self, hot: Asks, path: Path | None = None) -> None:
        """`path`: where what is known is kept for when ClickHouse is away."""
        self._tables = {name: Documents(hot, name) for name in KEPT}
        self._uses = Documents(hot, "key_uses")
        self._path = path
        self._stamps: tuple[int, ...] = ()
        self._unkept: Mapping[str, Any] | None = None  # what is known and not on disk yet
        self._asked = float("-inf")
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._used: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self.loaded = False
        self.known = Known()
        self._recall()

    def start(self) -> None:
        """Look again from now on, in a thread."""
        threading.Thread(target=self._run, name="access", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def refresh(self) -> None:
        """Look now. Raises StorageUnavailable and its kin."""
        with self._lock:
            self._look()

    def key(self, id_: str) -> Key | None:
        """A key by its id, which may have been made a moment ago. Blocks. Raises NeveError where nobody can tell."""
        found = self.known.keys.get(id_)
        if found is not None:
            return found
        arrived = time.monotonic()
        try:
            with self._lock:
                if self._asked < arrived:  # else somebody has looked for all who waited
                    self._stop.wait(max(0.0, self._asked + SOON_SECONDS - arrived))
                    self._look()
        except NeveError as error:
            log.info("cannot look for a key: %s", error)
        if not self.loaded:
            raise StorageUnavailable("cannot check key: clickhouse does not answer")
        return self.known.keys.get(id_)

    def settings(self, namespace: str) -> Settings:
        return self.known.namespaces.get(namespace, Settings())

    def is_gone(self, namespace: str) -> bool:
        """Was it deleted?"""
        return bool(self.settings(namespace).deleted_at)

    def used(self, id_: str) -> None:
        """Note that a key was used; said to others now and then."""
        self._used[id_] = int(time.time()) // USED_SECONDS * USED_SECONDS

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh()
                self._say_used()
            except NeveError as error:
                log.info("cannot look for changes of keys: %s", error)
            except Exception:  # whatever it was: it must not end the looking for good
                log.exception("fault while looking for changes of keys")
            self._stop.wait(REFRESH_SECONDS)

    def _look(self) -> None:
        self._asked = time.monotonic()
        stamps = tuple(one.stamp() for one in self._tables.values())
        if stamps != self._stamps:
            said = {name: one.all() for name, one in self._tables.items()}
            self.known = Known.read(said)
            self._stamps, self._unkept = stamps, said
        self.loaded = True
        self._remember()

    def _say_used(self) -> None:
        for id_, at in list(self._used.items()):
            if self._noted.get(id_) != at:
                self._uses.put(id_, {"at": at}, until=at + 400 * 86400)
                self._noted[id_] = at

    def _remember(self) -> None:
        """Until it is on disk: a disk that takes nothing now is tried again at the next look."""
        if self._path is not None and self._unkept is not None:
            try:
                write_private(self._path, json.dumps(self._unkept))
            except StorageUnavailable as error:
                log.warning("cannot keep what is known of keys: %s", error.message)
                return
        self._unkept = None

    def _recall(self) -> None:
        if self._path is None:
            return
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # what is damaged is learnt anew
            self.known = Known.read(json.loads(self._path.read_bytes()))
            self.loaded = True
