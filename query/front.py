"""The front door: one address for every process of the server.

Requests are parsed, told apart by their path and passed to the process that answers them, over its Unix
socket; answers are passed back as they come. Heads are written anew from what was parsed, so a request can't
mean one thing here and another behind. Nothing is stored: a client that reads slowly slows its own answer
down, and one that goes away closes the connection behind, which is what cancels its query.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

HIGH_WATER = 1 << 20  # bytes that may wait in one direction before the other side is paused
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"trailer")
)
MAX_HEAD = 64 << 10
RETRY_AFTER_SECONDS = 1

Headers = Sequence[tuple[bytes, bytes]]
Route = Callable[[str, Headers], str]
"""From a request's path and headers to the Unix socket of the process that answers it."""
Page = Callable[[], Awaitable[tuple[str, bytes]]]
"""Makes what the front door answers itself: content type and body."""


@dataclass
class Head:
    """What was parsed of a request before its body."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    chunked: bool = False
    websocket: bool = False  # it asks for a websocket: what follows is no HTTP, in either direction

    def encode(self, method: bytes, peer: str) -> bytes:
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name.lower() not in HOP_BY_HOP]
        lines.append(b"x-forwarded-for: " + peer.encode())
        if self.websocket:
            lines += [b"connection: Upgrade", b"upgrade: websocket"]
        if method == b"HEAD":  # its answer's end can't be told from its head: the connection ends with it
            lines.append(b"connection: close")
        if self.chunked:
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n"


def unavailable() -> bytes:
    """The answer while the process behind is being started again."""
    return answer(
        b"503 Service Unavailable",
        "unavailable",
        "cannot answer yet: this part of the server is starting",
        f"try again in {RETRY_AFTER_SECONDS} s",
    )


def answer(status: bytes, code: str, message: str, hint: str) -> bytes:
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint, "position": None}}).encode()
    head = (
        b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"retry-after: %d\r\ncontent-length: %d\r\n\r\n" % (RETRY_AFTER_SECONDS, len(body))
    )
    return head + body


class Behind(asyncio.Protocol):
    """A connection to a process behind: what comes is the client's. Answers are parsed only to be counted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.transport: asyncio.Transport | None = None
        self.parser = httptools.HttpResponseParser(self)
        self.pending = 0  # requests without their whole answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of their own
        self.transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.client.send(data)
        if self.client.head.websocket:
            return  # nothing to count: the connection ends with it
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.client.close()

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:  # not a "100 Continue"
            self.pending -= 1

    def connection_lost(self, _exc: Exception | None) -> None:
        self.client.lost(self)

    def pause_writing(self) -> None:
        self.client.pause_reading()

    def resume_writing(self) -> None:
        self.client.resume_reading()


class Client(asyncio.Protocol):
    """A client's connection. Requests are handled in turn, each passed on as it comes."""

    def __init__(self, route: Route, pages: Mapping[str, Page] | None = None) -> None:
        self.route = route
        self.pages = pages or {}
        self.parser = httptools.HttpRequestParser(self)
        self.head = Head()
        self.peer = "unknown"
        self.transport: asyncio.Transport | None = None
        self.behind: dict[str, Behind] = {}
        self.current: Behind | None = None
        self.waiting: list[bytes] = []  # of the request at hand, until its connection is there
        self.opening: asyncio.Task[None] | None = None
        self.answered_here = False
        self.tunnel = False  # a websocket was asked for: bytes are passed on as they are

    # --- the client's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of their own
        self.transport.set_write_buffer_limits(HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else "unknown"

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            self.forward(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.tunnel = True
            if left := data[upgrade.args[0] :]:
                self.forward(left)
        except httptools.HttpParserError:
            self.refuse(b"400 Bad Request", "bad_request", "cannot read request: it is no HTTP/1.1")

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        if self.opening is not None:
            self.opening.cancel()
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.abort()

    def pause_writing(self) -> None:
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.pause_reading()

    def resume_writing(self) -> None:
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.resume_reading()

    # --- the parser's side -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.head = Head()
        self.current = None

    def on_url(self, url: bytes) -> None:
        self.head.url += url
        self.count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head.headers.append((name, value))
        self.head.chunked |= name.lower() == b"transfer-encoding"
        self.head.websocket |= name.lower() == b"upgrade" and value.strip().lower() == b"websocket"
        self.count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        upgrade = self.parser.should_upgrade()
        self.head.websocket &= upgrade
        if upgrade and not self.head.websocket:
            self.answered_here = True
            self.refuse(b"400 Bad Request", "bad_request", "cannot upgrade to anything but a websocket")
            return
        path = self.head.url.partition(b"?")[0].decode("latin-1")
        if path in self.pages and not any(other.pending for other in self.behind.values()):
            self.answered_here = True
            self.opening = asyncio.ensure_future(self.show(self.pages[path]))
            return
        socket = self.route(path, self.head.headers)
        self.current = self.behind.get(socket)
        if any(other.pending for other in self.behind.values() if other is not self.current):
            # Two processes would answer at once, in either order.
            self.refuse(
                b"400 Bad Request", "pipelined", "cannot take a request before the answer to the one before"
            )
            return
        if self.current is None:
            self.pause_reading()
            self.opening = asyncio.ensure_future(self.open(socket))
        else:
            self.current.pending += 1
        self.forward(self.head.encode(self.parser.get_method(), self.peer))

    def on_body(self, body: bytes) -> None:
        self.forward(b"%x\r\n%s\r\n" % (len(body), body) if self.head.chunked else body)

    def on_message_complete(self) -> None:
        if self.head.chunked:
            self.forward(b"0\r\n\r\n")

    # --- between the two ---------------------------------------------------------------------------------

    def count(self, size: int) -> None:
        self.head.size += size
        if self.head.size > MAX_HEAD:
            status = b"431 Request Header Fields Too Large"
            self.refuse(status, "head_too_large", "cannot read request: its head is too large")

    async def show(self, page: Page) -> None:
        """Answer with a page of the front door's own, and end the connection."""
        self.pause_reading()
        kind, body = await page()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.send(head % (kind.encode(), len(body)) + body)
        self.close()

    def forward(self, data: bytes) -> None:
        if self.answered_here:
            return
        if self.current is None or self.current.transport is None:
            self.waiting.append(data)
        else:
            self.current.transport.write(data)

    async def open(self, socket: str) -> None:
        try:
            _, behind = await asyncio.get_running_loop().create_unix_connection(lambda: Behind(self), socket)
        except OSError:
            self.send(unavailable())
            self.close()
            return
        self.behind[socket] = self.current = behind
        behind.pending = 1
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.forward(data)
        self.resume_reading()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def refuse(self, status: bytes, code: str, message: str) -> None:
        self.send(answer(status, code, message, "send a request after RFC 9112"))
        self.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def lost(self, behind: Behind) -> None:
        """The process behind closed: the client's connection is closed too, unless it was idle there."""
        self.behind = {socket: other for socket, other in self.behind.items() if other is not behind}
        if self.current is behind:
            self.close()

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


async def fetch(socket: str, path: str) -> bytes:
    """What a process behind answers to a GET; empty where it does not say 200. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nhost: neve\r\n\r\n".encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        return body if head.split(b" ", 2)[1:2] == [b"200"] else b""
    finally:
        writer.close()


async def serve(host: str, port: int, route: Route, pages: Mapping[str, Page] | None = None) -> None:
    """Listen until cancelled; `pages` are answered here. Raises OSError where the address can't be had."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(route, pages), host, port, backlog=1024)
    async with server:
        await server.serve_forever()
