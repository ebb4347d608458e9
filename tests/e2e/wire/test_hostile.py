"""Bytes that mean harm, at every listener that is not HTTP: afterwards it takes what is sound, in no more memory."""

from __future__ import annotations

import random
import socket
import ssl
import struct
from contextlib import ExitStack, suppress
from pathlib import Path

import msgpack
import pytest

from tests.e2e.guarded import patiently
from tests.e2e.wire.conftest import Place

MORE_BYTES = 300 << 20  # of memory; what bodies may take together is a tenth of it
NOISE = random.Random(7).randbytes
ENTRY = msgpack.packb([1_790_000_000, {"message": "x"}])
SYSLOG: dict[str, bytes] = {
    "noise": NOISE(200_000),
    "a count that never ends": b"9" * 1_000_000,
    "a count of a terabyte": b"999999999999 <13>x",
    "a count below nothing": b"-5 <13>x\n",
    "counts of nothing": b"0 " * 100_000,
    "a line without an end": b"<13>" + b"x" * 20_000_000,
    "very many lines of nothing": b"\n" * 5_000_000,
    "zeros": b"\0" * 5_000_000,
    "a header of one field": b"<13>1 " + b"a" * 60_000 + b"\n",
    "structured data without an end": b"<13>1 - h a - - [" + b"a" * 60_000 + b"\n",
    "a priority that is none": b"<99999999999999999999>x\n",
    "half a pair": "<13>1 - h a - - - \ud800\n".encode("utf-8", "surrogatepass"),
}
FLUENT: dict[str, bytes] = {
    "noise": NOISE(200_000),
    "arrays without end": b"\x91" * 1_000_000,
    "maps without end": b"\x81\xa1a" * 500_000,
    "an array of very many": b"\xdd\xff\xff\xff\xff" + b"\x01" * 3_000_000,
    "a map of very many": b"\xdf\xff\xff\xff\xff" + b"\x01" * 3_000_000,
    "a text of four gibibytes": b"\x93\xa1t\xdb\xff\xff\xff\xffx",
    "very many nothings": b"\xc0" * 3_000_000,
    "very many empty entries": msgpack.packb(["t", b"\x90" * 3_000_000]),
    "entries within entries": msgpack.packb(["t", b"\x92" * 900 + ENTRY]),
    "a bomb": msgpack.packb(["t", bytes.fromhex("1f8b08"), {"compressed": "gzip"}]),
    "times that are none": msgpack.packb(["t", [[msgpack.ExtType(0, b"x"), {"message": "x"}]] * 1000]),
    "keys that are maps": b"\x93\xa1t\x01\x81\x81\x01\x02\x03",
}
TLS: dict[str, bytes] = {
    "noise": NOISE(20_000),
    "plain syslog": b"<13>1 - h a - - - x\n" * 1000,
    "half a greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "a record of very much": b"\x16\x03\x03\xff\xff" + b"\0" * 70_000,
}
CASES = (
    [("tcp", name) for name in SYSLOG]
    + [("fluent", name) for name in FLUENT]
    + [("tls", name) for name in TLS]
)
BYTES = {"tcp": SYSLOG, "fluent": FLUENT, "tls": TLS}


def resident(place: Place) -> int:
    status = Path(f"/proc/{place.server.pids()['gateway']}/statm").read_text()
    return int(status.split()[1]) * 4096


@pytest.fixture(scope="module")
def before(wire: Place) -> int:
    return resident(wire)


def test_it_goes_on(wire: Place, before: int) -> None:
    """All of them, one after the other, and then something sound at each."""
    for port, name in CASES:
        with socket.create_connection(("127.0.0.1", wire.ports[port]), timeout=300) as one, suppress(OSError):
            one.sendall(BYTES[port][name])
            one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
        assert wire.server.client.get("/gateway/status").status_code == 200, (port, name)
    sound(wire)
    wire.server.wait_for("hostilesound", 3)
    status = wire.server.client.get
    patiently(
        lambda: status("/gateway/status").json()["spool"]["depth"] == 0 or None
    )  # or others wait for room
    assert resident(wire) - before < MORE_BYTES
    log = (wire.server.folder / "data" / "logs" / "gateway.log").read_text()
    assert "Traceback" not in log


def sound(wire: Place) -> None:
    with socket.create_connection(("127.0.0.1", wire.ports["tcp"])) as one:
        one.sendall(b"<13>1 - h app - - - hostilesound over tcp\n")
    context = ssl.create_default_context(cafile=str(wire.ca))
    with (
        socket.create_connection(("127.0.0.1", wire.ports["tls"])) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"<13>1 - h app - - - hostilesound over tls\n")
    with socket.create_connection(("127.0.0.1", wire.ports["fluent"]), timeout=300) as one:
        record = {"message": "hostilesound over fluent"}
        one.sendall(msgpack.packb(["t", [[1_790_000_000, record]], {"chunk": "hostile"}]))
        assert msgpack.unpackb(one.recv(100)) == {"ack": "hostile"}


def test_who_never_says_anything_whole_gives_way(wire: Place) -> None:
    """Slowloris: a great many that trickle, at each listener; others are let in meanwhile."""
    with ExitStack() as opened:
        for port in ("tcp", "fluent", "tls"):
            for _ in range(50):
                one = opened.enter_context(socket.create_connection(("127.0.0.1", wire.ports[port])))
                one.sendall(struct.pack("B", 0x93))
        sound(wire)
    wire.server.wait_for("hostilesound", 3, exact=False)
