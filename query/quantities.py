"""Numbers as people write them, with units: `12`, `1.5s`, `2m3s`, `10KiB`. In Python for what was typed, in SQL for
what was stored; both by one rule.

A field's numbers are in one unit: the one that its name ends in (`latency_ms`, `elapsedMs`, `heap_mb`), or else seconds
for durations and bytes for sizes. A number without a unit is in the field's unit; one with a unit is turned into it.
A duration is never a size: where a field's name says which it holds, the other kind is no number there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
DURATION, SIZE = "duration", "size"

# In nanoseconds, which are whole for all that is written shorter than a nanosecond's tenth: 0.3s is 300ms exactly.
DURATIONS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9,
    "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9,
}  # fmt: skip
# By lower-case spelling. A lone m would be a minute: K, M, G, T and P stand alone as capitals only, and k.
SIZES = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", 1)},
    **{prefix: 1000**power for power, prefix in enumerate("kmgtp", 1)},
}
_STEP = r"(\d+(?:\.\d+)?) ?(ns|us|µs|μs|ms|s|m|h|d|w)"
_DURATION = rf"^[+-]?(?:{_STEP})+$"
_SIZE = r"^([+-]?\d+(?:\.\d+)?) ?(B|[KMGTP]|k|(?i:[kmgtp]i?b))$"

_NAMED = {
    **dict.fromkeys(("ns", "nanos", "nanoseconds"), (DURATION, 1)),
    **dict.fromkeys(("us", "micros", "microseconds"), (DURATION, 1_000)),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), (DURATION, 1_000_000)),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), (DURATION, 10**9)),
    "minutes": (DURATION, 60 * 10**9), "hours": (DURATION, 3600 * 10**9), "days": (DURATION, 86_400 * 10**9),
    "bytes": (SIZE, 1),
    **{name: (SIZE, SIZES[name]) for name in SIZES if len(name) > 1},
}  # fmt: skip
_NOT_IN_NUMBERS = re.compile(rb"[\s_\x80-\xff]")
_STARTS_AS_NUMBER = re.compile(rb"[+-]?[0-9]")
_LAST_WORD = re.compile(r"[A-Za-z]*$")
_LAST_CAPITALS = re.compile(r"(?<=[a-z0-9])[A-Z]+[a-z]*$")


@dataclass(frozen=True)
class Unit:
    """What a number counts: nanoseconds (of a duration) or bytes (of a size) a piece."""

    kind: str
    scale: int


@dataclass(frozen=True)
class Quantity:
    """A number as typed. `kind` is None where it had no unit; else `number` is in nanoseconds or bytes."""

    number: float
    kind: str | None = None

    def within(self, unit: Unit | None) -> float:
        """The number in a field's unit. ValueError, "message; hint", where the one is no measure for the other."""
        if self.kind is None:
            return self.number
        if unit is not None and unit.kind != self.kind:
            raise ValueError(
                f"cannot compare a {unit.kind} with a {self.kind}; use a number, or a {unit.kind}"
            )
        return self.number / scale_of(self.kind, unit)


def scale_of(kind: str, unit: Unit | None) -> int:
    """What the number in nanoseconds or bytes is divided by."""
    return unit.scale if unit else 10**9 if kind == DURATION else 1


COUNT = Unit("count", 1)
"""Of numbers that only count: nothing with a unit compares with them."""


@cache
def unit_of(name: str) -> Unit | None:
    """The unit that the end of a field's name says: `latency_ms`, `elapsedMs`, `heap.MB`, or the name itself, `ms`."""
    endings = [found[0].lower() for ending in (_LAST_WORD, _LAST_CAPITALS) if (found := ending.search(name))]
    return next((Unit(*_NAMED[word]) for word in endings if word in _NAMED), None)


def parse_quantity(text: str) -> Quantity | None:
    """The number that a text is; None where it is none."""
    if NUMBER.fullmatch(text):
        return Quantity(float(text))
    if re.match(_DURATION, text, re.ASCII):
        total = sum(float(number) * DURATIONS[unit] for number, unit in re.findall(_STEP, text, re.ASCII))
        return Quantity(-total if text.startswith("-") else total, DURATION)
    if size := re.match(_SIZE, text, re.ASCII):
        return Quantity(float(size[1]) * SIZES[size[2].lower()], SIZE)
    return None


def number_of(text: bytes, unit: Unit | None, kind: str | None = None) -> float | None:
    """What the SQL of `number_sql` makes of a stored text."""
    if not _NOT_IN_NUMBERS.search(text):  # else Python reads what the server does not
        with suppress(ValueError):
            return float(text)
    if not _STARTS_AS_NUMBER.match(text) or text.endswith(b"\n"):  # Python's `$` would not mind a line break
        return None
    try:
        found = parse_quantity(text.decode())
    except UnicodeDecodeError:
        return None
    if found is None or found.kind is None or found.kind != (kind or found.kind):
        return None
    return found.number / scale_of(found.kind, unit) if unit is None or unit.kind == found.kind else None


def number_sql(text: str, unit: Unit | None, kind: str | None = None) -> str:
    """SQL of the number that a text holds, in a field's unit; NULL where it is none.

    `kind`: numbers with a unit count only if they are of this kind.
    """
    # Plain numbers first, then what cannot be one: to look for units costs ten times as much.
    branches = [f"isNotNull(toFloat64OrNull({text})), toFloat64OrNull({text})", f"{text} = '', NULL"]
    branches.append(f"NOT match({text}, '^[+-]?[0-9]'), NULL")
    kinds = [one for one in (DURATION, SIZE) if one in (kind or one) and one in (unit.kind if unit else one)]
    for one in kinds:
        pattern, made = (_DURATION, _duration_sql) if one == DURATION else (_SIZE, _size_sql)
        branches.append(f"match({text}, {_literal(pattern)}), {made(text)} / {scale_of(one, unit)}")
    return f"(multiIf({', '.join(branches)}, NULL) + 0.)"  # of two zeros one: they would be two groups


def _duration_sql(text: str) -> str:
    steps = f"extractAllGroupsVertical({text}, {_literal(_STEP)})"
    each = f"arrayMap(step -> toFloat64OrZero(step[1]) * {_scale_sql('step[2]', DURATIONS)}, {steps})"
    return f"if(startsWith({text}, '-'), -arraySum({each}), arraySum({each}))"


def _size_sql(text: str) -> str:
    groups = f"extractGroups({text}, {_literal(_SIZE)})"
    # The server may look at texts that did not match: of a column with few values it takes each value once.
    return f"toFloat64OrZero({groups}[1]) * {_scale_sql(f'lower({groups}[2])', SIZES)}"


def _scale_sql(unit: str, scales: dict[str, int]) -> str:
    names = ", ".join(f"'{name}'" for name in scales)
    factors = ", ".join(f"{scale}." for scale in scales.values())
    return f"transform({unit}, [{names}], [{factors}], 0.)"


def _literal(pattern: str) -> str:
    """One of the patterns above as an SQL literal."""
    return "'" + pattern.replace("\\", "\\\\") + "'"
