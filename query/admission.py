"""Whether somebody who watches may still do so: a tail has no end of its own, and keys and roles have."""

from __future__ import annotations

import time

from starlette.requests import HTTPConnection

from storage.access.access import Access, Shown
from storage.access.identity import SEARCH
from storage.access.middleware import SHOWN, identity_of
from storage.errors import Forbidden, NamespaceUnclear, StorageUnavailable, Unauthenticated

LOOK_SECONDS = 2.0  # between two looks: what is known of keys is as old


class Admission:
    """Who was let in to watch a namespace, and which events existed for them then."""

    def __init__(self, connection: HTTPConnection, namespace: str) -> None:
        self._access: Access = connection.app.state.access
        self._shown: Shown = connection.scope[SHOWN]
        self._namespace = namespace
        self._filters = identity_of(connection).filters(namespace)
        self._looked = time.monotonic()

    async def holds(self) -> bool:
        """Is all of that as it was? Looked at now and then; while nobody can tell, what was known holds."""
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return True
        self._looked = time.monotonic()
        book = self._access.book
        if book is not None and book.is_gone(self._namespace):
            return False
        try:
            identity = await self._access.identified(self._shown)
            identity.choose(SEARCH, self._namespace, self._namespace)
            return identity.filters(self._namespace) == self._filters
        except (Unauthenticated, Forbidden, NamespaceUnclear):
            return False
        except StorageUnavailable:
            return True
