"""What a sender says of a record beside its text, told apart into columns and tags."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from ingest.receivers.intake import Text
from lexer import level_of, role_of

COLUMNS = ("service", "host", "level", "trace_id", "span_id")
DETECTED_LEVEL = "detected_level"
MIN_TIME_NS, MAX_TIME_NS = -(2**63) + 1, 2**63 - 1


class Said(NamedTuple):
    """Empty where nothing is said. `level` is one of ours."""

    service: str = ""
    host: str = ""
    level: str = ""
    trace_id: str = ""
    span_id: str = ""
    tags: tuple[tuple[Text, Text], ...] = ()

    def and_also(self, pairs: Iterable[tuple[str, str]]) -> "Said":
        """With more pairs: one that means a column fills it where nothing is there yet, the others are tags that hold
        before those of the same name."""
        columns: dict[str, str] = {}
        tags: list[tuple[Text, Text]] = []
        for name, value in pairs:
            role = _role(name)
            if not role or role in columns or getattr(self, role):
                tags.append((name, value))
            elif said := level_said(value) if role == "level" else value:
                columns[role] = said
            else:
                tags.append((name, value))
        return self._replace(**columns, tags=(*tags, *self.tags))


@lru_cache(4096)
def _role(name: str) -> str:
    """The column that a name fills, or empty."""
    role = "level" if name == DETECTED_LEVEL else role_of(name)
    return role if role in COLUMNS else ""


def level_said(text: str) -> str:
    """Our name of a level's, or empty."""
    return level_of(text.encode("utf-8", "replace"))


def bounded_time(ns: int) -> int:
    """A time that a column can hold; what is beyond is not plausible, whatever it is."""
    return min(max(ns, MIN_TIME_NS), MAX_TIME_NS)
