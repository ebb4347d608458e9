"""What a sender says of a record beside its text, told apart into columns and tags."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ingest.receivers.intake import Text
from lexer import level_of, role_of

_COLUMNS = ("service", "host", "trace_id", "span_id")
DETECTED_LEVEL = "detected_level"
MIN_TIME_NS, MAX_TIME_NS = -(2**63) + 1, 2**63 - 1


@dataclass(frozen=True, slots=True)
class Said:
    """Empty where nothing is said. `level` is one of ours."""

    service: str = ""
    host: str = ""
    level: str = ""
    trace_id: str = ""
    span_id: str = ""
    tags: tuple[tuple[Text, Text], ...] = field(default=())

    def and_also(self, pairs: Iterable[tuple[str, str]]) -> "Said":
        """With more pairs: one that means a column fills it where nothing is there yet, the others are tags that hold
        before those of the same name."""
        columns: dict[str, str] = {}
        tags: list[tuple[Text, Text]] = []
        for name, value in pairs:
            role = role_of(name)
            if role in _COLUMNS and value and not getattr(self, role) and role not in columns:
                columns[role] = value
            elif (
                (role == "level" or name == DETECTED_LEVEL)
                and not (self.level or "level" in columns)
                and (level := level_said(value))
            ):
                columns["level"] = level
            else:
                tags.append((name, value))
        return replace(self, **columns, tags=(*tags, *self.tags)) if columns or tags else self


def level_said(text: str) -> str:
    """Our name of a level's, or empty."""
    return level_of(text.encode("utf-8", "replace"))


def bounded_time(ns: int) -> int:
    """A time that a column can hold; what is beyond is not plausible, whatever it is."""
    return min(max(ns, MIN_TIME_NS), MAX_TIME_NS)
