"""What the rows of OpenTelemetry's log records are, said plainly over the official messages."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lexer import MAX_KEY_BYTES, level_of
from lexer._lexer import OTLP_MAX_TAGS

LEVEL_KEYS = {"level", "severity", "lvl", "log.level", "loglevel", "severity_text"}
RANGES = ("trace", "debug", "info", "warn", "error", "fatal")

Tags = dict[str, str]


def number(value: float) -> str:
    """A text of few digits that reads back the same; whole numbers without a point."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if abs(value) < 1e17 and value.is_integer():
        return str(int(value))
    first = 1 if abs(value) < sys.float_info.min else 15
    return next(found for digits in range(first, 18) if float(found := f"{value:.{digits}g}") == value)


def json_text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    if kind == "string_value":
        return json.dumps(value.string_value, ensure_ascii=False)
    if kind == "array_value":
        return "[" + ",".join(map(json_text, value.array_value.values)) + "]"
    if kind == "kvlist_value":
        return json_object(value.kvlist_value.values)
    bare = text(value)
    odd = kind == "double_value" and not math.isfinite(value.double_value)
    return f'"{bare}"' if kind == "bytes_value" or odd else bare


def json_object(pairs: Iterable[KeyValue]) -> str:
    return (
        "{"
        + ",".join(f"{json.dumps(one.key, ensure_ascii=False)}:{json_text(one.value)}" for one in pairs)
        + "}"
    )


def text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return ""
        case "string_value":
            return value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return number(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "string_value_strindex":
            return ""
        case _:
            return json_text(value)


class Fields:
    """Tags, of which there are only so many: of a name that comes twice the last value holds."""

    def __init__(self) -> None:
        self.tags: Tags = {}
        self.coming = 0
        self.rest: list[KeyValue] = []

    def room_for(self, pairs: list[KeyValue], prefix: str) -> bool:
        fits = all(len((prefix + one.key).encode()) <= MAX_KEY_BYTES for one in pairs)
        return bool(pairs) and fits and len(self.tags) + self.coming + len(pairs) <= OTLP_MAX_TAGS

    def add(self, name: str, value: AnyValue) -> None:
        pairs = list(value.kvlist_value.values)
        if value.WhichOneof("value") == "kvlist_value" and self.room_for(pairs, name + "."):
            self.members(pairs, name + ".")
        else:
            self.tags[name] = text(value)

    def members(self, pairs: list[KeyValue], prefix: str, without: KeyValue | None = None) -> None:
        self.coming += len(pairs)
        for one in pairs:
            self.coming -= 1
            if one is not without:
                self.add(prefix + one.key, one.value)

    def attributes(self, pairs: Iterable[KeyValue]) -> None:
        for one in pairs:
            if len(one.key.encode()) > MAX_KEY_BYTES or len(self.tags) + self.coming >= OTLP_MAX_TAGS:
                self.rest.append(one)
            else:
                self.add(one.key, one.value)

    def named(self, **values: Any) -> None:
        for name, value in values.items():
            if value:
                self.tags.setdefault(name, str(value))

    def end(self, overflow: str) -> Tags:
        if self.rest:
            self.tags.setdefault(overflow, json_object(self.rest))
        return self.tags


def message_in(pairs: list[KeyValue]) -> KeyValue | None:
    for name in ("message", "msg"):
        found = [one for one in pairs if one.key == name and one.value.string_value]
        if found:
            return found[-1]
    return None


def severity(record: LogRecord) -> tuple[str, int, str]:
    """Level, number and text, of these what the level does not say."""
    given = record.severity_number
    named = level_of(record.severity_text.encode())
    known = 1 <= given <= 24
    level = RANGES[(given - 1) // 4] if known else named
    said = given if not known or (given - 1) % 4 else 0
    return level, said, "" if named and named == level else record.severity_text


def row(record: LogRecord, shared: Tags) -> dict[str, Any]:
    """What `Columns.add_one` is to be told."""
    fields = Fields()
    message = text(record.body)
    if record.body.WhichOneof("value") == "kvlist_value":
        pairs = list(record.body.kvlist_value.values)
        if fields.room_for(pairs, ""):
            found = message_in(pairs)
            message = found.value.string_value if found else message
            fields.members(pairs, "", found)
    fields.attributes(record.attributes)
    level, said_number, said_text = severity(record)
    fields.named(
        severity_text=said_text,
        severity_number=said_number,
        event_name=record.event_name,
        flags=record.flags,
        dropped_attributes_count=record.dropped_attributes_count,
    )
    said = [level_of(one.encode()) for name, one in fields.tags.items() if name in LEVEL_KEYS]
    level = level or next(filter(None, said), "")
    tags = fields.end("overflow_tags")
    shared = dict(shared)
    columns = {
        column: shared.pop(name) if shared.get(name) else tags.pop(name) if tags.get(name) else ""
        for column, name in (("service", "service.name"), ("host", "host.name"))
    }
    claimed = record.time_unix_nano or record.observed_time_unix_nano
    return {
        "data": message,
        "timestamp_ns": min(claimed, 2**63 - 1) or None,
        "level": level,
        **columns,
        "trace_id": record.trace_id.hex() if any(record.trace_id) else "",
        "span_id": record.span_id.hex() if any(record.span_id) else "",
        "tags": {**shared, **tags},
    }


def rows(request: ExportLogsServiceRequest) -> Iterator[dict[str, Any]]:
    """The rows of a request of which nothing is rejected."""
    for resource_logs in request.resource_logs:
        resource = resource_logs.resource
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope
            fields = Fields()
            fields.attributes(resource.attributes)
            fields.attributes(scope.attributes)
            fields.named(
                **{
                    "scope.name": scope.name,
                    "scope.version": scope.version,
                    "scope.dropped_attributes_count": scope.dropped_attributes_count,
                    "resource.dropped_attributes_count": resource.dropped_attributes_count,
                }
            )
            shared = fields.end("resource.overflow_tags")
            for record in scope_logs.log_records:
                yield row(record, shared)
