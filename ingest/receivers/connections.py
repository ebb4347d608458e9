"""Connections of a listener that is not HTTP: how many there may be, and who gives way."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ingest.counters import Counters

KEEPALIVE_SECONDS = 60
"""After which a silent peer is asked whether it is still there, and three times more."""
READ_BYTES = 256 << 10
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 1.0


@dataclass(eq=False)
class Connection:
    """One that is open: who is at its other end, and when it last said something whole, by the loop's clock."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: bytes
    heard: float
    task: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        """What comes next; empty at the end, however it comes."""
        try:
            data = await self.reader.read(READ_BYTES)
        except (OSError, ssl.SSLError):
            return b""
        return data

    def understood(self) -> None:
        """What was read made something whole. Drops that never do are silence."""
        self.heard = asyncio.get_running_loop().time()


Converse = Callable[[Connection], Awaitable[None]]


class Connections:
    """Listens, and has `converse` speak with each that connects. `name` is of its counters."""

    def __init__(
        self,
        name: str,
        counters: Counters,
        converse: Converse,
        *,
        most: int = 1000,
        idle_seconds: float = 300,
    ) -> None:
        self._name, self._counters, self._converse = name, counters, converse
        self._most, self._idle = most, idle_seconds
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        counters.add_all({f"{name}_connections": 0, f"{name}_connections_refused": 0})

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Raises OSError where the address cannot be had."""
        handshake = {"ssl_handshake_timeout": HANDSHAKE_SECONDS} if context is not None else {}
        try:
            self._server = await asyncio.start_server(
                self._connected, host, port, ssl=context, limit=READ_BYTES, **handshake
            )
        except OSError as error:
            if error.errno is None or error.errno <= 0:  # of a name that means nothing
                raise
            raise OSError(error.errno, os.strerror(error.errno)) from None  # asyncio's own text is long

    async def stop(self) -> None:
        """Listen no more, and end all connections; what was read of them was handed over."""
        if self._server is not None:
            self._server.close()
        tasks = [one.task for one in self._open if one.task is not None]
        for one in list(self._open):
            one.reader.feed_eof()
            one.writer.close()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in left:
                task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        one = Connection(
            reader,
            writer,
            str(peer[0] if isinstance(peer, tuple) else "").encode(),
            asyncio.get_running_loop().time(),
            asyncio.current_task(),
        )
        if len(self._open) >= self._most and not self._made_room():
            self._counters.add(f"{self._name}_connections_refused")
            writer.close()
            return
        self._counters.add(f"{self._name}_connections")
        self._open.add(one)
        keep_alive(writer.get_extra_info("socket"))
        try:
            await self._converse(one)
        finally:
            self._open.discard(one)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _made_room(self) -> bool:
        """Whether somebody gave way: who was silent longest, and long enough."""
        quiet = min(self._open, key=lambda one: one.heard)
        if asyncio.get_running_loop().time() - quiet.heard < self._idle:
            return False
        quiet.reader.feed_eof()
        self._open.discard(quiet)
        return True


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out about peers that are gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS // 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
