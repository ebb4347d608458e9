"""What the front door bears: how long a client may take, how many there may be, and what is said of each behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from storage.access.access import front_headers
from storage.errors import ConfigError
from storage.metrics import labels, metric, of_process
from storage.tls import ServerTls, names_of

CONNECTIONS = "connections"  # a reason to refuse: there are too many


@dataclass(frozen=True)
class HttpConfig:
    """What the front door bears from clients."""

    head_seconds: float = 10.0  # for a request's head, and for a TLS handshake
    idle_seconds: float = 75.0  # that a connection may wait for its next request
    body_seconds: float = 60.0  # that a request's body may stand still
    answer_seconds: float = 300.0  # that a client may take nothing of an answer; it holds a query's place
    connections: int = 4096  # at once; those beyond are refused
    connections_of_one: int = 1024  # at once from one address
    trusted_proxies: tuple[
        str, ...
    ] = ()  # addresses and networks whose X-Forwarded-For and -Proto are believed

    def __post_init__(self) -> None:
        for one in self.trusted_proxies:
            try:
                ip_network(one, strict=False)
            except ValueError:
                message = f"cannot use configuration key 'http.trusted_proxies': {one[:60]!r}"
                raise ConfigError(message, "give addresses or networks, as 10.0.0.0/8") from None


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

    def __post_init__(self) -> None:
        self._trusted = [ip_network(one, strict=False) for one in self.limits.trusted_proxies]

    def trusts(self, address: str) -> bool:
        """Is it a proxy of ours, that tells the truth of who is behind it?"""
        found = address_of(address)
        return found is not None and any(found in one for one in self._trusted)

    def enter(self, address: str) -> bool:
        """Is there room for one more of this address? Then it is counted."""
        if self.here.total() >= self.limits.connections or (
            self.here[address] >= self.limits.connections_of_one and not self.trusts(address)
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

    def said_of(
        self, address: str, transport: asyncio.BaseTransport, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> bytes:
        """The lines that are added to every request of a client. `headers`: those of a request that a trusted proxy
        has passed on."""
        names = names_of(transport.get_extra_info("peercert"))
        scheme = "https" if self.tls is not None else "http"
        hops: list[str] = []
        for name, value in headers:
            if name.lower() == b"x-forwarded-for":
                hops += value.decode("latin-1").split(",")
            elif name.lower() == b"x-forwarded-proto" and value.strip().lower() in (b"http", b"https"):
                scheme = value.strip().lower().decode()
        said = front_headers(self.inside, self._client(address, hops), names, scheme)
        return b"".join(name + b": " + value + b"\r\n" for name, value in said)

    def _client(self, address: str, hops: list[str]) -> str:
        """Who is behind proxies: the last address that none of ours has. What a client says itself stands before it."""
        while hops and self.trusts(address):
            found = address_of(hops.pop())
            if found is None:
                break
            address = str(found)
        return address


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with a port or without; None for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


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
