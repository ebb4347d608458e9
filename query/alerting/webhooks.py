"""Telling a webhook something: one request, to an address that may be told something.

A server that sends where its users say could be made to ask what only it can reach: itself, its neighbours, a cloud's
metadata. So the host is resolved here, each of its addresses must be a public one (or its name be allowed), and the
connection goes to just that address: nothing is resolved again. Redirects are not followed, and proxies not used.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from query.alerting.config import AlertsConfig
from storage.errors import NeveError

MOST_ANSWER = 2000  # bytes of an answer that are looked at, for the log
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(NeveError):
    """Nothing may be sent there."""

    code = "webhook_refused"


@dataclass(frozen=True)
class Sent:
    """What came of a try. `status`: 0 where there was no answer; `error`: empty where it was taken."""

    status: int
    error: str
    ms: int

    @property
    def ok(self) -> bool:
        return not self.error


class Sender:
    """Sends requests. Thread-safe."""

    def __init__(self, config: AlertsConfig, context: ssl.SSLContext | None = None) -> None:
        self._config = config
        self._context = context or ssl.create_default_context()

    def send(self, url: str, body: bytes, secret: str, key: str, attempt: int = 1) -> Sent:
        """POST a body once. Never raises for what the other side does.

        `secret`: signs it, if there is one; `key`: by which the receiver knows it when it comes again.
        """
        began = time.monotonic()
        status, error = 0, ""
        try:
            status, answer = self._post(url, body, _headers(body, secret, key, attempt))
            if not 200 <= status < 300:
                what = (
                    "it redirects, which is not followed" if 300 <= status < 400 else f"it answered {status}"
                )
                error = f"{what}: {answer}" if answer else what
        except Refused as refused:
            error = str(refused)
        except (OSError, http.client.HTTPException, ValueError) as fault:
            late = time.monotonic() - began >= self._config.timeout_seconds
            error = "it does not answer in time" if late else _said(fault)
        return Sent(status, error, round((time.monotonic() - began) * 1000))

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        parts = urlsplit(url)
        host, secure = str(parts.hostname), parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        seconds = self._config.timeout_seconds
        sock = _connect(self._allowed(host, port), seconds)
        # A socket's own time is for each step: one who answers a byte at a time would take for ever.
        held = [sock]
        watch = threading.Timer(seconds, _cut, (held,))
        watch.start()
        try:
            if secure:
                held[0] = tls = self._context.wrap_socket(
                    sock, server_hostname=host, do_handshake_on_connect=False
                )
                tls.do_handshake()
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
            connection.sock = held[0]
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, {"Host": parts.netloc, **headers})
            answer = connection.getresponse()
            text = answer.read(MOST_ANSWER).decode("utf-8", "replace")
            return answer.status, "".join(one if one.isprintable() else " " for one in text)[:200].strip()
        finally:
            watch.cancel()
            held[0].close()

    def _allowed(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """The addresses of a host, as `getaddrinfo` has them. Raises Refused, OSError."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(f"there is no host {host!r}") from None
        if not self._config.allow_private and not is_listed(host, port, self._config.allow):
            for *_, place in found:
                if not is_public(str(place[0])):
                    raise Refused(
                        f"nothing is sent to {host}: {place[0]} is no public address",
                        "list the host in [alerts] allow, or set allow_private",
                    )
        return list(found)


def is_listed(host: str, port: int, allowed: Iterable[str]) -> bool:
    """Is it named in the configuration, with its port or for every one?"""
    shown = f"[{host}]" if ":" in host else host
    return bool({host.lower(), shown.lower(), f"{shown}:{port}".lower()} & {one.lower() for one in allowed})


def is_public(text: str) -> bool:
    """Is it an address of the internet, also where another one is packed into it?"""
    address: Address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        packed = address.ipv4_mapped or address.sixtofour
        if packed is None and address.teredo is not None:
            packed = address.teredo[1]
        if packed is None and address in NAT64:
            packed = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if packed is not None:
            address = packed
    return address.is_global and not address.is_multicast and not address.is_reserved


def signed(secret: str, at: int, body: bytes) -> str:
    """What the signature's header says: HMAC-SHA256 over the time, a dot and the body."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def _headers(body: bytes, secret: str, key: str, attempt: int) -> dict[str, str]:
    said = {
        "Content-Type": "application/json",
        "User-Agent": "neve",
        "Connection": "close",
        "Idempotency-Key": key,
        "X-Neve-Attempt": str(attempt),
    }
    return {**said, "X-Neve-Signature": signed(secret, int(time.time()), body)} if secret else said


def _connect(places: list[tuple[Any, ...]], seconds: float) -> socket.socket:
    """To the first of these that takes a connection. Raises OSError."""
    error: OSError = OSError("it has no address")
    for family, kind, protocol, _, place in places[:4]:
        sock = socket.socket(family, kind, protocol)
        sock.settimeout(seconds)
        try:
            sock.connect(place)
        except OSError as fault:
            error = fault
            sock.close()
        else:
            return sock
    raise error


def _cut(held: list[socket.socket]) -> None:
    with suppress(OSError):
        held[0].shutdown(socket.SHUT_RDWR)


def _said(fault: Exception) -> str:
    """An error in words."""
    if isinstance(fault, TimeoutError):
        return "it does not answer in time"
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {fault.verify_message}"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror.lower()
    return (str(fault).lower().partition("\n")[0] or type(fault).__name__.lower())[:200]
