"""What a record costs the gateway, by the protocol that it comes in.

    python -m bench.push [--rows N] [--quick] [--json]

The same events, 12 tags each, are sent to one server by one client, a request of 2,000 after the other, and counted
when all can be found. CPU is of the gateway's process, all of it: HTTP, unpacking, lexing, sealing, fsyncs, sending to
ClickHouse. Loki's have half of their tags as structured metadata and half in a JSON line. The plain way, NDJSON,
is measured in the same run.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import corpus
from bench.logproto import packed, push
from bench.report import Report, parser
from bench.server import Server
from lexer import timestamp

ROWS, QUICK_ROWS, REQUEST_ROWS = 200_000, 20_000, 2000
METADATA = 6

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Way:
    """How a client sends: the path, its headers, and the body of a request that is the number-th."""

    path: str
    headers: Mapping[str, str]
    body: Callable[[Sequence[Event], str], bytes]


def line_of(event: Event, service: str) -> bytes:
    """The event as one JSON object, as the other benchmarks have it."""
    names = {name: event[name] for name in ("timestamp", "level", "host", "message")}
    return json.dumps({**names, "service": service, **event["tags"]}).encode()


def lines(events: Sequence[Event], service: str) -> bytes:
    return b"\n".join(line_of(event, service) for event in events)


def bulk(events: Sequence[Event], service: str) -> bytes:
    return b"".join(b'{"create":{"_index":"logs"}}\n' + line_of(event, service) + b"\n" for event in events)


def bulk_with_ids(events: Sequence[Event], service: str) -> bytes:
    return b"".join(
        b'{"index":{"_index":"logs","_id":"%s-%d"}}\n%s\n' % (service.encode(), n, line_of(event, service))
        for n, event in enumerate(events)
    )


def hec(events: Sequence[Event], service: str) -> bytes:
    return b"".join(
        b'{"time":%d,"host":"h","sourcetype":"app","event":%s}'
        % (event_time(event) // 10**9, line_of(event, service))
        for event in events
    )


def split_tags(event: Event) -> tuple[dict[str, str], dict[str, str]]:
    """Those of the metadata, those of the line."""
    tags = [(name, str(value)) for name, value in event["tags"].items()]
    return dict(tags[:METADATA]), dict(tags[METADATA:])


def loki_line(event: Event, tags: Mapping[str, str]) -> str:
    return json.dumps({"level": event["level"], "msg": event["message"], **tags})


def loki_protobuf(events: Sequence[Event], service: str) -> bytes:
    entries = []
    for event in events:
        metadata, tags = split_tags(event)
        entries.append((event_time(event), loki_line(event, tags), metadata))
    return packed(push([(f'{{service_name="{service}", env="prod", host="h"}}', entries)]))


def loki_json(events: Sequence[Event], service: str) -> bytes:
    values = []
    for event in events:
        metadata, tags = split_tags(event)
        values.append([str(event_time(event)), loki_line(event, tags), metadata])
    labels = {"service_name": service, "env": "prod", "host": "h"}
    return gzip.compress(json.dumps({"streams": [{"stream": labels, "values": values}]}).encode(), 1)


def event_time(event: Event) -> int:
    """Nanoseconds since 1970."""
    found = timestamp(str(event["timestamp"]).encode(), 0)
    assert found
    return found[0]


NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json", "content-encoding": "gzip"}
WAYS = {
    "ndjson": Way("/api/v1/ingest", NDJSON, lines),
    "elasticsearch bulk": Way("/_bulk", NDJSON, bulk),
    "elasticsearch bulk, ids": Way("/_bulk", NDJSON, bulk_with_ids),
    "loki protobuf": Way("/loki/api/v1/push", {"content-type": "application/x-protobuf"}, loki_protobuf),
    "loki json, gzip": Way("/loki/api/v1/push", JSON, loki_json),
    "splunk hec": Way("/services/collector", {"authorization": "Splunk any"}, hec),
}


def requests(rows: int) -> Iterator[list[Event]]:
    """The events, a request's at a time."""
    held: list[Event] = []
    for event in corpus.events(rows):
        held.append(event)
        if len(held) == REQUEST_ROWS:
            yield held
            held = []
    if held:
        yield held


def measure(server: Server, report: Report, name: str, way: Way, rows: int) -> None:
    service = "bench-" + name.replace(" ", "-").replace(",", "")
    bodies = [way.body(events, service) for events in requests(rows)]
    before, begun = server.parts(), time.monotonic()
    for body in bodies:
        server.client.post(way.path, content=body, headers=dict(way.headers)).raise_for_status()
    answered = time.monotonic() - begun
    server.wait_for(f"service:{service}", rows)
    after = server.parts()
    cpu = {part: after[part].cpu - before[part].cpu for part in ("gateway", "front")}
    report.add(
        name,
        events_per_s=rows / answered,
        gateway_cpu_us_per_event=cpu["gateway"] / rows * 1e6,
        front_cpu_us_per_event=cpu["front"] / rows * 1e6,
        bytes_per_event=sum(map(len, bodies)) / rows,
    )


def main() -> int:
    args = parser(__doc__.splitlines()[0], ROWS).parse_args()
    rows = QUICK_ROWS if args.quick else args.rows
    report = Report("push", rows)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        for name, way in WAYS.items():
            measure(server, report, name, way, rows)
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
