"""logproto.PushRequest, read where it lies: entries go to the lexer without a Python object each.

PushRequest   1 repeated streams: StreamAdapter
StreamAdapter 1 labels: string   2 repeated entries: EntryAdapter
EntryAdapter  1 timestamp: (1 seconds, 2 nanos)   2 line   3 repeated structuredMetadata: (1 name, 2 value)
"""

from collections.abc import Iterator

from ingest.errors import RequestRefused
from ingest.receivers.answers import unreadable
from ingest.receivers.intake import Intake
from ingest.receivers.loki_labels import parse_labels, said_by
from ingest.receivers.said import Said, bounded_time
from lexer import next_field

MAX_STREAMS = 65536
MAX_BEFORE_LABELS = 1000
MAX_ENTRY_FIELDS = 65536
SECOND = 1_000_000_000
HINT = "send a logproto.PushRequest, packed by snappy"

Span = tuple[int, int]


def take_push(intake: Intake, data: bytearray, size: int) -> None:
    """Take a request of `size` bytes; PADDING_BYTES follow them. Raises RequestRefused."""
    known: dict[bytes, Said] = {}
    try:
        for count, (number, start, end) in enumerate(_parts(data, 0, size)):
            if count == MAX_STREAMS:
                raise unreadable("body: it has too many streams", "send it in parts")
            if number == 1:
                _take_stream(intake, data, start, end, known)
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise unreadable("labels: they are no utf-8", HINT) from None
        raise _damaged() from None


def _take_stream(intake: Intake, data: bytearray, at: int, end: int, known: dict[bytes, Said]) -> None:
    text = _labels(data, at, end)
    said = known.get(text)
    if said is None:
        said = known[text] = said_by(parse_labels(text.decode()))
    while at < end:
        at = intake.entries(
            data, at, end, service=said.service, host=said.host, level=said.level, tags=said.tags
        )
        if at < end:  # an entry whose tags do not fit
            at, _, start, stop = next_field(data, at, end)
            if stop is None:
                raise _damaged()
            _take_entry(intake, data, start, stop, said)


def _labels(data: bytearray, at: int, end: int) -> bytes:
    """As they are written; clients send them before the entries."""
    for count, (number, start, stop) in enumerate(_parts(data, at, end)):
        if number == 1:
            return bytes(data[start:stop])
        if count == MAX_BEFORE_LABELS:
            raise unreadable("stream: its labels do not come first", HINT)
    return b"{}"


def _take_entry(intake: Intake, data: bytearray, at: int, end: int, said: Said) -> None:
    """As `Columns.add_entries` does it, for what it leaves."""
    line, time, tags = b"", None, []
    for count, (number, start, stop) in enumerate(_parts(data, at, end)):
        if count == MAX_ENTRY_FIELDS:
            raise unreadable("entry: it has too much structured metadata", "send less of it")
        if number == 1:
            time = _time(data, start, stop)
        elif number == 2:
            line = bytes(data[start:stop])
        elif number == 3:
            pair = {key: bytes(data[a:b]) for key, a, b in _parts(data, start, stop)}
            tags.append((_text(pair.get(1, b"")), _text(pair.get(2, b""))))
    said = said.and_also(tags)
    intake.record(line, format="auto", timestamp_ns=time, **said._asdict())


def _time(data: bytearray, at: int, end: int) -> int:
    numbers = {1: 0, 2: 0}
    while at < end:
        at, number, value, stop = next_field(data, at, end)
        if stop is None:
            numbers[number] = value
    seconds, nanos = _signed(numbers[1], 64), _signed(numbers[2], 32)
    return bounded_time(seconds * SECOND + nanos)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _parts(data: bytearray, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields that are bytes: number, start, end. Raises ValueError for a damaged message."""
    while at < end:
        at, number, start, stop = next_field(data, at, end)
        if stop is not None:
            yield number, start, stop


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _damaged() -> RequestRefused:
    return unreadable("body: it is no logproto.PushRequest", HINT)
