"""The counts of epochs, in `rollup` and `counts`, that are cold, made anew from the cold tier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage import schema
from storage.hot import REWRITE_SETTINGS, Hot
from storage.pinned import Pinned

EPOCHS_AT_ONCE = 50  # an INSERT takes a hundred partitions at most
COUNTED = ("timestamp", "service", "level", "fingerprint", "epoch")


def recount_cold(hot: Hot, pinned: Pinned, epochs: Iterable[int]) -> None:
    """Put what the cold tier has of these epochs in the place of their counts, at once for readers."""
    database = schema.namespace_database(pinned.namespace)
    wanted = sorted({int(epoch) for epoch in epochs})
    for start in range(0, len(wanted), EPOCHS_AT_ONCE):
        some = wanted[start : start + EPOCHS_AT_ONCE]
        events = f"({pinned.select(COUNTED, where=[f'cold.epoch IN ({_among(some)})'])})"
        for table, aside, counts in (
            ("rollup", schema.REBUILT_ROLLUP, schema.rollup_of(events)),
            ("counts", schema.REBUILT_COUNTS, schema.counts_of(events)),
        ):
            _replace(hot, pinned, f"{database}.{table}", f"{database}.{aside}", some, counts)


def _replace(hot: Hot, pinned: Pinned, table: str, aside: str, epochs: Sequence[int], counts: str) -> None:
    for epoch in epochs:
        hot.execute(f"ALTER TABLE {aside} DROP PARTITION {epoch}")
    settings = {**REWRITE_SETTINGS, "max_execution_time": 0}
    hot.query(f"INSERT INTO {aside} {counts}", pinned.parameters, settings)
    filled = set(hot.scalars(f"SELECT DISTINCT epoch AS e FROM {aside} WHERE epoch IN ({_among(epochs)})"))
    for epoch in epochs:
        # The server replaces no partition by nothing.
        change = f"REPLACE PARTITION {epoch} FROM {aside}" if epoch in filled else f"DROP PARTITION {epoch}"
        hot.execute(f"ALTER TABLE {table} {change}")
        hot.execute(f"ALTER TABLE {aside} DROP PARTITION {epoch}")


def _among(epochs: Sequence[int]) -> str:
    return ", ".join(map(str, epochs))
