"""Leases: who does a piece of work that one does at a time.

To take one, a holder writes its row and *then* looks for others that are alive. Of two that take at one moment, the one
whose INSERT was answered last sees the other's row, so at most one keeps it; both may let go and try again later.

A lease saves work and proves nothing: its holder may sleep through its end. What two agers could spoil is guarded
where it happens: the catalog takes a commit only on top of the snapshot that it was made from, whose record names the
epochs that are in; and to drop a partition twice is to drop it once. So one that runs for much longer than it was taken
for, since the server's clock has gone back, holds nobody up.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from storage import schema
from storage.errors import AgerBusy, NeveError

LEASE_SECONDS = 60.0
LEASES = f"{schema.SYSTEM_DATABASE}.leases"


class Asks(Protocol):
    """The part of `Hot` that this needs."""

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None: ...
    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]: ...


@dataclass
class Lease:
    """One that was taken. `lost` once it may have run out."""

    name: str
    holder: str = field(default_factory=lambda: secrets.token_hex(8))
    version: int = 0
    said: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def lost(self) -> bool:
        return time.monotonic() - self.said > LEASE_SECONDS

    def check(self) -> None:
        """Raises AgerBusy where somebody else may have it by now."""
        if self.lost:
            raise AgerBusy(f"cannot go on with {self.name}: the lease has run out")


@contextmanager
def held(hot: Asks, name: str, holder: str = "") -> Iterator[Lease]:
    """Hold a lease, renewed by a thread. Raises AgerBusy where another holds it.

    `holder`: of whom there is never more than one at a time: it has its lease again at once after it was killed.
    """
    # What it says must be newer than what it said before it was killed.
    lease = Lease(name, holder, time.time_ns()) if holder else Lease(name)
    _say(hot, lease)
    try:
        others = _others(hot, lease)
        if others:
            raise AgerBusy(f"cannot work on {name}: {others[0]} does")
        thread = threading.Thread(target=_renew, args=(hot, lease), daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            lease.stop.set()
            thread.join()
    finally:
        with suppress(NeveError):  # it runs out by itself
            _say(hot, lease, released=True)


def is_held(hot: Asks, name: str) -> bool:
    """Does somebody hold it?"""
    return bool(_others(hot, Lease(name)))


def _say(hot: Asks, lease: Lease, *, released: bool = False) -> None:
    began = time.monotonic()
    lease.version += 1
    hot.execute(
        f"INSERT INTO {LEASES} SELECT {{name:String}}, {{holder:String}}, {{host:String}}, {{version:UInt64}}, "
        "{released:UInt8}, now64(3) + toIntervalMillisecond({lease:UInt64})",
        {
            "name": lease.name,
            "holder": lease.holder,
            "host": socket.gethostname(),
            "version": lease.version,
            "released": int(released),
            "lease": int(LEASE_SECONDS * 1000),
        },
    )
    lease.said = began


def _others(hot: Asks, lease: Lease) -> list[str]:
    sql = (
        f"SELECT concat(holder, ' on ', argMax(host, version)) AS who FROM {LEASES} WHERE name = {{name:String}} "
        "AND holder != {holder:String} GROUP BY holder "
        "HAVING argMax(released, version) = 0 AND argMax(until, version) > now64(3) "
        "AND argMax(until, version) <= now64(3) + toIntervalMillisecond({most:UInt64}) ORDER BY who"
    )
    most = int(2 * LEASE_SECONDS * 1000)
    return hot.scalars(sql, {"name": lease.name, "holder": lease.holder, "most": most})


def _renew(hot: Asks, lease: Lease) -> None:
    while not lease.stop.wait(LEASE_SECONDS / 3):
        with suppress(NeveError):
            _say(hot, lease)
