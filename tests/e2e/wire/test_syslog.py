"""Syslog from its own clients, unmodified and as the pages say, and from sockets that do what they should not."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.receivers.syslog_udp import kernel_drops, udp_socket
from tests.e2e.guarded import patiently
from tests.e2e.wire.conftest import NAME, Place, running
from tests.pages import ROOT, blocks

SYSLOG_NG = ROOT / "build" / "syslog-ng"


def needs(program: str, package: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs {program}: install {package}")
    return found


@contextmanager
def rsyslog(place: Place, folder: Path, action: str) -> Iterator[Path]:
    """A daemon with an action of the page; gives the socket that it reads. At its end it has sent everything."""
    program = needs("rsyslogd", "rsyslog")
    inbox = folder / "in"
    (folder / "rsyslog.conf").write_text(
        f'global(workDirectory="{folder}" maxMessageSize="64k" processInternalMessages="off")\n'
        'module(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{inbox}" CreatePath="on" RateLimit.Interval="0")\n'
        + place.here(action)
    )
    command = [program, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")]
    with running(command) as process:
        deadline = time.monotonic() + 120
        while not inbox.exists():
            assert process.poll() is None, "rsyslogd did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield inbox


def tell(inbox: Path, *arguments: str) -> None:
    subprocess.run(["logger", "--socket", str(inbox), *arguments], check=True)


@pytest.mark.parametrize("way", [0, 1, 2], ids=["tcp", "tls", "udp"])
def test_rsyslog(wire: Place, short_folder: Path, way: int) -> None:
    service = f"rsyslog{way}"
    if way == 1 and not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        pytest.skip("needs rsyslog's driver for TLS: install rsyslog-gnutls")
    action = blocks("ingest/rsyslog.md", "rsyslog")[way]
    assert way != 1 or NAME in action
    with rsyslog(wire, short_folder, action) as inbox:
        for number in range(20):
            tell(inbox, "--tag", service, "--id=17", "-p", "mail.err", f"disk {number} is full")
        events = wire.events(f"service:{service}", 20)
    assert sorted(one["message"] for one in events) == sorted(
        f"disk {number} is full" for number in range(20)
    )
    for one in events:
        assert (one["level"], one["host"]) == ("error", socket.gethostname().split(".")[0])
        assert one["tags"] == {"syslog.facility": "mail", "syslog.procid": "17"}
        assert abs(timestamp_of(one) - time.time()) < 600


def timestamp_of(event: dict[str, str]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["timestamp"][:26] + "+00:00").timestamp()


def test_logger(wire: Place) -> None:
    needs("logger", "bsdutils")
    (script,) = blocks("ingest/logger.md", "sh")
    for line in wire.here(script).strip().splitlines():
        subprocess.run(shlex.split(line), check=True)
    took, failed = sorted(wire.events("service:backup", 2), key=lambda one: one["level"], reverse=True)
    assert (took["message"], took["level"]) == ("backup took 17 s", "warn")
    assert took["tags"] | {"timeQuality.tzKnown": "1"} == took["tags"]
    assert {
        name: took["tags"][name]
        for name in ("syslog.msgid", "syslog.facility", "syslog.procid", "job@32473.size")
    } == {
        "syslog.msgid": "DONE",
        "syslog.facility": "local3",
        "syslog.procid": "17",
        "job@32473.size": "12",
    }
    assert (failed["message"], failed["level"]) == ("backup failed: no room", "error")
    assert failed["tags"] == {"syslog.facility": "cron"}


def test_python(wire: Place) -> None:
    (script,) = blocks("ingest/python-logging.md", "python")
    subprocess.run([sys.executable, "-c", wire.here(script)], check=True, stderr=subprocess.DEVNULL)
    paid, failed = wire.events("service:shop", 2)
    assert (paid["message"], paid["level"], paid["host"]) == ("paid order 17", "info", "127.0.0.1")
    assert failed["message"].startswith("no answer from bank\nTraceback (most recent call last):\n")
    assert failed["message"].endswith("ZeroDivisionError: division by zero")
    assert (failed["level"], failed["tags"]["syslog.facility"]) == ("error", "local0")


@pytest.mark.parametrize("way", [0, 1], ids=["tcp", "tls"])
def test_syslog_ng(wire: Place, short_folder: Path, way: int) -> None:
    program = SYSLOG_NG / "usr/sbin/syslog-ng"
    if not program.exists():
        pytest.skip("needs syslog-ng: make syslog-ng")
    inbox, name = short_folder / "in", ("d_neve", "d_neve_tls")[way]
    library = next((SYSLOG_NG / "usr/lib/syslog-ng").glob("3.*"))
    page = wire.here(blocks("ingest/syslog-ng.md", "syslog-ng")[way])
    (short_folder / "ng.conf").write_text(
        "@version: 3.38\noptions { keep-hostname(yes); };\n"
        f'source s_src {{ unix-dgram("{inbox}"); }};\n{page}'
        f"log {{ source(s_src); destination({name}); }};\n"
    )
    command = [str(program), "-F", "--no-caps", "-f", str(short_folder / "ng.conf"), "--module-path", str(library),
               "-R", str(short_folder / "persist"),
               "-p", str(short_folder / "pid"), "-c", str(short_folder / "ctl")]  # fmt: skip
    libraries = ":".join(str(folder) for folder in {one.parent for one in SYSLOG_NG.rglob("*.so*")})
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    service = f"ng{way}"
    with running(command, cwd=short_folder, env=environment) as process:
        deadline = time.monotonic() + 120
        while not inbox.exists():
            assert process.poll() is None, "syslog-ng did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for number in range(5):
            tell(inbox, "--tag", service, "-p", "daemon.crit", f"fan {number} stands still")
        events = wire.events(f"service:{service}", 5)
    assert sorted(one["message"] for one in events) == [f"fan {number} stands still" for number in range(5)]
    assert {(one["level"], one["tags"]["syslog.facility"]) for one in events} == {("critical", "daemon")}


# --- sockets ---


def connected(place: Place) -> socket.socket:
    return socket.create_connection(("127.0.0.1", place.ports["tcp"]), 120)


def test_messages_of_a_connection_stay_in_order_and_json_is_tags(wire: Place) -> None:
    with connected(wire) as sock:
        for number in range(2000):
            sock.sendall(b'<14>1 - h ordered - - - @cee: {"n": %d, "msg": "step"}\n' % number)
    wire.server.wait_for("service:ordered", 2000)
    rows = wire.server.search("service:ordered", limit=2000)["events"]
    by_place = sorted(
        rows, key=lambda one: (one["timestamp"], one["id"].split(":")[0], int(one["tags"]["n"]))
    )
    assert sorted(int(one["tags"]["n"]) for one in rows) == list(range(2000))
    assert {one["message"] for one in by_place} == {"step"}


def test_what_has_no_form_is_kept_and_counted(wire: Place) -> None:
    before = {name: wire.counter(f"syslog_tcp_{name}") for name in ("unparsed", "split", "damaged")}
    long = b"x" * 150_000
    with connected(wire) as sock:
        sock.sendall(b"no header marker=formless\n<14>1 - - long - - - " + long + b"\n<999>1 marker=formless")
    with connected(wire) as sock:
        sock.sendall(
            b"33 <14>1 - - counted - - - 123456789 NONSENSE marker=formless\n40 <14>1 - - counted - - - broken"
        )
    assert len(wire.events("marker:formless", 3)) == 3
    pieces = wire.events("service:long", 3)
    assert sum(len(one["message"].rstrip()) for one in pieces) == len(long)
    assert [one["message"] for one in wire.events("service:counted", 2)]
    after = {name: wire.counter(f"syslog_tcp_{name}") - count for name, count in before.items()}
    assert after["split"] == 1
    assert after["damaged"] == 2
    assert after["unparsed"] >= 2


def test_tls_is_tls(wire: Place) -> None:
    context = ssl.create_default_context(cafile=str(wire.ca))
    with (
        socket.create_connection(("127.0.0.1", wire.ports["tls"]), 120) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as sock,
    ):
        sock.sendall(b"33 <14>1 - - secured - - - 123456789")
    with socket.create_connection(("127.0.0.1", wire.ports["tls"]), 120) as plain:
        plain.sendall(b"<14>1 - - secured - - - in the open\n")
    assert [one["message"] for one in wire.events("service:secured", 1)] == ["123456789"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=300)
        | st.sampled_from(
            [b'<14>1 - - f - - [a b="', b"99999999 <", b"16777216 <14>", b"5 <13>a", b"\0", b"\n", b"<"]
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_no_bytes_bring_it_down(wire: Place, pieces: list[bytes], udp: bool) -> None:
    if udp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for piece in pieces:
                sock.sendto(piece, ("127.0.0.1", wire.ports["tcp"]))
        return
    with connected(wire) as sock:
        for piece in pieces:
            sock.sendall(piece)


def test_while_the_spool_is_full_senders_wait_and_nothing_is_lost(wire: Place) -> None:
    clickhouse, count = wire.server.pids()["clickhouse"], 8_000

    def send() -> None:
        with connected(wire) as sock:
            sock.settimeout(600)
            for number in range(count):
                text = secrets.token_urlsafe(3000)  # does not get smaller
                sock.sendall(f'<14>1 - h full - - [n@1 n="{number}"] {text}\n'.encode())

    os.kill(clickhouse, signal.SIGSTOP)
    try:
        sender = threading.Thread(target=send)
        sender.start()
        # More than the spool takes, though memory and sockets may hold the rest: the sender need not wait itself.
        said = patiently(
            lambda: wire.server.client.get("/gateway/status").json()["troubles"].get("receiver syslog_tcp")
        )
        assert said.startswith("waits: ")
    finally:
        os.kill(clickhouse, signal.SIGCONT)
    sender.join(600)
    wire.server.wait_for("service:full", count)


def test_what_the_kernel_drops_is_known() -> None:
    with udp_socket("127.0.0.1", 0) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert kernel_drops(sock) == 0
        for _ in range(100):
            sender.sendto(bytes(1000), sock.getsockname())
        assert 0 < kernel_drops(sock) < 100


def test_after_all_that_it_listens(wire: Place) -> None:
    with connected(wire) as sock:
        sock.sendall(b"<14>1 - - alive - - - yes\n")
    assert wire.events("service:alive", 1)[0]["message"] == "yes"
    assert wire.counter("lines_syslog_tcp") > 0
    assert wire.counter("syslog_udp_buffer_bytes") > 100_000
    metrics = wire.server.client.get("/metrics").text
    for name in (
        "lines_syslog_tcp",
        "lines_syslog_tls",
        "syslog_udp_dropped",
        "syslog_udp_dropped_by_kernel",
    ):
        assert f"neve_gateway_{name}_total" in metrics
    assert f"syslog_tcp: 127.0.0.1:{wire.ports['tcp']}" in status(wire)


def status(place: Place) -> str:
    command = [sys.executable, "-m", "neve", "status", "--to", place.server.url]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
