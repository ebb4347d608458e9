"""OTLP's JSON becomes the same message in its binary form: JSON of Protocol Buffers, but for ids, which are hex.

Names are in lowerCamelCase; those of the .proto files are taken too. Names that are not known are passed over.
"""

import base64
import binascii
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

from ingest.errors import RequestRefused
from ingest.receivers.encodings import Body
from ingest.receivers.protobuf import fixed32, fixed64, integer, length_delimited
from lexer import OTLP_DEPTH

_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
_NUMBERS = {
    f"SEVERITY_NUMBER_{name}{step or ''}": 4 * place + (step or 1)
    for place, name in enumerate(_SEVERITIES)
    for step in (0, 2, 3, 4)
} | {"SEVERITY_NUMBER_UNSPECIFIED": 0}

Json = dict[str, Any]


def to_binary(body: Body) -> bytes:
    """An ExportLogsServiceRequest. Raises RequestRefused where the body is none in JSON."""
    try:
        request = json.loads(body)
        if not isinstance(request, dict):
            raise _Wrong("it is no object")
        return _each(request, "resourceLogs", 1, _resource_logs)
    except _Wrong as error:
        raise _refused(str(error)) from None
    except RecursionError:
        raise _refused("it is nested too deep") from None
    except ValueError as error:  # of json: no JSON, no UTF-8, a number of thousands of digits
        raise _refused(str(error).lower()) from None


class _Wrong(Exception):
    """What is wrong with a value."""


def _refused(reason: str) -> RequestRefused:
    return RequestRefused(
        "bad_body", f"cannot read JSON of OTLP: {reason}", "send an ExportLogsServiceRequest"
    )


# --- messages ---


def _resource_logs(one: Json) -> bytes:
    return _each(one, "scopeLogs", 2, _scope_logs) + _one(one, "resource", 1, _resource)


def _resource(one: Json) -> bytes:
    return _each(one, "attributes", 1, _pair) + _integer(one, "droppedAttributesCount", 2, 32)


def _scope_logs(one: Json) -> bytes:
    return _each(one, "logRecords", 2, _record) + _one(one, "scope", 1, _scope)


def _scope(one: Json) -> bytes:
    return (
        _text(one, "name", 1)
        + _text(one, "version", 2)
        + _each(one, "attributes", 3, _pair)
        + _integer(one, "droppedAttributesCount", 4, 32)
    )


def _record(one: Json) -> bytes:
    return b"".join(
        (
            _long(one, "timeUnixNano", 1),
            _long(one, "observedTimeUnixNano", 11),
            _severity(one),
            _text(one, "severityText", 3),
            _one(one, "body", 5, _value),
            _each(one, "attributes", 6, _pair),
            _integer(one, "droppedAttributesCount", 7, 32),
            _flags(one),
            _id(one, "traceId", 9),
            _id(one, "spanId", 10),
            _text(one, "eventName", 12),
        )
    )


def _pair(one: Json, depth: int = 0) -> bytes:
    content = one.get("value")
    if content is None:
        return _text(one, "key", 1)
    return _text(one, "key", 1) + length_delimited(2, _value(_object(content, "value"), depth))


def _value(one: Json, depth: int = 0) -> bytes:
    # Deeper than may be: what is in it does not matter any more, as the record is going to be rejected.
    if depth > OTLP_DEPTH:
        return b""
    for name, content in one.items():
        write = _KINDS.get(name)
        if write is not None and content is not None:
            return write(content, depth)
    return b""


def _array(content: Any, depth: int) -> bytes:
    return length_delimited(
        5, _each(_object(content, "arrayValue"), "values", 1, lambda one: _value(one, depth + 1))
    )


def _map(content: Any, depth: int) -> bytes:
    return length_delimited(
        6, _each(_object(content, "kvlistValue"), "values", 1, lambda one: _pair(one, depth + 1))
    )


def _bytes(content: Any, _depth: int) -> bytes:
    """Base64 of both alphabets, with or without the signs that fill it up."""
    text = _string(content, "bytesValue").translate(_URL_SAFE)
    try:
        return length_delimited(7, base64.b64decode(text + b"=" * (-len(text) % 4), validate=True))
    except binascii.Error:
        raise _Wrong("bytesValue is no base64") from None


_URL_SAFE = bytes.maketrans(b"-_", b"+/")

# --- fields ---


def _get(message: Json, name: str) -> Any:
    """A field by its name in lowerCamelCase, or as the .proto file has it; None where it is not there."""
    found = message.get(name)
    return message.get(_PROTO_NAMES[name]) if found is None and name in _PROTO_NAMES else found


_PROTO_NAMES = {
    name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    for name in (
        "resourceLogs", "scopeLogs", "logRecords", "timeUnixNano", "observedTimeUnixNano", "severityNumber",
        "severityText", "droppedAttributesCount", "traceId", "spanId", "eventName", "stringValue", "boolValue",
        "intValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue",
    )
}  # fmt: skip


_KINDS: dict[str, Callable[[Any, int], bytes]] = {
    "stringValue": lambda content, _: length_delimited(1, _string(content, "stringValue")),
    "boolValue": lambda content, _: integer(2, _bool(content)),
    "intValue": lambda content, _: integer(3, _whole(content, "intValue", -(2**63), 2**63 - 1)),
    "doubleValue": lambda content, _: b"\x21" + struct.pack("<d", _double(content)),
    "arrayValue": _array,
    "kvlistValue": _map,
    "bytesValue": _bytes,
}
_KINDS |= {_PROTO_NAMES[name]: write for name, write in _KINDS.items()}


def _object(content: Any, name: str) -> Json:
    if not isinstance(content, dict):
        raise _Wrong(f"{name} is no object")
    return content


def _one(message: Json, name: str, field: int, write: Callable[[Json], bytes]) -> bytes:
    content = _get(message, name)
    return b"" if content is None else length_delimited(field, write(_object(content, name)))


def _each(message: Json, name: str, field: int, write: Callable[[Json], bytes]) -> bytes:
    return b"".join(length_delimited(field, write(one)) for one in _objects(message, name))


def _objects(message: Json, name: str) -> Iterator[Json]:
    content = _get(message, name)
    if content is None:
        return
    if not isinstance(content, list):
        raise _Wrong(f"{name} is no array")
    for one in content:
        yield _object(one, f"a member of {name}")


def _string(content: Any, name: str) -> bytes:
    if not isinstance(content, str):
        raise _Wrong(f"{name} is no string")
    try:
        return content.encode()
    except UnicodeEncodeError:  # half of a pair: U+FFFD, as the lexer has it
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _text(message: Json, name: str, field: int) -> bytes:
    content = _get(message, name)
    return length_delimited(field, _string(content, name)) if content else b""


def _id(message: Json, name: str, field: int) -> bytes:
    try:
        content = bytes.fromhex(_get(message, name) or "")
    except (ValueError, TypeError):
        raise _Wrong(f"{name} is no hex") from None
    return length_delimited(field, content) if content else b""


def _whole(content: Any, name: str, least: int, most: int) -> int:
    """A number as such or as text, as 64 bits do not fit into what many take for a number."""
    if isinstance(content, bool) or not isinstance(content, (int, float, str)):
        raise _Wrong(f"{name} is no number")
    try:
        value = int(content)
    except (ValueError, OverflowError):
        raise _Wrong(f"{name} is no whole number") from None
    if not least <= value <= most or (isinstance(content, float) and value != content):
        raise _Wrong(f"{name} is no whole number of its size")
    return value


def _number(message: Json, name: str, bits: int) -> int:
    content = _get(message, name)
    return 0 if content is None else _whole(content, name, 0, 2**bits - 1)


def _integer(message: Json, name: str, field: int, bits: int) -> bytes:
    value = _number(message, name, bits)
    return integer(field, value) if value else b""


def _long(message: Json, name: str, field: int) -> bytes:
    value = _number(message, name, 64)
    return fixed64(field, value) if value else b""


def _flags(message: Json) -> bytes:
    value = _number(message, "flags", 32)
    return fixed32(8, value) if value else b""


def _severity(message: Json) -> bytes:
    content = _get(message, "severityNumber")
    if content is None:
        return b""
    if isinstance(content, str) and content in _NUMBERS:
        return integer(2, _NUMBERS[content])
    return integer(2, _whole(content, "severityNumber", -(2**31), 2**31 - 1))


def _bool(content: Any) -> bool:
    if not isinstance(content, bool):
        raise _Wrong("boolValue is neither true nor false")
    return content


def _double(content: Any) -> float:
    if isinstance(content, bool) or not isinstance(content, (int, float, str)):
        raise _Wrong("doubleValue is no number")
    try:
        return float(content)
    except (ValueError, OverflowError):
        raise _Wrong("doubleValue is no number") from None
