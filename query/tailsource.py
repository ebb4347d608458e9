"""A gateway that is followed: how far what it said has been told, and what viewers are told of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from query.feed import Feed, Hello, Way
from query.tailcursor import ALL_ROWS, Place
from query.viewers import Gap

RESTARTED = "started again"
AWAY = "cannot be reached"
BACK = "is followed again"
FILLED = "is followed again, and what came there meanwhile was told"


def said_of(name: str, what: str) -> str:
    """In words; the gateway beside has no name."""
    return f"gateway {name} {what}" if name else f"a gateway {what}"


@dataclass
class Source:
    """`run` is empty until it has said hello. `double`: another way leads to the same gateway, and that is followed."""

    way: Way
    feed: Feed
    run: str = ""
    place: Place = (0, ALL_ROWS)
    connected: bool = False
    away: bool = False
    double: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # it was heard, or could not be

    @property
    def name(self) -> str:
        return self.way.name

    def gaps(self, what: str, *, unknown: bool = True) -> tuple[Gap, Gap]:
        """What is said of it: to most, and to those for whom not all events exist, who are told no address."""
        return Gap(0, said_of(self.name, what), unknown), Gap(0, said_of("", what), unknown)

    def is_expected(self) -> bool:
        """Should it be there? A search process alone has no gateway beside it."""
        return not self.double and bool(self.name or self.run or Path(self.way.socket).exists())

    def is_missed(self) -> bool:
        """Is it one that viewers have to know of: it does not answer?"""
        return not self.connected and (self.away or not self.run) and self.is_expected()

    def gone(self) -> None:
        """It was a double, or has become one."""
        self.double, self.run, self.connected, self.away = True, "", False, False


def is_double(sources: Sequence[Source], source: Source, hello: Hello) -> bool:
    """A gateway says hello: is it one that is followed by an earlier way? A later way to it ends now.

    So a server that finds its own address among those of all follows its gateway once, and by the inner path.
    """
    twin = next((one for one in sources if one is not source and one.run == hello.run), None)
    if twin is not None and twin.connected and sources.index(twin) < sources.index(source):
        source.gone()
        return True
    source.double = False
    if twin is not None:
        if not source.run:
            source.run, source.place = twin.run, twin.place
        twin.gone()
    return False
