"""The record: which epochs a snapshot of the cold tier holds. It is in the summary of every snapshot, whole.

    through   every epoch up to this one is cold, and gone from the hot tier
    epochs    those above it that are cold, perhaps still hot too, with their rows
    raw       which side columns (`cold_columns.SIDES`) may hold anything

A query that reads a snapshot takes from the hot tier the epochs that its record does not name: so at every moment,
before and after the hot partition goes, each event is seen once. Where there are shards, each has epochs of its own
(`numbers.py`), and its own entry in the record, which an epoch's number leads to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.cold_columns import SIDES
from storage.errors import ColdBroken
from storage.numbers import FIRST_SHARD, first_epoch, shard_of

RECORD = "neve.record"
COMMIT = "neve.commit"
KIND = "neve.kind"
FORMAT = 1


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


@dataclass(frozen=True)
class Record:
    """What is cold."""

    shards: Mapping[str, ShardRecord] = field(default_factory=dict)
    raw: frozenset[str] = frozenset()

    def shard(self, number: int = FIRST_SHARD) -> ShardRecord:
        """What is cold of a shard, by its number from 1: of a single server, which is the first, all that is cold."""
        return self.shards.get(_key(number), ShardRecord())

    def names(self, epoch: int) -> bool:
        """Is this epoch to be read from the cold tier?"""
        return self.shard(shard_of(epoch)).names(epoch)

    def epochs(self) -> list[int]:
        """Those that are cold and may be hot still, of all shards, in order."""
        return sorted(epoch for one in self.shards.values() for epoch in one.epochs if epoch > one.through)

    def takes_back(self, epoch: int) -> bool:
        """Is this epoch cold, and may it be hot still, so that it can be read from there again?"""
        return epoch in self.shard(shard_of(epoch)).epochs

    def hot_condition(self) -> str:
        """SQL that keeps the rows of the hot table, or of all shards', whose epochs are not cold."""
        first = self.shard()
        conditions = [f"epoch > {int(first.through)}"]
        for key, one in sorted(self.shards.items()):
            if key and one.through:
                low = first_epoch(int(key))
                conditions.append(f"NOT (epoch > {low} AND epoch <= {int(one.through)})")
        if above := self.epochs():
            conditions.append(f"epoch NOT IN ({', '.join(str(int(epoch)) for epoch in above)})")
        return " AND ".join(conditions)

    def with_epoch(self, epoch: int, rows: int, raw: Iterable[str]) -> Record:
        """With one more epoch, whose rows go in with the same commit."""
        mine = self.shard(shard_of(epoch))
        if mine.names(epoch):
            raise ValueError(f"epoch {epoch} is cold already")
        epochs = {**mine.epochs, epoch: rows}
        return replace(self._with(epoch, replace(mine, epochs=epochs)), raw=self.raw | set(raw))

    def without_epoch(self, epoch: int) -> Record:
        """Without an epoch whose rows go out with the same commit, to be read from the hot tier again."""
        mine = self.shard(shard_of(epoch))
        if epoch not in mine.epochs:
            raise ValueError(f"epoch {epoch} cannot go back")
        epochs = {one: rows for one, rows in mine.epochs.items() if one != epoch}
        return self._with(epoch, replace(mine, epochs=epochs))

    def advanced(self, dropped: int) -> Record:
        """Knowing that the hot tier has given up this epoch, and every one of the same shard below."""
        mine = self.shard(shard_of(dropped))
        through = max(mine.through, dropped)
        epochs = {one: rows for one, rows in mine.epochs.items() if one > through}
        return self._with(dropped, ShardRecord(through, epochs))

    def _with(self, epoch: int, record: ShardRecord) -> Record:
        return replace(self, shards={**self.shards, _key(shard_of(epoch)): record})

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


def _key(number: int) -> str:
    """The first shard's is empty: it is what a single server has."""
    return "" if number == FIRST_SHARD else str(number)


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
