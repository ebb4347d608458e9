"""What the API's paths answer, for `/openapi.json`."""

from __future__ import annotations

from storage.access.openapi import (
    COUNT,
    OBJECT,
    TEXT,
    Content,
    Json,
    Said,
    answers,
    as_json,
    many,
    maybe,
    record,
)

NUMBER: Json = {"type": "number"}
TIME: Json = {"type": "string", "format": "date-time"}


def one_of(*names: str) -> Json:
    return {"type": "string", "enum": list(names)}


def by_name(schema: Json) -> Json:
    return {"type": "object", "additionalProperties": schema}


def named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


SPARKLINE = record(start=TIME, interval_ms=NUMBER)
_PATTERN: Json = {
    "fingerprint": TEXT, "name": maybe(TEXT), "template": TEXT, "count": COUNT, "share": NUMBER, "sample": TEXT,
    "first_seen": maybe(TIME), "last_seen": maybe(TIME), "services": many(TEXT), "previous_count": maybe(COUNT),
    "fingerprints": COUNT, "sparkline": many(COUNT),
}  # fmt: skip
SCHEMAS: dict[str, Json] = {
    "Event": record(
        id=TEXT, timestamp=TIME, level=TEXT, service=TEXT, host=TEXT, message=TEXT, fingerprint=TEXT, trace_id=TEXT,
        span_id=TEXT, tags=by_name(TEXT), tier=one_of("hot", "cold"),
    ),
    "Stats": record(
        complete={"type": "boolean"}, tiers=many(one_of("hot", "cold")), rows_read=maybe(COUNT),
        bytes_read=maybe(COUNT), elapsed_ms=NUMBER, limits_hit=many(TEXT),
    ),
    "Page": record(events=many(named("Event")), next_cursor=maybe(TEXT), stats=named("Stats")),
    "Table": record(
        columns=many(record(name=TEXT, type=TEXT)), rows=many({"type": "array"}), stats=named("Stats")
    ),
    "Pattern": record("sparkline", **_PATTERN),
    "ChangedPattern": record(
        "sparkline", "previous_sparkline", **_PATTERN, previous_share=NUMBER,
        change=one_of("new", "gone", "grown", "shrunk", "same"), previous_sparkline=many(COUNT),
    ),
    "Namespace": record(
        "deleting", name=TEXT, hot_events=COUNT, hot_bytes=COUNT, deleting={"type": "boolean"}
    ),
    "NamespaceSettings": record(
        "deleting", name=TEXT, hot_events=COUNT, hot_bytes=COUNT, deleting={"type": "boolean"}, created_at=COUNT,
        schema_version=COUNT, schema_latest=COUNT, retention=maybe(OBJECT), limits=by_name(COUNT), settings=OBJECT,
    ),
    "Key": record(
        "last_used_at", id=TEXT, name=TEXT, kind=one_of("key", "session"), scopes=many(TEXT),
        namespaces=maybe(many(TEXT)), role=maybe(TEXT), created_at=COUNT, expires_at=maybe(COUNT),
        revoked_at=maybe(COUNT), last_used_at=maybe(COUNT), events_per_second=maybe(COUNT),
        bytes_per_second=maybe(COUNT),
    ),
    "Role": record(name=TEXT, filter=TEXT, namespaces=maybe(many(TEXT)), scopes=many(TEXT)),
    "Me": record(
        "name", "kind", "scopes", "namespaces", enabled={"type": "boolean"}, authenticated={"type": "boolean"},
        login=maybe(TEXT), name=TEXT, kind=TEXT, scopes=many(TEXT), namespaces=maybe(many(TEXT)),
    ),
}  # fmt: skip

STATS = named("Stats")
FIELD = record(name=TEXT, kind=TEXT, type=TEXT, count=COUNT)
DIFFERENCE = record(
    field=TEXT,
    value=TEXT,
    count=COUNT,
    share=NUMBER,
    other_count=COUNT,
    other_share=NUMBER,
    surprise=NUMBER,
)
NEW_KEY: Json = {"allOf": [named("Key"), record(key=TEXT)]}
SETTINGS: Json = {
    "type": "object",
    "description": "Settings by name; null unsets one: docs/security.md, docs/cold.md",
}
KEY: Json = {
    "type": "object",
    "required": ["scopes"],
    "properties": {
        "scopes": many(one_of("ingest", "search", "admin", "metrics")), "namespaces": many(TEXT), "role": TEXT,
        "name": TEXT, "expires": {"type": "string", "description": "90d, 12h, 30m or never"},
        "events_per_second": COUNT, "bytes_per_second": COUNT,
    },
    "additionalProperties": False,
}  # fmt: skip
ROLE: Json = {
    "type": "object",
    "properties": {"filter": TEXT, "namespaces": many(TEXT), "scopes": many(TEXT)},
    "additionalProperties": False,
}


SEARCHED: Content = {
    "application/json": {"oneOf": [named("Page"), named("Table")]},
    "application/x-ndjson": {
        "type": "string",
        "description": "An event or a row a line; the statistics last",
    },
    "text/csv": TEXT,
}
OK = record(status=one_of("ok"))

SAID: dict[str, Said] = {
    "/api/v1/search": Said({200: SEARCHED}),
    "/api/v1/histogram": answers(
        record(
            "interval_ms",
            buckets=many(record("groups", start=TIME, count=COUNT, groups=by_name(COUNT))),
            interval_ms=NUMBER,
            stats=STATS,
        )
    ),
    "/api/v1/patterns": answers(
        record(
            "sparkline", patterns=many(named("Pattern")), total_events=COUNT, total_patterns=COUNT,
            sparkline=maybe(SPARKLINE), stats=STATS,
        )
    ),
    "/api/v1/patterns/compare": answers(
        record(
            "sparkline", "previous_sparkline", patterns=many(named("ChangedPattern")), total_events=COUNT,
            previous_total_events=COUNT, counts=by_name(COUNT), sparkline=maybe(SPARKLINE),
            previous_sparkline=maybe(SPARKLINE), stats=STATS,
        )
    ),
    "/api/v1/fields": answers(record(fields=many(FIELD), stats=STATS)),
    "/api/v1/fields/compare": answers(
        record(differences=many(DIFFERENCE), total_events=COUNT, other_events=COUNT, stats=STATS)
    ),
    "/api/v1/fields/{name}/values": answers(
        record(field=TEXT, values=many(record(value=TEXT, count=COUNT)), events=COUNT, distinct=COUNT, stats=STATS)
    ),
    "/api/v1/context": answers(record(events=many(named("Event")), index=COUNT, stats=STATS)),
    "/api/v1/explain": answers(record(query=TEXT, ast=OBJECT, plan=OBJECT, sql=many(OBJECT))),
    "/api/v1/tail": Said({200: {"text/event-stream": TEXT}}),
    "/healthz": answers(OK),
    "/readyz": answers(OK),
    "/metrics": Said({200: {"text/plain": TEXT}}),
    "GET /api/v1/namespaces": answers(record(namespaces=many(named("Namespace")))),
    "POST /api/v1/namespaces": Said(
        {201: as_json(named("NamespaceSettings"))},
        takes=as_json({**SETTINGS, "required": ["name"], "properties": {"name": TEXT}}),
    ),
    "GET /api/v1/namespaces/{name}": answers(named("NamespaceSettings")),
    "PATCH /api/v1/namespaces/{name}": Said(
        {200: as_json(named("NamespaceSettings"))}, takes=as_json(SETTINGS)
    ),
    "DELETE /api/v1/namespaces/{name}": Said({202: as_json(record(name=TEXT, deleting={"type": "boolean"}))}),
    "GET /api/v1/keys": answers(record(keys=many(named("Key")))),
    "POST /api/v1/keys": Said({201: as_json(NEW_KEY)}, takes=as_json(KEY)),
    "DELETE /api/v1/keys/{id}": answers(named("Key")),
    "GET /api/v1/roles": answers(record(roles=many(named("Role")))),
    "PUT /api/v1/roles/{name}": Said({200: as_json(named("Role"))}, takes=as_json(ROLE)),
    "DELETE /api/v1/roles/{name}": answers(record(name=TEXT, deleted={"type": "boolean"})),
    "/auth/me": answers(named("Me")),
    "/auth/key": Said(
        {200: as_json(OBJECT)},
        takes=as_json({"type": "object", "required": ["key"], "properties": {"key": TEXT}}),
    ),
    "/auth/logout": answers(record(authenticated={"type": "boolean"})),
    "/auth/login": Said({302: {}}),
    "/auth/callback": Said({303: {}}),
}  # fmt: skip
