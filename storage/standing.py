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

BOUND = re.compile(r"\{(\w+):")


@dataclass(frozen=True)
class Hidden:
    """Conditions over the columns of `events`. `among`: the rows that have to be looked at; `where`: those to go."""

    among: str
    where: str
    values: Mapping[str, Any]


def hidden_by(standing: Iterable[Deletion]) -> Hidden | None:
    """What these hide; None where there are none. Their values are bound under names of their own."""
    found = list(standing)
    if not found:
        return None
    cleaned, until = min(one.through for one in found), max(one.until for one in found)
    asked = f"fromUnixTimestamp64Nano(toInt64({max(one.asked_at for one in found)}), 'UTC')"
    tests: list[str] = []
    values: dict[str, Any] = {}
    for number, one in enumerate(found):
        what = one.what
        where = BOUND.sub(rf"{{gone{number}_\1:", what.where)
        tests.append(f"({where})")
        values |= {f"gone{number}_{name}": value for name, value in what.values.items()}
    among = f"(epoch > {int(cleaned)} AND (timestamp < {asked} OR epoch <= {int(until)}))"
    return Hidden(among, f"({' OR '.join(tests)})", values)
