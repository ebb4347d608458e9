"""logproto.PushRequest, written by hand for benchmarks and tests: what Loki's agents send."""

from collections.abc import Iterable, Mapping, Sequence

import cramjam

Entry = tuple[int | None, bytes | str, Mapping[str, str]]
"""Nanoseconds since 1970, line, structured metadata."""
SECOND = 1_000_000_000


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes((*data, number))


def field(number: int, value: bytes | str) -> bytes:
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def entry(time: int | None, line: bytes | str, tags: Mapping[str, str]) -> bytes:
    data = b""
    if time is not None:
        seconds, nanos = divmod(time, SECOND)
        data += field(1, number(1, seconds) + number(2, nanos))
    data += field(2, line)
    return data + b"".join(field(3, field(1, name) + field(2, value)) for name, value in tags.items())


def stream(labels: str, entries: Iterable[Entry]) -> bytes:
    return field(1, labels) + b"".join(field(2, entry(*one)) for one in entries)


def push(streams: Sequence[tuple[str, Sequence[Entry]]]) -> bytes:
    """The plain message."""
    return b"".join(field(1, stream(labels, entries)) for labels, entries in streams)


def packed(plain: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(plain))
