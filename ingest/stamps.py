"""Which epoch an inserter stamps, and what it says of itself in the registry (`storage/inserters.py`).

All calls come from the inserter's thread. `stamp` and `tend` are called only while nothing is unresolved: what they
say lets every older epoch go. A lease that ran out, because ClickHouse was away or this process slept, ends the
registration: the next call takes a new one before anything is inserted.
"""

import secrets
import socket
import time
from dataclasses import replace

from storage.hot import Hot
from storage.inserters import LEASE_SECONDS, Holding, Who

LOOK_SECONDS = 2.0
"""How long the present epoch is taken to be the present one without asking."""
SAY_SECONDS = LEASE_SECONDS / 3
"""The lease is renewed so often: two may fail."""


class Stamps:
    """One inserter's epochs. `inserter` stays over restarts, and no two processes have the same at once."""

    def __init__(self, hot: Hot, inserter: str = "", kind: str = "agent") -> None:
        self._hot = hot
        name = inserter or secrets.token_hex(8)
        self._who = Who(name, secrets.token_hex(8), kind, socket.gethostname())
        self._version = 0
        self._holdings: dict[str, Holding] = {}
        self._looked: dict[str, float] = {}
        self._said = float("-inf")

    @property
    def inserter(self) -> str:
        return self._who.inserter

    def begin(self, unresolved: dict[str, int]) -> None:
        """Register; `unresolved`: by namespace the epoch that an earlier process of this name may have rows in.

        What that process said holds until this has been said. Raises NeveError.
        """
        earlier = self._hot.registry.of(self.inserter)
        self._holdings = {name: Holding(name, epoch, epoch) for name, epoch in unresolved.items()}
        self._looked = {}
        self._say()
        self._hot.registry.release(one for one in earlier if one.who != self._who)

    def stamp(self, namespace: str) -> int:
        """The epoch to stamp now; opens one when it is time. Raises NeveError."""
        now = time.monotonic()
        if now >= self._looked.get(namespace, 0.0) + LOOK_SECONDS:
            self._move(namespace, self._hot.current_epoch(namespace))
            self._looked[namespace] = now
        self.keep()
        return self._holdings[namespace].stamp

    def tend(self) -> None:
        """Follow epochs that others opened, and renew the lease. Raises NeveError."""
        now = time.monotonic()
        due = [name for name in self._holdings if now >= self._looked.get(name, 0.0) + LOOK_SECONDS]
        if due:
            present = self._hot.epochs.present()
            for name in due:
                self._move(name, present.get(name, 0))
                self._looked[name] = now
        self.keep()

    def keep(self) -> None:
        """Say what holds, if it has changed or the lease needs it. Blocks may be unresolved. Raises NeveError."""
        silent = time.monotonic() - self._said
        if silent < SAY_SECONDS or not self._holdings:
            return
        if silent > LEASE_SECONDS or self._hot.registry.is_evicted(self._who):
            earlier = self._hot.registry.of(self.inserter)
            self._who = replace(self._who, registration=secrets.token_hex(8))
            self._say()
            self._hot.registry.release(one for one in earlier if one.who != self._who)
        else:
            self._say()

    def forget(self, namespace: str) -> None:
        """Ask again which epoch is the present one."""
        self._looked.pop(namespace, None)

    def alone(self, namespace: str) -> bool:
        """Does nobody else insert into this namespace, as far as is known? Raises NeveError."""
        others = (one for one in self._hot.registry.all() if one.who.inserter != self.inserter)
        return all(one.holding.namespace != namespace for one in others)

    def release(self) -> None:
        """Say that nothing is needed any more; the last call. Raises NeveError."""
        self._version += 1
        self._hot.registry.say(self._who, self._version, self._holdings.values(), released=True)
        self._holdings = {}

    def _move(self, namespace: str, epoch: int) -> None:
        known = self._holdings.get(namespace)
        if known is None or epoch > known.stamp:
            self._holdings[namespace] = Holding(namespace, epoch, epoch)
            self._said = min(self._said, time.monotonic() - SAY_SECONDS)  # to be said before it is used

    def _say(self) -> None:
        began = time.monotonic()
        self._version += 1
        self._hot.registry.say(self._who, self._version, self._holdings.values())
        self._said = began
