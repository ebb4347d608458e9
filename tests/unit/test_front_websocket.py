"""A websocket through the front door: bytes go both ways as they are; another upgrade is refused."""

import asyncio
from pathlib import Path

import pytest

from bench.server import free_port
from query import front

ASKS = (
    b"GET /a/tail HTTP/1.1\r\nhost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: %s\r\n"
    b"sec-websocket-key: k\r\n\r\n"
)


async def _through(folder: Path, kind: bytes) -> bytes:
    """What a client sees that sends bytes at once behind its head, and then more."""
    heads: list[bytes] = []

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(b"<" + data + b">")
        writer.close()

    server = await asyncio.start_unix_server(behind, str(folder / "a"))
    port = free_port()
    task = asyncio.ensure_future(
        front.serve("127.0.0.1", port, lambda path, _headers: str(folder / path.split("/")[1]))
    )
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0)
    writer.write(ASKS % kind + b"\x81\x00first")
    seen = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " in seen:
        seen += await reader.readuntil(b">")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")  # which is no request here
        seen += await reader.readuntil(b">")
    writer.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()
    while len(asyncio.all_tasks()) > 1:  # the process behind sees its connection end
        await asyncio.sleep(0)
    return seen + b"|" + b"".join(heads).lower()


def test_bytes_go_both_ways_as_they_are(tmp_path: Path) -> None:
    seen, _, head = asyncio.run(_through(tmp_path, b"WebSocket")).partition(b"|")
    assert seen.startswith(b"HTTP/1.1 101 ")
    assert seen.endswith(b"<\x81\x00first><GET / HTTP/1.1\r\n\r\n>")
    assert b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n" in head
    assert head.count(b"upgrade: ") == 1
    assert b"sec-websocket-key: k" in head


@pytest.mark.parametrize("kind", [b"h2c", b"TLS/1.0"])
def test_another_protocol_is_refused(kind: bytes, tmp_path: Path) -> None:
    seen, _, head = asyncio.run(_through(tmp_path, kind)).partition(b"|")
    assert seen.startswith(b"HTTP/1.1 400 ")
    assert b"upgrade" not in head
