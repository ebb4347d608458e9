"""The front door, between real sockets: requests go to the process that their path names, answers come back whole."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from bench.server import free_port
from query import front

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(name: bytes) -> Talk:
    """A process behind that answers each request with its name and the request's own bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read_head(reader):
            body = name + b"|" + head + await read_body(reader, head)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()
        await writer.wait_closed()

    return talk


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    low = head.lower()
    if b"transfer-encoding: chunked" in low:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return body
    length = low.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length or 0))


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await read_head(reader)
    return head + await read_body(reader, head)


@asynccontextmanager
async def house(folder: Path, *names: str) -> AsyncIterator[int]:
    """The front door before processes of these names; its port. `/a/…` is for `a`."""
    behind = [await asyncio.start_unix_server(answering(n.encode()), str(folder / n)) for n in names]
    port = free_port()
    task = asyncio.ensure_future(
        front.serve("127.0.0.1", port, lambda path, _headers: str(folder / path.split("/")[1]))
    )
    while not task.done():
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            break
        except OSError:
            await asyncio.sleep(0)
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for server in behind:
            server.close()
        while len(asyncio.all_tasks()) > 1:  # the processes behind see their connections end
            await asyncio.sleep(0)


def run(folder: Path, requests: list[bytes], *names: str) -> list[bytes]:
    """Send the requests on one connection, each after the answer to the one before."""

    async def talk() -> list[bytes]:
        async with asyncio.timeout(60), house(folder, *names) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            found = []
            for request in requests:
                writer.write(request)
                found.append(await read_answer(reader))
            writer.close()
            await writer.wait_closed()
            return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the server runs it
        return runner.run(talk())


def test_one_connection_reaches_every_process(tmp_path: Path) -> None:
    gets = [b"GET /%s/x HTTP/1.1\r\nhost: h\r\n\r\n" % name for name in (b"a", b"b", b"a")]
    answers = run(tmp_path, gets, "a", "b")
    assert [answer.partition(b"\r\n\r\n")[2][:2] for answer in answers] == [b"a|", b"b|", b"a|"]


def test_bodies_arrive_whole(tmp_path: Path) -> None:
    body = bytes(range(256)) * 5000
    plain = b"POST /a/ HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    chunked = b"POST /a/ HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    for answer in run(tmp_path, [plain, chunked], "a"):
        assert answer.endswith(body)


def test_connection_headers_stay_here_and_the_peer_is_named(tmp_path: Path) -> None:
    request = b"GET /a/ HTTP/1.1\r\nhost: h\r\nconnection: keep-alive\r\nte: trailers\r\nx-mine: 1\r\n\r\n"
    [answer] = run(tmp_path, [request], "a")
    seen = answer.partition(b"a|")[2].lower()
    assert b"x-mine: 1\r\n" in seen
    assert b"x-forwarded-for: 127.0.0.1\r\n" in seen
    assert b"te:" not in seen


def test_a_process_that_is_away_is_a_503(tmp_path: Path) -> None:
    [answer] = run(tmp_path, [b"GET /gone/ HTTP/1.1\r\nhost: h\r\n\r\n"], "a")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /a/ HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a/ HTTP/1.1\r\nx: " + b"y" * (70 << 10) + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, request_: bytes) -> None:
    [answer] = run(tmp_path, [request_], "a")
    assert answer.split(b" ")[1] in (b"400", b"431")


def test_requests_for_two_processes_are_not_mixed(tmp_path: Path) -> None:
    """Sent at once, before any answer: the second is refused rather than answered out of turn."""
    both = b"GET /a/ HTTP/1.1\r\nhost: h\r\n\r\nGET /b/ HTTP/1.1\r\nhost: h\r\n\r\n"
    [answer] = run(tmp_path, [both], "a", "b")
    assert not answer.partition(b"\r\n\r\n")[2].startswith(b"b|")
