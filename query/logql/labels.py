"""What a label's name means on events, and what a matcher asks of it.

A line's stream is told by three labels: `service_name` (or `service`), `host` and `level` (or `detected_level`). Every
tag is a label too, which clients see as structured metadata. Clients write `_` for what stands in no name of
theirs: `k8s_pod_name` is the tag `k8s.pod.name`, where the event has none that is named just so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product

import pyarrow as pa
import pyarrow.compute as pc

from query import conditions as c
from query.analyze import COLUMNS
from query.errors import QueryInvalid, RequestInvalid, invalid_at
from query.levels import ALIASES, LEVELS, level_of
from query.logql import ast
from query.running import regex_error

STREAM = {"service_name": "service", "host": "host", "level": "level"}
"""Label of a stream → column."""
SAME = {"service": "service_name", "detected_level": "level"}
"""Other names of these labels."""
COLUMN_LABELS = {**STREAM, "trace_id": "trace_id", "span_id": "span_id"}
NO_LEVEL = "unknown"  # what clients call the level of a line that has none
MAX_DOTS = 4  # of a name of which every `_` is tried as a dot; of longer ones, those up to each place
ERROR, ERROR_DETAILS = "__error__", "__error_details__"
_UNNAMED = re.compile(r"[^a-zA-Z0-9_]")
_LITERALS = re.compile(r"(?:[\w/ :@,=-]|\\[^\w\s])+(?:\|(?:[\w/ :@,=-]|\\[^\w\s])+)*", re.ASCII)


def sanitized(name: str) -> str:
    """A tag's name as a label's: letters, digits and underscores."""
    label = _UNNAMED.sub("_", name)
    return f"_{label}" if label[:1].isdigit() else label


@cache
def keys_of(name: str) -> tuple[str, ...]:
    """The tags that a label's name may mean: itself first."""
    parts = name.split("_")
    dots = len(parts) - 1
    if dots <= MAX_DOTS:
        signs: Iterable[tuple[str, ...]] = product("_.", repeat=dots)
    else:
        signs = [(*("." * at), *("_" * (dots - at))) for at in range(dots + 1)]
    keys = ["".join(a + b for a, b in zip(parts, (*sign, ""), strict=True)) for sign in signs]
    return tuple(key for key in dict.fromkeys(keys) if not key.startswith(".") and key not in COLUMNS)


def fields_of(name: str) -> tuple[c.Column | c.Tag, ...]:
    """The fields of events that a label may be: the first that is there is meant."""
    label = SAME.get(name, name)
    if label in COLUMN_LABELS:
        return (COLUMNS[COLUMN_LABELS[label]],)
    return tuple(c.Tag(key) for key in keys_of(name))


def is_stream(name: str) -> bool:
    """Is a label one of those that tell streams apart?"""
    return SAME.get(name, name) in STREAM


# --- matchers --------------------------------------------------------------------------------------------


def anchored(pattern: str) -> str:
    """A regex that is about the whole value."""
    return f"^(?s:{pattern})$"


def accepts(pattern: str, values: Iterable[str]) -> list[bool]:
    """Which of these values a regex of a matcher is about."""
    found: list[bool] = pc.match_substring_regex(
        pa.array(list(values), pa.string()), anchored(pattern)
    ).to_pylist()
    return found


def check_regex(text: str, pattern: str, offset: int) -> None:
    """QueryInvalid, with the place, for a pattern that RE2 cannot use."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise regex_error(text, offset, RequestInvalid("", detail=str(error))) from None


def condition(matcher: ast.Matcher, text: str) -> c.Condition:
    """What a matcher asks of an event's own fields. An absent label is the empty text."""
    if matcher.op in ("!=", "!~"):
        positive = ast.Matcher(
            matcher.name, {"!=": "=", "!~": "=~"}[matcher.op], matcher.value, matcher.offset
        )
        return c.Negation(condition(positive, text))
    fields = fields_of(matcher.name)
    if matcher.op == "=~":
        check_regex(text, matcher.value, matcher.offset)
    if fields[0].kind is c.Kind.LEVEL:
        return c.IsIn(fields[0], levels(matcher))
    tests = tuple(_test(field, matcher) for field in fields)
    absent = matcher.value == "" if matcher.op == "=" else accepts(matcher.value, [""])[0]
    return c.all_of(tests) if absent else c.any_of(tests)


def _test(field: c.Column | c.Tag, matcher: ast.Matcher) -> c.Condition:
    value = matcher.value
    if matcher.op == "=":
        return c.IsIn(field, (value,))
    if value == ".*":
        return c.Everything()
    if value == ".+":
        return c.Present(field)
    if _LITERALS.fullmatch(value):
        return c.IsIn(field, tuple(re.sub(r"\\(.)", r"\1", one) for one in re.split(r"(?<!\\)\|", value)))
    found = c.Matches(field, anchored(value), matcher.offset)
    return c.AnyOf((found, c.IsIn(field, ("",)))) if accepts(value, [""])[0] else found


def levels(matcher: ast.Matcher) -> tuple[str, ...]:
    """The stored levels that a matcher (= or =~) means, whichever of their names it is written with."""
    if matcher.op == "=":
        return ("" if matcher.value == NO_LEVEL else level_of(matcher.value) or matcher.value,)
    names = {name: name for name in LEVELS} | ALIASES | {"": ""}
    spelled = [(write(name), level) for name, level in names.items() for write in SPELLINGS]
    found = accepts(matcher.value, [spelling for spelling, _ in spelled])
    kept = {level for (_, level), ok in zip(spelled, found, strict=True) if ok}
    return tuple(level for level in ("", *LEVELS) if level in kept)


SPELLINGS: tuple[Callable[[str], str], ...] = (str.lower, str.upper, str.title)


def unsupported(text: str, offset: int, what: str, hint: str = "") -> QueryInvalid:
    """What Neve has no answer for, by name: never a wrong one."""
    return invalid_at(text, offset, f"{what} is not supported", hint)
