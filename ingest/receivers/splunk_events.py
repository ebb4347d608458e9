"""The events of a request to Splunk's HTTP Event Collector: JSON objects, one behind the other."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from ingest.receivers.intake import Intake, Text
from ingest.receivers.said import Said, bounded_time
from lexer import PADDING_BYTES, Columns

TAGS = ("source", "sourcetype", "index")
"""What is said of an event beside its host; these are tags."""
MAX_FIELDS_BYTES = 1 << 20
MAX_SECONDS_DIGITS = 64
SECOND = 1_000_000_000
LARGEST_SECONDS, LARGEST_MS, LARGEST_US = 10**11, 10**14, 10**17
"""A time beyond these is taken to be of a smaller unit."""
_BLANK = re.compile(rb"[\s\0]*", re.ASCII)
_QUOTE = ord('"')
_decode = json.JSONDecoder(parse_float=str, parse_int=str).decode


class EventWrong(Exception):
    """Event number `place` (from 0) is not what it should be; `number` is Splunk's code for why."""

    def __init__(self, number: int, text: str, place: int) -> None:
        super().__init__(text)
        self.number = number
        self.text = text
        self.place = place


def take_events(intake: Intake, columns: Columns, data: bytearray, defaults: Mapping[str, str]) -> None:
    """Take all events of `data`, which ends with PADDING_BYTES zeros. Raises EventWrong."""
    size = len(data) - PADDING_BYTES
    at, place = _skip(data, 0), 0
    while at < size:
        found = columns.members(data, at)
        if found is None:
            raise EventWrong(6, "Invalid data format", place)
        end, members = found
        _take(intake, data, members, defaults, place)
        at, place = _skip(data, end), place + 1


def _take(
    intake: Intake,
    data: bytearray,
    members: list[tuple[bytes, int, int]],
    defaults: Mapping[str, str],
    place: int,
) -> None:
    spans = {name: (start, end) for name, start, end in members}
    event = spans.pop(b"event", None)
    if event is None or data[event[0] : event[1]] == b"null":
        raise EventWrong(12, "Event field is required", place)
    said = {
        name: _text(data, spans, name.encode(), place) or defaults.get(name, "") for name in ("host", *TAGS)
    }
    time = _time(_value(data, spans, b"time", place), place)
    about = Said(host=said.pop("host"), tags=tuple((name, value) for name, value in said.items() if value))
    fields = _fields(data, spans, place)
    if fields:
        about = about.and_also(fields.items())
    intake.record(
        _event(data, *event, place),
        format="auto",
        service=about.service,
        host=about.host,
        level=about.level,
        trace_id=about.trace_id,
        span_id=about.span_id,
        tags=about.tags,
        timestamp_ns=time,
    )


def _event(data: bytearray, start: int, end: int, place: int) -> Text:
    """What is lexed: the text of an object as it was sent, or a string's own."""
    if data[start] != _QUOTE:
        return bytes(data[start:end])
    text = str(_loaded(data, start, end, place))
    if not text.strip():
        raise EventWrong(13, "Event field cannot be blank", place)
    try:
        return text.encode("utf-8", "surrogateescape")  # bytes that are no UTF-8 stay as they came
    except UnicodeEncodeError:  # half a character, written as an escape
        return text


def _fields(data: bytearray, spans: Mapping[bytes, tuple[int, int]], place: int) -> dict[str, str]:
    if b"fields" not in spans:
        return {}
    start, end = spans[b"fields"]
    found = _value(data, spans, b"fields", place) if end - start <= MAX_FIELDS_BYTES else None
    if not isinstance(found, dict):
        raise EventWrong(15, "Error in handling indexed fields", place)
    return {name: one if isinstance(one, str) else json.dumps(one) for name, one in found.items()}


def _text(data: bytearray, spans: Mapping[bytes, tuple[int, int]], name: bytes, place: int) -> str:
    value = _value(data, spans, name, place)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _value(data: bytearray, spans: Mapping[bytes, tuple[int, int]], name: bytes, place: int) -> Any:
    if name not in spans:
        return None
    return _loaded(data, *spans[name], place)


def _loaded(data: bytearray, start: int, end: int, place: int) -> Any:
    """A value; numbers as they are written."""
    text = data[start:end].decode("utf-8", "surrogateescape")
    if text[0] == '"' and "\\" not in text:
        return text[1:-1]
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        raise EventWrong(6, "Invalid data format", place) from None


def _time(value: Any, place: int) -> int | None:
    """Nanoseconds since 1970 of seconds, or by magnitude ms, µs or ns; a number's digits are not rounded."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str) or len(value) > MAX_SECONDS_DIGITS:
            raise InvalidOperation
        seconds = Decimal(value.strip())
        if not seconds.is_finite() or seconds.adjusted() > 30:
            raise InvalidOperation
    except InvalidOperation:
        raise EventWrong(6, "Invalid data format", place) from None
    size = abs(seconds)
    unit = (
        1
        if size >= LARGEST_US
        else 1000
        if size >= LARGEST_MS
        else 10**6
        if size >= LARGEST_SECONDS
        else SECOND
    )
    return bounded_time(int(seconds * unit))


def _skip(data: bytearray, at: int) -> int:
    """Where something comes that is no white space."""
    found = _BLANK.match(data, at)
    assert found
    return found.end()
