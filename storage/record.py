"""The record: which epochs a snapshot of the cold tier holds. It is in the summary of every snapshot, whole.

    through   every epoch up to this one is cold, and gone from the hot tier
    epochs    those above it that are cold, perhaps still hot too, with their rows
    raw       which side columns (`cold_columns.SIDES`) may hold anything

A query that reads a snapshot takes from the hot tier the epochs that its record does not name: so at every moment,
before and after the hot partition goes, each event is seen once. Where there are shards, each has its own numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.cold_columns import SIDES
from storage.errors import ColdBroken

RECORD = "neve.record"
COMMIT = "neve.commit"
KIND = "neve.kind"
FORMAT = 1
ONLY_SHARD = ""


@dataclass(frozen=True)
class ShardRecord:
    """What is cold of one shard."""

    through: int = 0
    epochs: Mapping[int, int] = field(default_factory=dict)

    def names(self, epoch: int) -> bool:
        """Is this epoch to be read from the cold tier?"""
        return epoch <= self.through or epoch in self.epochs

    @property
    def highest(self) -> int:
        """No epoch above it is cold."""
        return max((self.through, *self.epochs))

    def hot_condition(self) -> str:
        """SQL that keeps the rows of the hot table whose epochs are not cold."""
        above = ", ".join(str(int(epoch)) for epoch in sorted(self.epochs) if epoch > self.through)
        condition = f"epoch > {int(self.through)}"
        return f"{condition} AND epoch NOT IN ({above})" if above else condition


@dataclass(frozen=True)
class Record:
    """What is cold."""

    shards: Mapping[str, ShardRecord] = field(default_factory=dict)
    raw: frozenset[str] = frozenset()

    def shard(self, name: str = ONLY_SHARD) -> ShardRecord:
        return self.shards.get(name, ShardRecord())

    def with_epoch(self, epoch: int, rows: int, raw: Iterable[str], shard: str = ONLY_SHARD) -> Record:
        """With one more epoch, whose rows go in with the same commit."""
        mine = self.shard(shard)
        if mine.names(epoch):
            raise ValueError(f"epoch {epoch} is cold already")
        epochs = {**mine.epochs, epoch: rows}
        return replace(self._with(shard, replace(mine, epochs=epochs)), raw=self.raw | set(raw))

    def without_epoch(self, epoch: int, shard: str = ONLY_SHARD) -> Record:
        """Without an epoch whose rows go out with the same commit, to be read from the hot tier again."""
        mine = self.shard(shard)
        if epoch not in mine.epochs:
            raise ValueError(f"epoch {epoch} cannot go back")
        epochs = {one: rows for one, rows in mine.epochs.items() if one != epoch}
        return self._with(shard, replace(mine, epochs=epochs))

    def advanced(self, dropped: int, shard: str = ONLY_SHARD) -> Record:
        """Knowing that the hot tier has given up every epoch up to `dropped`."""
        mine = self.shard(shard)
        through = max(mine.through, dropped)
        epochs = {one: rows for one, rows in mine.epochs.items() if one > through}
        return self._with(shard, ShardRecord(through, epochs))

    def _with(self, shard: str, record: ShardRecord) -> Record:
        return replace(self, shards={**self.shards, shard: record})

    def to_text(self) -> str:
        """As it stands in a summary."""
        shards = {
            name: {"through": one.through, "epochs": {str(e): one.epochs[e] for e in sorted(one.epochs)}}
            for name, one in sorted(self.shards.items())
        }
        return json.dumps(
            {"format": FORMAT, "shards": shards, "raw": sorted(self.raw)}, separators=(",", ":")
        )

    @classmethod
    def from_text(cls, text: str) -> Record:
        """What `to_text` made. Raises ValueError."""
        said = json.loads(text)
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise ValueError(f"format {said.get('format') if isinstance(said, dict) else said!r}")
        shards = {
            str(name): ShardRecord(int(one["through"]), {int(e): int(n) for e, n in one["epochs"].items()})
            for name, one in said["shards"].items()
        }
        return cls(shards, frozenset(said["raw"]) & set(SIDES))


def record_of(snapshot: Any) -> Record:
    """The record of a snapshot. Raises ColdBroken where there is none: somebody else has committed it."""
    summary = snapshot.summary
    text = summary.additional_properties.get(RECORD) or "" if summary is not None else ""
    try:
        return Record.from_text(text)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ColdBroken(
            f"cannot read record of snapshot {snapshot.snapshot_id}: only Neve may commit to its tables",
            "roll the table back to a snapshot that has one",
        ) from None


def record_at(table: Any) -> Record:
    """The record of a table's present snapshot; an empty one while it has none."""
    snapshot = table.current_snapshot()
    return record_of(snapshot) if snapshot is not None else Record()
