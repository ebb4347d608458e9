"""Which events, in SQL: made by who knows the query language, used by who deletes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Matching:
    """Which events: `where` over the columns of `events`, 0 or 1 for each, with its bound values.

    It says all, also of time. What follows from it, to read less of the cold tier: times at low <= time < high, and
    `cold_where` over a row `cold`.
    """

    where: str
    values: Mapping[str, Any] = field(default_factory=dict)
    low: int | None = None
    high: int | None = None
    cold_where: tuple[str, ...] = ()
