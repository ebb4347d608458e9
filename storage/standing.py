"""What deletions hide of the hot tier until the ager has removed it, in SQL.

The ager removes what comes late from each epoch when that has closed. Only the epochs after that, and there only what
is older than the last request, may have any of it: so nothing else is looked at with the conditions of deletions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storage.deletions import Deletion
from storage.numbers import first_epoch, last_epoch

BOUND = re.compile(r"\{(\w+):")


@dataclass(frozen=True)
class Hidden:
    """Conditions over the columns of `events`. `among`: the rows that have to be looked at; `where`: those to go."""

    among: str
    where: str
    values: Mapping[str, Any]


def hidden_by(standing: Iterable[Deletion]) -> Hidden | None:
    """What these hide; None where there are none. Their values are bound under names of their own.

    Each shard knows a deletion by epochs of its own; where there are several, each one's is about these alone.
    """
    found = list(standing)
    if not found:
        return None
    by_shard: dict[int, list[tuple[int, Deletion]]] = {}
    for number, one in enumerate(found):
        by_shard.setdefault(one.shard, []).append((number, one))
    values: dict[str, Any] = {}
    amongs, wheres = [], []
    for shard, some in by_shard.items():
        among, where = _hidden_of(some, values)
        if len(by_shard) > 1 or shard > 1:
            own = f"epoch > {first_epoch(shard)} AND epoch <= {last_epoch(shard)}"
            among, where = f"({own} AND {among})", f"({own} AND {where})"
        amongs.append(among)
        wheres.append(where)
    if len(by_shard) == 1:
        return Hidden(amongs[0], wheres[0], values)
    return Hidden(f"({' OR '.join(amongs)})", f"({' OR '.join(wheres)})", values)


def _hidden_of(found: list[tuple[int, Deletion]], values: dict[str, Any]) -> tuple[str, str]:
    """Those of one shard: what has to be looked at, and what goes. Their values are added."""
    cleaned = min(one.through for _, one in found)
    until = max(one.until for _, one in found)
    asked = f"fromUnixTimestamp64Nano(toInt64({max(one.asked_at for _, one in found)}), 'UTC')"
    tests: list[str] = []
    for number, one in found:
        what = one.what
        where = BOUND.sub(rf"{{gone{number}_\1:", what.where)
        tests.append(f"({where})")
        values |= {f"gone{number}_{name}": value for name, value in what.values.items()}
    among = f"(epoch > {int(cleaned)} AND (timestamp < {asked} OR epoch <= {int(until)}))"
    return among, f"({' OR '.join(tests)})"
