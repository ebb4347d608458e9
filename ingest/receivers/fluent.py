"""What a message of Fluent's forward protocol says, in any of its modes, and what becomes of its records.

Every part is walked over before objects are made of it, one entry at a time: a few bytes can stand for a great many
objects.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgpack

from ingest.errors import RequestRefused
from ingest.receivers.encodings import decode
from ingest.receivers.intake import Intake
from lexer import level_of

MAX_PLAIN_BYTES = 64 << 20
"""Of a message's entries, decompressed."""
MAX_ENTRY_BYTES = 1 << 20
"""Of one that is taken apart; a larger one is kept as it is."""
MAX_DEPTH = 32
TAG = b"fluent.tag"
ENCODINGS = {b"gzip": "gzip", b"zstd": "zstd", b"text": ""}
MESSAGE_NAMES = (b"log", b"message", b"MESSAGE", b"msg")
LEVEL_NAMES = (b"level", b"severity", b"log_level", b"loglevel", b"PRIORITY")
SERVICE_NAMES = (
    b"service.name", b"service", b"kubernetes.labels.app.kubernetes.io/name", b"kubernetes.labels.app",
    b"kubernetes.container_name", b"container_name", b"ident", b"SYSLOG_IDENTIFIER",
)  # fmt: skip
HOST_NAMES = (b"host.name", b"host", b"hostname", b"kubernetes.host", b"_HOSTNAME")
PRIORITIES = (b"emerg", b"alert", b"crit", b"err", b"warning", b"notice", b"info", b"debug")
EVENT_TIME = 0  # the type of MessagePack's extension
_SIGNAL_LOGS = 0
_BROKEN = (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError, OverflowError)
"""What reading bytes that are no MessagePack raises; TypeError where a map is a key of another."""


@dataclass(slots=True)
class Forwarded:
    """One message. `entries`: plain or compressed bytes of entries one after the other, or of one time and record."""

    tag: bytes
    entries: memoryview
    single: bool
    option: Mapping[bytes, Any] = field(default_factory=dict)

    @property
    def chunk(self) -> bytes:
        """What its sender wants to be answered with; empty: nothing."""
        chunk = self.option.get(b"chunk", b"")
        return chunk if isinstance(chunk, bytes) else b""


def read(raw: bytes) -> Forwarded | None:
    """A whole message; None for a heartbeat. Raises RequestRefused for what is none."""
    if raw == b"\xc0":
        return None
    try:
        return _read(raw)
    except _BROKEN as error:
        raise _refused("its message is none of the forward protocol") from error


def _read(raw: bytes) -> Forwarded:
    walk = unpacker(len(raw))
    walk.feed(raw)
    count = walk.read_array_header()
    tag = walk.unpack() if count in (2, 3, 4) else None
    if not isinstance(tag, bytes):
        raise ValueError
    at = walk.tell()
    kind = raw[at]
    walk.skip()
    single = False
    if 0x90 <= kind <= 0x9F or kind in (0xDC, 0xDD):
        head = {0xDC: 3, 0xDD: 5}.get(kind, 1)
        entries, taken = memoryview(raw)[at + head : walk.tell()], 2
    elif 0xA0 <= kind <= 0xBF or kind in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB):
        head = {0xC4: 2, 0xC5: 3, 0xC6: 5, 0xD9: 2, 0xDA: 3, 0xDB: 5}.get(kind, 1)
        entries, taken = memoryview(raw)[at + head : walk.tell()], 2
    else:
        walk.skip()
        single, entries, taken = True, memoryview(raw)[at : walk.tell()], 3
    option = walk.unpack() if count > taken else None
    if option is not None and not isinstance(option, dict):
        raise ValueError
    return Forwarded(tag, entries, single, option or {})


def unpacker(size: int) -> msgpack.Unpacker:
    """Reads MessagePack of at most `size` bytes; texts are bytes, times are ns since 1970."""
    return msgpack.Unpacker(
        max_buffer_size=max(size, 1),
        raw=True,
        strict_map_key=False,
        ext_hook=_extension,
        max_array_len=1 << 18,
    )


def put(intake: Intake, message: Forwarded, peer: bytes) -> int:
    """Take all its records; return how many were none, and are kept as they are.

    Raises RequestRefused where they cannot be unpacked: then nothing was taken.
    """
    plain = message.entries
    if not message.single:
        if message.option.get(b"fluent_signal", _SIGNAL_LOGS) != _SIGNAL_LOGS:
            raise _refused("it has metrics or traces, and only logs are taken")
        compressed = message.option.get(b"compressed", b"text")
        name = ENCODINGS.get(compressed if isinstance(compressed, bytes) else b"")
        if name is None:
            raise _refused("its compression is none of gzip and zstd")
        if name:
            plain = memoryview(decode(bytes(plain), name, MAX_PLAIN_BYTES))
    odd = 0
    for piece in _pieces(plain, 2 if message.single else 1):
        found = _entry(piece, message.single)
        if found is None:
            odd += 1
            intake.record(bytes(piece), format="message", host=peer, tags=[(TAG, message.tag)])
        else:
            _put_record(intake, message.tag, *found, peer)
    return odd


def _pieces(plain: memoryview, things: int) -> Iterator[memoryview]:
    """The bytes of each entry; of what is broken the rest."""
    walk = unpacker(len(plain))
    walk.feed(plain)
    at = 0
    while at < len(plain):
        try:
            for _ in range(things):
                walk.skip()
        except _BROKEN:
            yield plain[at:]
            return
        end = walk.tell()
        yield plain[at:end]
        at = end


def _entry(piece: memoryview, single: bool) -> tuple[int | None, dict[bytes, Any], dict[bytes, Any]] | None:
    """Time, metadata and record; None for what is none."""
    if len(piece) > MAX_ENTRY_BYTES:
        return None
    walk = unpacker(len(piece))
    walk.feed(piece)
    try:
        if not single and walk.read_array_header() < 2:
            return None
        time, record = walk.unpack(), walk.unpack()
    except _BROKEN:
        return None
    metadata: dict[bytes, Any] = {}
    if isinstance(time, list) and len(time) == 2 and isinstance(time[1], dict):
        time, metadata = time  # as Fluent Bit has it
    return (_ns(time), metadata, record) if isinstance(record, dict) else None


class EventTime(int):
    """Nanoseconds since 1970."""


def _extension(kind: int, data: bytes) -> object:
    if kind == EVENT_TIME and len(data) == 8:
        seconds, nanos = struct.unpack(">II", data)
        return EventTime(seconds * 10**9 + nanos)
    return data


def _ns(time: object) -> int | None:
    if isinstance(time, msgpack.Timestamp):
        return int(time.to_unix_nano())
    if isinstance(time, EventTime):
        return int(time) or None
    if isinstance(time, (int, float)) and not isinstance(time, bool) and 0 < time < 2**33:
        return int(time) * 10**9 + (int(time % 1 * 10**9) if isinstance(time, float) else 0)
    return None


def _put_record(
    intake: Intake,
    tag: bytes,
    time: int | None,
    metadata: dict[bytes, Any],
    record: dict[bytes, Any],
    peer: bytes,
) -> None:
    fields = dict(_flat(metadata, b"", 0))
    fields.update(_flat(record, b"", 0))
    text = next((fields.pop(name) for name in MESSAGE_NAMES if fields.get(name)), None)
    level = _level(fields)
    service = next((fields.pop(name) for name in SERVICE_NAMES if fields.get(name)), b"").removeprefix(b"/")
    host = next((fields.pop(name) for name in HOST_NAMES if fields.get(name)), peer)
    trace, span = fields.pop(b"trace_id", b""), fields.pop(b"span_id", b"")
    format = "message"
    if text is None:
        text = _json(record).encode()
    else:
        text = text.rstrip(b"\r\n")
        if text.startswith(b"{") and text.endswith(b"}"):
            format = "json"  # of a program whose output somebody else wraps
    intake.record(
        text,
        format=format,
        level=level,
        service=service,
        host=host,
        tags=[(TAG, tag), *fields.items()],
        timestamp_ns=time,
        trace_id=trace,
        span_id=span,
    )


def _level(fields: dict[bytes, bytes]) -> str:
    """Of the first field that names one; the field is taken out where its text is nothing more."""
    for name in LEVEL_NAMES:
        value = fields.get(name)
        if value is None:
            continue
        if name == b"PRIORITY" and value in (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"):
            value = PRIORITIES[int(value)]
        if level := level_of(value):
            del fields[name]
            return level
    return ""


def _flat(record: Mapping[Any, Any], prefix: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
    for key, value in record.items():
        name = prefix + _text(key)
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            yield from _flat(value, name + b".", depth + 1)
        elif value is not None and name:
            yield name, _text(value)


def _text(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, msgpack.Timestamp):
        return _written(value).encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (int, float)):
        return str(int(value) if isinstance(value, EventTime) else value).encode()
    return _json(value).encode()


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, msgpack.Timestamp):
        return _written(value)
    if isinstance(value, dict):
        return {_text(key).decode("utf-8", "replace"): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _written(time: msgpack.Timestamp) -> str:
    """MessagePack's own time, in RFC 3339; as seconds since 1970 where no year of four digits has it."""
    try:
        second = datetime.fromtimestamp(time.seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time.seconds}.{time.nanoseconds:09d}"
    return f"{second:%Y-%m-%dT%H:%M:%S}.{time.nanoseconds:09d}Z"


def _refused(why: str) -> RequestRefused:
    return RequestRefused("bad_message", f"cannot take fluent message: {why}", "check the sender's output")
