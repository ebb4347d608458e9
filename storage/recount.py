"""The rollup's counts of epochs that are cold, made anew from the cold tier."""

from __future__ import annotations

from collections.abc import Iterable

from storage import schema
from storage.hot import REWRITE_SETTINGS, Hot
from storage.pinned import Pinned

EPOCHS_AT_ONCE = 50  # an INSERT takes a hundred partitions at most
COUNTED = ("timestamp", "service", "level", "fingerprint", "epoch")


def recount_cold(hot: Hot, pinned: Pinned, epochs: Iterable[int]) -> None:
    """Put what the cold tier has of these epochs in the place of their counts, at once for readers."""
    database = schema.namespace_database(pinned.namespace)
    rebuilt = f"{database}.{schema.REBUILT_ROLLUP}"
    wanted = sorted({int(epoch) for epoch in epochs})
    for start in range(0, len(wanted), EPOCHS_AT_ONCE):
        some = wanted[start : start + EPOCHS_AT_ONCE]
        for epoch in some:
            hot.execute(f"ALTER TABLE {rebuilt} DROP PARTITION {epoch}")
        among = ", ".join(map(str, some))
        events = pinned.select(COUNTED, where=[f"cold.epoch IN ({among})"])
        counts = schema.rollup_of(f"({events})")
        settings = {**REWRITE_SETTINGS, "max_execution_time": 0}
        hot.query(f"INSERT INTO {rebuilt} {counts}", pinned.parameters, settings)
        filled = set(hot.scalars(f"SELECT DISTINCT epoch AS e FROM {rebuilt} WHERE epoch IN ({among})"))
        for epoch in some:
            change = (
                f"REPLACE PARTITION {epoch} FROM {rebuilt}" if epoch in filled else f"DROP PARTITION {epoch}"
            )
            hot.execute(f"ALTER TABLE {database}.rollup {change}")
            hot.execute(f"ALTER TABLE {rebuilt} DROP PARTITION {epoch}")
