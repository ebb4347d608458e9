"""Fluent's forward protocol: fluent-logger unmodified, and what Fluentd and Fluent Bit send, byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgpack
import pytest

from bench.server import Server, free_port
from storage.tls import client_context
from tests.certificates import Authority
from tests.e2e.guarded import patiently
from tests.e2e.wire.conftest import Place
from tests.pages import blocks

SECRET = "between us"


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 240) as sock:
        yield sock


def answer(sock: socket.socket) -> Any:
    """The next whole answer; None where the connection was closed."""
    walk = msgpack.Unpacker()
    with suppress(ConnectionResetError):  # where it had not read everything
        while data := sock.recv(65536):
            walk.feed(data)
            for one in walk:
                return one
    return None


def chunk(tag: str, count: int, name: str, **option: Any) -> bytes:
    """As Fluentd sends a compressed buffer chunk."""
    time = msgpack.ExtType(0, struct.pack(">II", 1_700_000_000, 5))
    entries = b"".join(
        msgpack.packb([time, {"message": f"m{n}", "service": tag, "n": n}]) for n in range(count)
    )
    return msgpack.packb(
        [tag, gzip.compress(entries), {"chunk": name, "size": count, "compressed": "gzip", **option}]
    )


def test_fluent_logger(wire: Place) -> None:
    (script,) = blocks("ingest/fluentd.md", "python")
    subprocess.run([sys.executable, "-c", wire.here(script)], check=True)
    (event,) = wire.events("fluent.tag:shop.cart", 1)
    assert (event["message"], event["level"], event["host"]) == ("paid", "warn", "127.0.0.1")
    assert event["tags"] == {"fluent.tag": "shop.cart", "user.id": "u17", "items": "3"}


def test_a_chunk_is_answered_when_it_is_durable_and_stored_once(wire: Place) -> None:
    with connected(wire.ports["fluent"]) as sock:
        for _ in range(3):  # as after lost answers
            sock.sendall(chunk("chunks", 50, "Y2h1bms="))
            assert answer(sock) == {"ack": "Y2h1bms="}
        sock.sendall(b"\xc0" + chunk("chunks", 5, "second"))
        assert answer(sock) == {"ack": "second"}
    events = wire.events("service:chunks", 55)
    assert {one["timestamp"] for one in events} == {"2023-11-14T22:13:20.000000005Z"}


def troubles(place: Place) -> dict[str, str]:
    found: dict[str, str] = place.server.client.get("/gateway/status").json()["troubles"]
    return found


def test_what_cannot_be_taken_ends_the_connection_and_is_said(wire: Place) -> None:
    before = wire.counter("requests_refused_fluent")
    for body in (
        b"\xc1",
        b"GET / HTTP/1.1\r\n\r\n",
        chunk("t", 1, "x", compressed="zstd"),
        msgpack.packb(["t", 5]),
    ):
        with connected(wire.ports["fluent"]) as sock:
            sock.sendall(body)
            assert answer(sock) is None
    patiently(lambda: wire.counter("requests_refused_fluent") == before + 4 or None)
    assert "receiver fluent from 127.0.0.1" in troubles(wire)
    with connected(wire.ports["fluent"]) as sock:
        sock.sendall(chunk("after", 1, "x"))
        assert answer(sock) == {"ack": "x"}
    assert "receiver fluent from 127.0.0.1" not in troubles(wire)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Authority]]:
    """With a shared key, and TLS that asks for a client's certificate."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    authority = Authority(folder / "tls")
    certificate, key = authority.signed("neve", addresses=("127.0.0.1",), file="server")
    authority.signed("fluentd", file="client")
    config = folder / "neve.toml"
    config.write_text(
        f'[receivers]\nfluent = "127.0.0.1:{port}"\nfluent_shared_key = "{SECRET}"\n'
        f'fluent_certificate = "{certificate}"\nfluent_key = "{key}"\nfluent_client_ca = "{authority.ca}"\n'
    )
    with Server(folder / "server", options=("--config", str(config))):
        yield port, authority


@contextmanager
def secured(guarded: tuple[int, Authority], *, known: bool = True) -> Iterator[socket.socket]:
    """Over TLS; `known`: with a certificate."""
    port, authority = guarded
    files = [str(authority.ca.parent / name) for name in ("client.crt", "client.key")] if known else []
    context = client_context(str(authority.ca), *files)
    with connected(port) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
        yield sock


def test_without_tls_or_a_certificate_nothing_is_said(guarded: tuple[int, Authority]) -> None:
    with connected(guarded[0]) as sock:
        sock.sendall(chunk("guarded", 1, "c"))
        with suppress(ValueError, msgpack.exceptions.UnpackException):  # an alert of TLS is no message
            assert answer(sock) is None or b"HELO" not in sock.recv(100)
    with suppress(OSError):  # of TLS, or that the connection has ended
        assert first_byte(guarded) == b""


def first_byte(guarded: tuple[int, Authority]) -> bytes:
    """Of who shows no certificate."""
    with secured(guarded, known=False) as sock:
        return sock.recv(1)


@pytest.mark.parametrize("secret", [SECRET, "another"])
def test_a_shared_key(guarded: tuple[int, Authority], secret: str) -> None:
    with secured(guarded) as sock:
        hello, option = answer(sock)
        assert hello == "HELO"
        salt, host, nonce = b"s" * 16, b"client", option["nonce"]
        proof = hashlib.sha512(salt + host + nonce + secret.encode()).hexdigest()
        sock.sendall(msgpack.packb(["PING", host.decode(), salt, proof, "", ""]))
        pong, let_in, why, server, shown = answer(sock)
        assert (pong, let_in, why) == (
            "PONG",
            secret == SECRET,
            "" if secret == SECRET else "shared key mismatch",
        )
        if let_in:
            known = hashlib.sha512(salt + server.encode() + nonce + secret.encode()).hexdigest()
            assert shown == known
            sock.sendall(chunk("guarded", 1, "c"))
            assert answer(sock) == {"ack": "c"}
        else:
            sock.sendall(chunk("guarded", 1, "c"))
            assert answer(sock) is None
