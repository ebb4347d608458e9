"""Datagrams as fast as they come: a socket with a large buffer, emptied whenever there is something in it.

What the kernel drops because its buffer is full, Linux counts by socket: it is read from there.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from ingest.counters import Counters

BUFFER_BYTES = 16 << 20
"""Asked for; `net.core.rmem_max` bounds what is given, but for root."""
SO_RCVBUFFORCE = 33
DATAGRAM_BYTES = 65536
ROUND = 512  # datagrams read before others have their turn
LOOK_SECONDS = 5.0

Take = Callable[[bytes, list[bytes], int], bool]
"""Takes datagrams of one peer, of so many bytes together; False where there is no room."""


def udp_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


class Datagrams:
    """Reads a socket on the event loop until `stop`."""

    def __init__(self, sock: socket.socket, name: str, counters: Counters, take: Take) -> None:
        self._sock, self._name, self._counters, self._take = sock, name, counters, take
        self._loop = asyncio.get_running_loop()
        self._lost = 0  # that the kernel has told of
        self.buffer_bytes = (
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        )  # it doubles what is set
        counters.add_all({f"{name}_dropped": 0, f"{name}_dropped_by_kernel": 0})
        counters.add(f"{name}_buffer_bytes", self.buffer_bytes)
        self._loop.add_reader(sock.fileno(), self._readable)
        self._look = self._loop.call_later(LOOK_SECONDS, self._count_lost)

    def stop(self) -> None:
        """Read what is there, and close."""
        self._loop.remove_reader(self._sock.fileno())
        self._look.cancel()
        self._readable()
        self._sock.close()

    def _readable(self) -> None:
        last, size = "", 0
        found: list[bytes] = []
        for _ in range(ROUND):
            try:
                data, address = self._sock.recvfrom(DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # what an earlier answer of somebody's met; nothing of ours
                continue
            if not data.strip(b"\r\n\0"):
                continue  # as between messages of a connection
            if address[0] != last and found:
                self._hand_over(last, found, size)
                found, size = [], 0
            last = address[0]
            found.append(data)
            size += len(data)
        if found:
            self._hand_over(last, found, size)

    def _hand_over(self, peer: str, found: list[bytes], size: int) -> None:
        if not self._take(peer.encode(), found, size):
            self._counters.add(f"{self._name}_dropped", len(found))

    def _count_lost(self) -> None:
        lost = kernel_drops(self._sock)
        self._counters.add(f"{self._name}_dropped_by_kernel", max(0, lost - self._lost))
        self._lost = lost
        self._look = self._loop.call_later(LOOK_SECONDS, self._count_lost)


def kernel_drops(sock: socket.socket) -> int:
    """Datagrams that found no room in the socket's buffer; 0 where nobody says."""
    inode = str(_inode(sock))
    table = Path("/proc/net/udp6" if sock.family == socket.AF_INET6 else "/proc/net/udp")
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return 0
    return next((int(words[-1]) for words in map(str.split, lines) if words[9] == inode), 0)


def _inode(sock: socket.socket) -> int:
    return Path(f"/proc/self/fd/{sock.fileno()}").stat().st_ino
