"""What the front door bears: how long a client may take, how many there may be, and what is said of each behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.access.access import front_headers
from storage.tls import ServerTls, names_of


@dataclass(frozen=True)
class HttpConfig:
    """What the front door bears from clients."""

    head_seconds: float = 10.0  # for a request's head, and for a TLS handshake
    idle_seconds: float = 75.0  # that a connection may wait for its next request
    body_seconds: float = 60.0  # that a request's body may stand still
    answer_seconds: float = 300.0  # that a client may take nothing of an answer; it holds a query's place
    connections: int = 4096  # at once; those beyond are refused
    connections_of_one: int = 1024  # at once from one address


@dataclass
class Door:
    """One front door: its limits, its certificate, and who is in. `inside`: the word of the server's processes."""

    limits: HttpConfig = field(default_factory=HttpConfig)
    tls: ServerTls | None = None
    inside: str = ""
    here: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> bool:
        """Is there room for one more of this address? Then it is counted."""
        if (
            self.here.total() >= self.limits.connections
            or self.here[address] >= self.limits.connections_of_one
        ):
            return False
        self.here[address] += 1
        return True

    def leave(self, address: str) -> None:
        self.here[address] -= 1
        if not self.here[address]:
            del self.here[address]

    def said_of(self, address: str, transport: asyncio.BaseTransport) -> bytes:
        """The lines that are added to every request of a client."""
        names = names_of(transport.get_extra_info("peercert"))
        said = front_headers(self.inside, address, names, "https" if self.tls is not None else "http")
        return b"".join(name + b": " + value + b"\r\n" for name, value in said)


class Patience:
    """One deadline of a connection, moved without a timer for each move."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._limit: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """Something is to happen within so many seconds from now."""
        self._limit = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._limit, self._look)
        elif self._timer.when() > self._limit:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._limit, self._look)

    def endless(self) -> None:
        """Nothing is to happen soon."""
        self._limit = None

    def end(self) -> None:
        """The connection is over."""
        self._limit = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._limit is None:
            return
        if self._loop.time() < self._limit:
            self._timer = self._loop.call_at(self._limit, self._look)
        else:
            self._over()
