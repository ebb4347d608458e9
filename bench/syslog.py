"""What a syslog message costs the gateway, by form and framing.

    python -m bench.syslog [--rows N] [--quick] [--json]

One connection sends messages as fast as they are taken, and they are counted when all can be found. CPU is of the
gateway's process, all of it: reading, framing, parsing, lexing, sealing, fsyncs, sending to ClickHouse; `parse` is the
framing and parsing alone, `record` with the lexer, in this process.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import corpus
from bench.report import Report, parser
from bench.server import Server, free_port
from ingest.receivers.intake import LEXER_BYTES, LEXER_ROWS, Intake
from ingest.receivers.syslog import parse, shift_of
from ingest.receivers.syslog_framing import Framing
from lexer import Columns

ROWS, QUICK_ROWS = 500_000, 30_000
CHUNK_BYTES = 256 << 10

Event = Mapping[str, Any]


def rfc5424(event: Event, service: str) -> bytes:
    head = f"<134>1 {event['timestamp']} {event['host']} {service} 4711 - "
    return (head + f'[meta@32473 level="{event["level"]}"] {event["message"]}').encode()


def rfc3164(event: Event, service: str) -> bytes:
    return f"<134>Nov 29 12:00:00 {event['host']} {service}[4711]: {event['message']}".encode()


def counted(message: bytes) -> bytes:
    return b"%d %s" % (len(message), message)


def line(message: bytes) -> bytes:
    return message + b"\n"


Form = Callable[[Event, str], bytes]
WAYS: dict[str, tuple[Form, Callable[[bytes], bytes]]] = {
    "rfc5424, counted": (rfc5424, counted),
    "rfc5424, lines": (rfc5424, line),
    "rfc3164, lines": (rfc3164, line),
}


def chunks(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


def alone(data: bytes) -> tuple[float, float]:
    """CPU seconds of framing and parsing, and of all that makes rows."""
    shift, now, framing = shift_of(None), time.time_ns(), Framing(65536)
    begun = time.process_time()
    for chunk in chunks(data):
        for message in framing.feed(chunk):
            parse(message, now, shift)
    took = time.process_time() - begun
    framing = Framing(65536)
    intake = Intake(Columns(max_rows=LEXER_ROWS, max_bytes=LEXER_BYTES), "default", b"bench")
    begun = time.process_time()
    for chunk in chunks(data):
        for message in framing.feed(chunk):
            one = parse(message, now, shift)
            intake.record(one.text, format=one.format, level=one.level, service=one.service, host=one.host,
                          tags=one.tags, timestamp_ns=one.timestamp_ns)  # fmt: skip
    intake.finish()
    return took, time.process_time() - begun


def measure(server: Server, report: Report, name: str, send: Callable[[str], bytes], rows: int) -> None:
    service = "bench-" + name.replace(" ", "-").replace(",", "")
    before, begun = server.parts(), time.monotonic()
    data = send(service)
    server.wait_for(f"service:{service}", rows)
    took, after = time.monotonic() - begun, server.parts()
    figures = {"gateway_cpu_us_per_event": (after["gateway"].cpu - before["gateway"].cpu) / rows * 1e6}
    if name in WAYS:
        parsing, all_of_it = alone(data)
        figures |= {"parse_us": parsing / rows * 1e6, "record_us": all_of_it / rows * 1e6}
    report.add(name, events_per_s=rows / took, bytes_per_event=len(data) / rows, **figures)


def main() -> int:
    args = parser(__doc__.splitlines()[0], ROWS).parse_args()
    rows = QUICK_ROWS if args.quick else args.rows
    events = list(corpus.events(rows))
    report = Report("syslog", rows)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = Path(folder, "neve.toml")
        config.write_text(f'[receivers]\nsyslog_tcp = "127.0.0.1:{port}"\n')
        with Server(Path(folder, "server"), options=("--config", str(config))) as server:
            for name, (form, frame) in WAYS.items():

                def send(service: str, form: Form = form, frame: Callable[[bytes], bytes] = frame) -> bytes:
                    data = b"".join(frame(form(event, service)) for event in events)
                    with socket.create_connection(("127.0.0.1", port)) as sock:
                        sock.sendall(data)
                    return data

                measure(server, report, name, send, rows)
    report.print(args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
