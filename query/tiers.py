"""Which tiers a query reads: known from the registry when it begins, and the same until it ends.

A query takes from the hot table the epochs that its snapshot does not name, and from the cold table just that snapshot:
each event once, whatever ages meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from storage.deletions import Deletion
from storage.pinned import Pinned
from storage.published import TierState

HOT, COLD = "hot", "cold"
HOT_TABLE = re.compile(r"\bneve_[a-z0-9_]+`?\.events\b")
COLD_PATH = "cold_path"  # the parameter that every read of the cold tier has bound


@dataclass(frozen=True)
class Tiers:
    """What one query reads, fixed from its beginning to its end. By default the hot table, whole."""

    state: TierState | None = None
    apart: bool = False  # may each shard read a part of the cold tier?

    @property
    def pinned(self) -> Pinned | None:
        return self.state.pinned if self.state is not None else None

    def read(self, low: int | None, high: int | None) -> tuple[str, ...]:
        """The tiers that may have events at low <= time < high; the names are in order of age."""
        if self.state is None or self.pinned is None:
            return (HOT,)
        hot = (HOT,) if self.state.hot_epochs else ()
        return (*hot, COLD) if self.pinned.overlaps(low, high) else hot

    @property
    def standing(self) -> tuple[Deletion, ...]:
        """Deletions that hold for what arrives in the hot tier."""
        return self.state.standing if self.state is not None else ()

    def hot_condition(self) -> str:
        """What keeps of the hot table the epochs that are not cold; empty where that is all."""
        return self.pinned.record.hot_condition() if self.pinned is not None else ""


HOT_ALONE = Tiers()


def tiers_of(sql: str, params: Mapping[str, object]) -> list[str]:
    """The tiers that a statement reads: nothing else in our SQL has these names."""
    hot = [HOT] if HOT_TABLE.search(sql) else []
    return [*hot, COLD] if COLD_PATH in params else hot
