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

from query.door import Door, Patience
from storage.access.access import OURS

HIGH_WATER = 1 << 20  # bytes that may wait in one direction before the other side is paused
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te", b"trailer")
)
LEFT_OUT = HOP_BY_HOP | OURS
MAX_HEAD = 64 << 10
RETRY_AFTER_SECONDS = 1
SWITCHING = b"HTTP/1.1 101 "

Headers = Sequence[tuple[bytes, bytes]]
Route = Callable[[str, Headers], str]
"""From a request's path and headers to the Unix socket of the process that answers it."""
Page = Callable[[Headers], Awaitable[bytes]]
"""Makes what the front door answers itself, from what the client shows of who it is: the whole answer."""
CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"cookie"))


@dataclass
class Head:
    """What was parsed of a request before its body."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    size: int = 0
    chunked: bool = False
    websocket: bool = False  # it asks for a websocket: what follows is no HTTP, in either direction

    def normalize(self) -> bool:
        """Make an absolute address a path; False for what is neither."""
        if self.url.startswith(b"/"):
            return True
        try:
            parts = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            return False
        if parts.schema not in (b"http", b"https"):
            return False
        self.url = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        return True

    def encode(self, method: bytes, said: bytes) -> bytes:
        """`said`: lines about the client. What it says of that itself is left out."""
        lines = [method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name.lower() not in LEFT_OUT]
        lines.append(said.removesuffix(b"\r\n"))
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
        self.begun: bytes | None = b""  # of the answer to who asked for a websocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of their own
        self.transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.client.send(data)
        if self.client.head.websocket:
            self._switching(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.client.close()

    def _switching(self, data: bytes) -> None:
        """Look whether the websocket was granted, by how its answer begins; after that nothing is to be counted."""
        if self.begun is None:
            return
        self.begun += data[: len(SWITCHING)]
        if len(self.begun) >= len(SWITCHING):
            granted, self.begun = self.begun.startswith(SWITCHING), None
            self.client.switched(granted)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() >= 200:  # not a "100 Continue"
            self.pending -= 1
            self.client.answered()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.client.lost(self)

    def pause_writing(self) -> None:
        self.client.pause_reading()

    def resume_writing(self) -> None:
        self.client.resume_reading()


class Client(asyncio.Protocol):
    """A client's connection. Requests are handled in turn, each passed on as it comes."""

    def __init__(
        self, route: Route, pages: Mapping[str, Page] | None = None, door: Door | None = None
    ) -> None:
        self.route = route
        self.door = door or Door()
        self.patience = Patience(self.late)
        self.said = b""
        self.trusted = False  # it is a proxy of ours: it says of each request whose that is
        self.entered = self.reading = self.asked = False
        self.pages = pages or {}
        self.parser = httptools.HttpRequestParser(self)
        self.head = Head()
        self.peer = "unknown"
        self.transport: asyncio.Transport | None = None
        self.behind: dict[str, Behind] = {}
        self.current: Behind | None = None
        self.waiting: list[bytes] = []  # of the request at hand, until its connection is there
        self.opening: asyncio.Task[None] | None = None
        self.opened_for = ""  # the process that a connection is opened to,
        self.expected = 0  # and the requests that wait for it
        self.answered_here = False  # by the door itself, for good: nothing more is passed on
        self.tunnel = False  # a websocket was asked for: bytes are passed on as they are,
        self.held: list[bytes] | None = []  # once it was granted; until then they are kept here
        self.paused = False  # by us
        self.stuck: asyncio.TimerHandle | None = None  # runs while the client takes nothing of an answer

    # --- the client's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of their own
        self.transport.set_write_buffer_limits(HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else "unknown"
        self.entered = self.door.enter(self.peer)
        if not self.entered:
            self.transport.abort()
            return
        self.said = self.door.said_of(self.peer, transport)
        self.trusted = self.door.trusts(self.peer)
        self.patience.within(self.door.limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        if self.tunnel:
            self.through(data)
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.tunnel = True
            if left := data[upgrade.args[0] :]:
                self.through(left)
        except httptools.HttpParserError:
            self.refuse(b"400 Bad Request", "bad_request", "cannot read request: it is no HTTP/1.1")

    def connection_lost(self, _exc: Exception | None) -> None:
        self.transport = None
        self.patience.end()
        if self.stuck is not None:
            self.stuck.cancel()
        if self.entered:
            self.door.leave(self.peer)
        if self.opening is not None:
            self.opening.cancel()
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.abort()

    def pause_writing(self) -> None:
        assert self.transport is not None
        self.stuck = asyncio.get_running_loop().call_later(
            self.door.limits.answer_seconds, self.transport.abort
        )
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.stuck is not None:
            self.stuck.cancel()
        for behind in self.behind.values():
            if behind.transport is not None:
                behind.transport.resume_reading()

    # --- the parser's side -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.head = Head()
        self.current = None
        self.reading, self.asked = True, False
        self.patience.within(self.door.limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        self.head.url += url
        self.count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count(len(name) + len(value))
        if self.asked:
            return  # behind a body: it is too late to say anything
        self.head.headers.append((name, value))
        self.head.chunked |= name.lower() == b"transfer-encoding"
        self.head.websocket |= name.lower() == b"upgrade" and value.strip().lower() == b"websocket"

    def on_headers_complete(self) -> None:
        if self.answered_here:
            return
        if self.trusted and self.transport is not None:
            self.said = self.door.said_of(self.peer, self.transport, self.head.headers)
        if not self.head.normalize():
            self.refuse(b"400 Bad Request", "bad_request", "cannot read request: its address is no path")
            return
        upgrade = self.parser.should_upgrade()
        self.head.websocket &= upgrade
        if upgrade and not self.head.websocket:
            self.refuse(b"400 Bad Request", "bad_request", "cannot upgrade to anything but a websocket")
            return
        self.asked = True
        self.patience.within(self.door.limits.body_seconds)
        path = self.head.url.partition(b"?")[0].decode("latin-1")
        if (
            path in self.pages
            and not self.opened_for
            and not any(one.pending for one in self.behind.values())
        ):
            self.answered_here = True
            self.door.requests["front"] += 1
            self.opening = asyncio.ensure_future(self.show(self.pages[path]))
            return
        socket = self.route(path, self.head.headers)
        self.current = self.behind.get(socket)
        others = any(other.pending for other in self.behind.values() if other is not self.current)
        if others or self.opened_for not in ("", socket):
            # Two processes would answer at once, in either order.
            self.refuse(
                b"400 Bad Request", "pipelined", "cannot take a request before the answer to the one before"
            )
            return
        if self.current is not None:
            self.current.pending += 1
        elif self.opened_for:
            self.expected += 1
        else:
            self.pause_reading()
            self.opened_for, self.expected = socket, 1
            self.opening = asyncio.ensure_future(self.open(socket))
        self.door.requests[socket.rpartition("/")[2]] += 1
        self.forward(self.head.encode(self.parser.get_method(), self.said))

    def on_body(self, body: bytes) -> None:
        self.patience.within(self.door.limits.body_seconds)
        self.forward(b"%x\r\n%s\r\n" % (len(body), body) if self.head.chunked else body)

    def on_message_complete(self) -> None:
        self.reading = False
        if self.answering():
            self.patience.endless()
        else:
            self.patience.within(self.door.limits.idle_seconds)
        if self.head.chunked:
            self.forward(b"0\r\n\r\n")

    # --- time --------------------------------------------------------------------------------------------

    def answering(self) -> bool:
        """Is there an answer that has not ended?"""
        opening = self.opening is not None and not self.opening.done()
        return opening or any(other.pending for other in self.behind.values())

    def answered(self) -> None:
        """An answer has ended: the next request may take its time."""
        if not self.reading and not self.answering():
            self.patience.within(self.door.limits.idle_seconds)

    def late(self) -> None:
        """The client took too long, unless it is us who did not read."""
        if self.transport is None:
            return
        if self.reading and self.asked and self.paused:
            self.patience.within(self.door.limits.body_seconds)
        elif self.reading:
            self.refuse(
                b"408 Request Timeout",
                "request_timeout",
                "cannot wait any longer for the rest of the request",
            )
        else:
            self.close()

    # --- between the two ---------------------------------------------------------------------------------

    def count(self, size: int) -> None:
        self.head.size += size
        if self.head.size > MAX_HEAD:
            status = b"431 Request Header Fields Too Large"
            self.refuse(status, "head_too_large", "cannot read request: its head is too large")

    async def show(self, page: Page) -> None:
        """Answer with a page of the front door's own, and end the connection."""
        self.pause_reading()
        shown = [(name, value) for name, value in self.head.headers if name.lower() in CREDENTIALS]
        lines = (line.partition(b": ") for line in self.said.split(b"\r\n") if line)
        self.send(await page([*shown, *((name, value) for name, _, value in lines)]))
        self.close()

    def through(self, data: bytes) -> None:
        """Bytes of a websocket. Before it was granted they could be another request to the process behind."""
        if self.held is None:
            self.forward(data)
        else:
            self.held.append(data)
            self.pause_reading()

    def switched(self, granted: bool) -> None:
        """The process behind has answered who asked for a websocket."""
        held, self.held = self.held, None
        if granted:
            for data in held or ():
                self.forward(data)
        else:  # its answer is the last thing on this connection
            self.answered_here, self.reading = True, False
            self.patience.within(self.door.limits.idle_seconds)
        self.resume_reading()

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
            self.door.refused["unavailable"] += 1
            self.send(unavailable())
            self.close()
            return
        self.behind[socket] = self.current = behind
        behind.pending, self.opened_for = self.expected, ""
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.forward(data)
        self.resume_reading()

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def refuse(self, status: bytes, code: str, message: str) -> None:
        if self.answered_here:
            return
        self.answered_here = True
        self.door.refused[code] += 1
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
        self.paused = True
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


async def fetch(socket: str, path: str, headers: Headers) -> bytes:
    """The whole answer of a process behind to a GET. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        writer.write(f"GET {path} HTTP/1.0\r\nhost: neve\r\n".encode() + lines + b"\r\n")
        return await reader.read(-1)
    finally:
        writer.close()


def page_answer(kind: str, body: bytes) -> bytes:
    """A page as an answer."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return head % (kind.encode(), len(body)) + body


async def serve(
    host: str, port: int, route: Route, pages: Mapping[str, Page] | None = None, door: Door | None = None
) -> None:
    """Listen until cancelled; `pages` are answered here. Raises OSError where the address can't be had."""
    loop = asyncio.get_running_loop()
    door = door or Door()
    server = await loop.create_server(
        lambda: Client(route, pages, door),
        host,
        port,
        backlog=1024,
        ssl=door.tls.context if door.tls is not None else None,
        ssl_handshake_timeout=door.limits.head_seconds if door.tls is not None else None,
    )
    async with server:
        await server.serve_forever()
