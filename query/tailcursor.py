"""The place of a tail: what `id:` of a live event says, and `Last-Event-ID` and `cursor` give back.

    <time>~<run>-<sequence>-<row>~…    all in hexadecimal digits

One part for each gateway: every block of that run before `sequence` was seen, and of that block the rows before `row`.
The time is the last event's, nanoseconds since 1970: where a run is over, it is all that is left to go by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from query.errors import RequestInvalid
from storage.config import MOST_GATEWAYS

ALL_ROWS = (1 << 32) - 1
_PART = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,16})-([0-9a-f]{1,8})")
_TIME = re.compile(r"-?[0-9a-f]{1,16}")
MAX_PARTS = MOST_GATEWAYS + 1  # the one beside may not be among them

Place = tuple[int, int]
"""Sequence of a block, and the first row of it that was not seen."""


@dataclass(frozen=True)
class TailCursor:
    """Where a viewer is: by run of a gateway."""

    time: int
    places: Mapping[str, Place]

    def __str__(self) -> str:
        return write(self.time, self.places)


def write(time: int, places: Mapping[str, Place]) -> str:
    """The text of a cursor."""
    parts = [f"{run}-{sequence:x}-{row:x}" for run, (sequence, row) in places.items()]
    return "~".join([f"{time:x}", *parts])


def read(text: str) -> TailCursor:
    """Raises RequestInvalid for what is no cursor of a tail."""
    time, *parts = text.split("~")
    found = [_PART.fullmatch(part) for part in parts]
    if not _TIME.fullmatch(time) or abs(int(time, 16)) >= 1 << 63 or len(parts) > MAX_PARTS or not all(found):
        raise RequestInvalid(
            "cannot read cursor of a tail", "give the id of its last event as it is, or start without"
        )
    places = {part[1]: (int(part[2], 16), int(part[3], 16)) for part in found if part}
    return TailCursor(int(time, 16), places)
