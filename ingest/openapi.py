"""What the gateway's paths take and answer, for `/openapi.json`."""

from __future__ import annotations

from storage.access.openapi import BYTES, COUNT, OBJECT, TEXT, Content, Said, answers, as_json, many, record

PROTOBUF, JSON, PLAIN = "application/x-protobuf", "application/json", "text/plain"


# How other systems say no.
GOOGLE: Content = {JSON: record(code={"type": "integer"}, message=TEXT), PROTOBUF: BYTES}
ELASTIC: Content = {JSON: record(error=OBJECT, status={"type": "integer"})}
SPLUNK: Content = {JSON: record(text=TEXT, code={"type": "integer"})}
LOKI: Content = {PLAIN: TEXT}

TAKEN = record(
    accepted=COUNT,
    rejected=COUNT,
    errors=many(record(line={"type": "integer", "minimum": 1}, reason=TEXT)),
    duplicate={"type": "boolean"},
)
LINES: Content = {"application/x-ndjson": BYTES, PLAIN: BYTES}
SUCCESS = record(text=TEXT, code={"type": "integer"})
BULK = Said(
    {200: as_json(record(took=COUNT, errors={"type": "boolean"}, items=many(OBJECT)))},
    errors=ELASTIC,
    more=(415,),
    takes={"application/x-ndjson": BYTES},
)
LETTER = record(id=TEXT, rows=COUNT, namespace=TEXT, reason=TEXT, refused_at=TEXT)
DONE = (422,)

SAID: dict[str, Said] = {
    "/api/v1/ingest": Said({200: as_json(TAKEN)}, more=(415,), takes=LINES),
    "/api/v1/blocks": Said(
        {200: as_json(record(status={"type": "string", "enum": ["accepted", "duplicate"]}, block_id=TEXT))},
        more=DONE,
        takes={"application/octet-stream": BYTES},
    ),
    "/v1/logs": Said(
        {200: {JSON: OBJECT, PROTOBUF: BYTES}},
        errors=GOOGLE,
        more=(415,),
        takes={PROTOBUF: BYTES, JSON: OBJECT},
    ),
    "/loki/api/v1/push": Said(
        {204: {}}, errors=LOKI, more=(415,), takes={PROTOBUF: BYTES, JSON: record(streams=many(OBJECT))}
    ),
    "/_bulk": BULK,
    "/{index}/_bulk": BULK,
    "/{index}/_doc": Said(
        {201: as_json(OBJECT)}, errors=ELASTIC, more=(415,), takes={JSON: OBJECT}
    ),
    "/services/collector": Said(
        {200: as_json(SUCCESS)}, errors=SPLUNK, more=(415,), takes={JSON: OBJECT}
    ),
    "/services/collector/raw": Said(
        {200: as_json(SUCCESS)}, errors=SPLUNK, more=(415,), takes={PLAIN: BYTES}
    ),
    "/services/collector/health": Said({200: as_json(SUCCESS)}, errors=SPLUNK),
    "/services/collector/ack": Said(
        {200: as_json(record(acks=OBJECT))}, errors=SPLUNK, takes=as_json(record(acks=many(COUNT)))
    ),
    "/upload": Said({202: {PLAIN: TEXT}}, more=(415,), takes={"application/vnd.fdo.journal": BYTES}),
    "/metrics": Said({200: {PLAIN: TEXT}}),
    "/gateway/ready": answers(record(ready={"type": "boolean"})),
    "/gateway/status": answers(
        record(
            version=TEXT, uptime_seconds={"type": "number"}, spool=OBJECT, lag_seconds={"type": "number"},
            dead_letters=COUNT, inserting={"type": "boolean"}, inserter=TEXT, receivers=OBJECT, troubles=OBJECT,
            counters=OBJECT,
        )
    ),
    "/gateway/storage": answers(
        record(clickhouse=OBJECT, namespaces=many(OBJECT), epochs=many(OBJECT), inserters=many(OBJECT))
    ),
    "/gateway/deadletter": answers(record(dead_letters=many(LETTER))),
    "/gateway/deadletter/replay": Said({200: as_json(record(replayed=many(OBJECT)))}, more=DONE),
    "/gateway/epochs/close": Said(
        {200: as_json(record(namespace=TEXT, epoch=COUNT, present=COUNT, closed={"type": "boolean"}))}, more=DONE
    ),
    "/gateway/evict": Said({200: as_json(record(inserter=TEXT, held=many(OBJECT)))}, more=DONE),
}  # fmt: skip
