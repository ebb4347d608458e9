"""OpenTelemetry's official messages, made of plain values or of anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

NOW = 1_780_000_000 * 10**9


def value(content: Any) -> AnyValue:
    """Any value of Python's."""
    match content:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=content)
        case str():
            return AnyValue(string_value=content)
        case int():
            return AnyValue(int_value=content)
        case float():
            return AnyValue(double_value=content)
        case bytes():
            return AnyValue(bytes_value=content)
        case list():
            return AnyValue(array_value={"values": list(map(value, content))})
        case dict():
            return AnyValue(kvlist_value={"values": pairs(content)})
    raise TypeError(content)


def pairs(content: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(one)) for key, one in content.items()]


texts = st.text(max_size=6) | st.sampled_from(
    ["message", "msg", "service.name", "host.name", "a", "a.b", "flags", "level", "error"]
)
scalars = (
    st.none() | texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=7)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
).map(value)
attributes = st.lists(st.builds(KeyValue, key=texts, value=values), max_size=5)
times = st.sampled_from([0, 1, NOW, NOW + 86400 * 10**9, NOW + 86401 * 10**9]) | st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**32 - 1) | st.just(0)
records = st.builds(
    LogRecord,
    time_unix_nano=times,
    observed_time_unix_nano=times,
    severity_number=st.integers(0, 26) | st.integers(-(2**31), 2**31 - 1),
    severity_text=texts | st.sampled_from(["INFO", "warning", "Critical"]),
    body=st.none() | values,
    attributes=attributes,
    dropped_attributes_count=counts,
    flags=counts,
    trace_id=st.binary(max_size=17),
    span_id=st.sampled_from([b"", bytes(8), b"12345678"]),
    event_name=texts,
)
scopes = st.builds(
    InstrumentationScope, name=texts, version=texts, attributes=attributes, dropped_attributes_count=counts
)
scope_logs = st.builds(
    ScopeLogs, scope=st.none() | scopes, log_records=st.lists(records, max_size=3), schema_url=texts
)
resources = st.builds(Resource, attributes=attributes, dropped_attributes_count=counts)
resource_logs = st.builds(
    ResourceLogs,
    resource=st.none() | resources,
    scope_logs=st.lists(scope_logs, max_size=2),
    schema_url=texts,
)
requests = st.builds(ExportLogsServiceRequest, resource_logs=st.lists(resource_logs, max_size=2))
