"""What the front door bears: how long a client may take, how many there may be, and what is said of each behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from storage.access.access import front_headers
from storage.metrics import labels, metric, of_process
from storage.tls import ServerTls, names_of

CONNECTIONS = "connections"  # a reason to refuse: there are too many


@dataclass(frozen=True)
class HttpConfig:
    """What the front door bears from clients."""

    head_seconds: float = 10.0  # for a request's head, and for a TLS handshake
    idle_seconds: float = 75.0  # that a connection may wait for its next request
    body_seconds: float = 60.0  # that a request's body may stand still
    connections: int = 4096  # at once; those beyond are refused
    connections_of_one: int = 1024  # at once from one address


@dataclass
class Door:
    """One front door: its limits, its certificate, and who is in. `inside`: the word of the server's processes."""

    limits: HttpConfig = field(default_factory=HttpConfig)
    tls: ServerTls | None = None
    inside: str = ""
    here: Counter[str] = field(default_factory=Counter)
    entered: int = 0
    requests: Counter[str] = field(default_factory=Counter)  # by the process that they were passed to
    refused: Counter[str] = field(default_factory=lambda: Counter({CONNECTIONS: 0}))  # by reason

    def enter(self, address: str) -> bool:
        """Is there room for one more of this address? Then it is counted."""
        if (
            self.here.total() >= self.limits.connections
            or self.here[address] >= self.limits.connections_of_one
        ):
            self.refused[CONNECTIONS] += 1
            return False
        self.here[address] += 1
        self.entered += 1
        return True

    def leave(self, address: str) -> None:
        self.here[address] -= 1
        if not self.here[address]:
            del self.here[address]

    def metrics(self) -> str:
        """What Prometheus reads about the front door."""
        requests = [(labels(process=name), n) for name, n in sorted(self.requests.items())]
        refused = [(labels(reason=reason), n) for reason, n in sorted(self.refused.items())]
        return "".join(
            (
                metric("neve_front_connections", "gauge", "open connections", [("", self.here.total())]),
                metric(
                    "neve_front_connections_opened_total",
                    "counter",
                    "connections taken",
                    [("", self.entered)],
                ),
                metric("neve_front_requests_total", "counter", "requests, by who answers them", requests),
                metric("neve_front_refused_total", "counter", "what the front door refused itself", refused),
                of_process("neve_front_"),
            )
        )

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
