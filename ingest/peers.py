"""Gateways behind one address: a block that is sent again, its outcome unknown, may have reached another one.

Whoever gets such a block asks all the others for it first. One that has it says so: it is a repetition. One that has it
not gives it up: should it be on its way there still, over a connection that its sender has left, it is not taken any
more. So of all the copies one is kept. While a gateway cannot be asked, or has it on its way, the sender is told to
come again.
"""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ingest.destination import ANSWER_BYTES, connect
from ingest.errors import RequestRefused
from storage.access.among import BLOCKS, PEER_HEADER, is_word, word_for
from storage.access.carried import Carried

PATH = "/gateway/peers/blocks/"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0
GIVEN_UP_SECONDS = 3600.0
"""Longer than a request can be on its way."""


class Peers:
    """One gateway's part. Thread-safe. `name` is its own; `known` tells of an id whether it was accepted here."""

    def __init__(
        self,
        urls: Sequence[str],
        name: str,
        secret: bytes,
        known: Callable[[bytes], bool],
        shown: Carried,
        *,
        shared: bool = True,
    ) -> None:
        """`urls`: of all gateways, this one among them or not. `secret`: what all of them know; not `shared`: nobody is
        asked for keys here, and the others have secrets of their own. Raises ConfigError."""
        self._urls = tuple(urls)
        self._name = name
        self._secret = secret
        self._shared = shared
        self._word = word_for(BLOCKS, secret)
        self._known = known
        self._shown = shown
        for url in urls:
            connect(url, shown)
        self._lock = threading.Lock()
        self._flying: Counter[bytes] = Counter()  # that are on their way into the spool here
        self._given_up: dict[bytes, float] = {}  # that others may have taken since; when

    def is_word(self, said: str) -> bool:
        """Is it what another gateway says?"""
        return is_word(said, BLOCKS, self._secret)

    def may(self, purpose: bytes, said: str) -> bool:
        """Is it what another server says for a purpose? Some word it is in any case, which no page of another site can
        send."""
        return bool(said) and (not self._shared or is_word(said, purpose, self._secret))

    def begin(self, block_id: bytes, *, again: bool) -> None:
        """A block is on its way into the spool, until `end`. Raises RequestRefused where it may not be taken."""
        with self._lock:
            if not again and block_id in self._given_up:
                raise _later("another gateway has been asked to take it")
            self._flying[block_id] += 1

    def end(self, block_id: bytes) -> None:
        """It is in the spool, or will not come."""
        with self._lock:
            self._flying[block_id] -= 1
            if not self._flying[block_id]:
                del self._flying[block_id]

    def give_up(self, block_id: bytes, by: str) -> dict[str, Any]:
        """Another gateway is about to take a block: whether it is known here; if not it is not taken here any more."""
        if by == self._name:
            return {"known": False, "busy": False}
        with self._lock:
            known = self._known(block_id)
            if known or block_id in self._flying:
                return {"known": known, "busy": not known}
            now = time.monotonic()
            self._given_up = {one: at for one, at in self._given_up.items() if at > now - GIVEN_UP_SECONDS}
            self._given_up[block_id] = now
        return {"known": False, "busy": False}

    def elsewhere(self, block_id: bytes) -> bool:
        """Has another gateway taken it? If not, none will. Blocks. Raises RequestRefused where nobody can tell."""
        for url in self._urls:
            said = self._ask(url, block_id)
            if said.get("known"):
                return True
            if said.get("busy"):
                raise _later(f"it is on its way at {url}")
        return False

    def take(self, block_id: bytes) -> None:
        """All others have given it up: it may be taken here."""
        with self._lock:
            self._given_up.pop(block_id, None)

    def _ask(self, url: str, block_id: bytes) -> dict[str, Any]:
        connection, parts = connect(url, self._shown)
        try:
            connection.timeout = CONNECT_SECONDS
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
            path = f"{parts.path.rstrip('/')}{PATH}{block_id.hex()}?by={self._name}"
            connection.request("POST", path, headers={PEER_HEADER: self._word, "Content-Length": "0"})
            reply = connection.getresponse()
            text = reply.read(ANSWER_BYTES)
            said = json.loads(text) if reply.status == http.client.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            said = None
        finally:
            connection.close()
        if not isinstance(said, dict) or "known" not in said:
            raise _later(f"gateway {url} cannot be asked")
        return said


def _later(why: str) -> RequestRefused:
    message = f"cannot tell whether another gateway has this block: {why}"
    return RequestRefused("block_unsettled", message, "send it again", 503)
