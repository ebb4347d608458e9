"""What clients try at the front door: to be somebody else, to smuggle requests, to keep it busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from bench.server import free_port
from query import front
from query.door import Door, HttpConfig
from storage.access.access import Access, front_headers
from storage.access.config import AuthConfig
from storage.errors import ConfigError
from storage.tls import ServerTls, TlsConfig, client_context
from tests.certificates import Authority

INSIDE = "the word of this server"
Talk = Callable[[int], Awaitable[None]]


class Behind:
    """A process behind the door that keeps what it is sent, by path."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.seen.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def opened(folder: Path, door: Door) -> AsyncIterator[tuple[int, Behind, Behind]]:
    """A front door before two processes: the gateway's paths begin with /gateway/."""
    processes = [Behind(), Behind()]
    names = [str(folder / "gateway"), str(folder / "api")]
    servers = [
        await asyncio.start_unix_server(one.talk, name) for one, name in zip(processes, names, strict=True)
    ]
    port = free_port()
    route = lambda path, _headers: names[0] if path.startswith("/gateway/") else names[1]  # noqa: E731
    task = asyncio.ensure_future(front.serve("127.0.0.1", port, route, None, door))
    while not task.done():
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
            break
        except OSError:
            await asyncio.sleep(0)
    while door.here:  # that one has left
        await asyncio.sleep(0)
    try:
        yield port, processes[0], processes[1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for server in servers:
            server.close()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)


def run(folder: Path, door: Door, talk: Callable[[int, Behind, Behind], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), opened(folder, door) as (port, gateway, api):
            await talk(port, gateway, api)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


async def sent(port: int, data: bytes) -> bytes:
    """All that is answered until the door closes, or a whole answer has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = b""
    while not answer.endswith(b"\r\n\r\nok") and (piece := await reader.read(4096)):
        answer += piece
    writer.close()
    return answer


def test_what_a_client_says_of_itself_stays_outside(tmp_path: Path) -> None:
    forged = b"".join(
        b"%s: %s\r\n" % (name, value)
        for name, value in (
            (b"X-Forwarded-For", b"127.0.0.1"),
            (b"x-FORWARDED-for", b"10.0.0.1"),
            (b"X-Neve-Inside", INSIDE.encode()),
            (b"X-Neve-Via", front_headers(INSIDE, "", (), "http")[2][1]),
            (b"X-Neve-Certificate", b"agent-a"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Mine", b"kept"),
        )
    )

    async def talk(port: int, _gateway: Behind, api: Behind) -> None:
        await sent(port, b"GET / HTTP/1.1\r\nhost: h\r\n" + forged + b"\r\n")
        [head] = api.seen
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line]
        assert names.count(b"x-forwarded-for") == names.count(b"x-neve-via") == 1
        assert b"x-forwarded-for: 127.0.0.1" in head  # the peer of this test, not what it said
        assert b"x-forwarded-proto: http\r\n" in head
        assert b"x-neve-inside" not in names
        assert b"x-neve-certificate" not in names
        assert b"X-Mine: kept" in head
        pairs = [tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:] if line]
        shown = Access(AuthConfig(), inside=INSIDE).shown(pairs)
        assert (shown.inside, shown.certificates) == (False, ())

    run(tmp_path, Door(inside=INSIDE), talk)


@pytest.mark.parametrize(
    ("trusted", "said", "client"),
    [
        ((), [b"10.0.0.1"], "127.0.0.1"),
        (("127.0.0.1",), [], "127.0.0.1"),
        (("127.0.0.0/8",), [b"203.0.113.7"], "203.0.113.7"),
        (("127.0.0.0/8",), [b"1.1.1.1, 203.0.113.7"], "203.0.113.7"),  # the client said the first itself
        (("127.0.0.0/8", "10.0.0.0/8"), [b"1.1.1.1, 203.0.113.7", b"10.1.2.3:4567"], "203.0.113.7"),
        (("127.0.0.1", "10.0.0.0/8"), [b"10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (("127.0.0.1",), [b"203.0.113.7, unknown"], "127.0.0.1"),
        (("127.0.0.1",), [b"[2001:db8::1]:80"], "2001:db8::1"),
        (("127.0.0.1",), [b"::ffff:203.0.113.7"], "203.0.113.7"),
        (("10.0.0.0/8",), [b"203.0.113.7"], "127.0.0.1"),
    ],
)
def test_a_proxy_of_ours_says_whose_a_request_is(
    tmp_path: Path, trusted: tuple[str, ...], said: list[bytes], client: str
) -> None:
    async def talk(port: int, _gateway: Behind, api: Behind) -> None:
        lines = b"".join(b"x-forwarded-for: %s\r\n" % one for one in said)
        await sent(port, b"GET / HTTP/1.1\r\nhost: h\r\nx-forwarded-proto: https\r\n" + lines + b"\r\n")
        [head] = api.seen
        found = [line for line in head.split(b"\r\n") if line.startswith(b"x-forwarded-for: ")]
        assert found == [b"x-forwarded-for: " + client.encode()]
        assert (b"x-forwarded-proto: https" in head) == any(one.startswith("127.") for one in trusted)

    run(tmp_path, Door(HttpConfig(trusted_proxies=trusted)), talk)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot use configuration key 'http.trusted_proxies'"):
        HttpConfig(trusted_proxies=("proxy.example",))


REFUSED = (
    b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: identity, chunked, x\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 0x1\r\n\r\nx",
    b"GET / HTTP/1.1\r\nhost : h\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: h\r\n folded: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nx-a\x00: h\r\n\r\n",
    b"GET / HTTP/1.1\nhost: h\r\nx: \x01y\r\n\r\n",
    b"GET gateway/status HTTP/1.1\r\nhost: h\r\n\r\n",
    b"CONNECT h:80 HTTP/1.1\r\nhost: h\r\n\r\n",
    b"GET ftp://h/gateway/status HTTP/1.1\r\nhost: h\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
)


@pytest.mark.parametrize("request_", REFUSED)
def test_what_two_could_read_in_two_ways_is_refused(tmp_path: Path, request_: bytes) -> None:
    async def talk(port: int, gateway: Behind, api: Behind) -> None:
        answer = await sent(port, request_)
        assert not answer.startswith(b"HTTP/1.1 200"), answer
        assert not gateway.seen
        assert len(api.seen) <= 1  # a body may turn out wrong only after its head was passed on

    run(tmp_path, Door(), talk)


def test_an_absolute_address_is_its_path(tmp_path: Path) -> None:
    async def talk(port: int, gateway: Behind, api: Behind) -> None:
        await sent(port, b"GET http://elsewhere/gateway/status?x=1 HTTP/1.1\r\nhost: h\r\n\r\n")
        await sent(port, b"GET http://elsewhere HTTP/1.1\r\nhost: h\r\n\r\n")
        assert gateway.seen[0].startswith(b"GET /gateway/status?x=1 HTTP/1.1\r\n")
        assert api.seen[0].startswith(b"GET / HTTP/1.1\r\n")

    run(tmp_path, Door(), talk)


def test_a_request_hidden_in_a_body_is_a_body(tmp_path: Path) -> None:
    hidden = b"GET /gateway/status HTTP/1.1\r\nhost: h\r\n\r\n"

    async def talk(port: int, gateway: Behind, api: Behind) -> None:
        await sent(
            port, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%s" % (len(hidden), hidden)
        )
        assert not gateway.seen
        assert len(api.seen) >= 1

    run(tmp_path, Door(), talk)


HIDDEN = b"GET /gateway/status HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 10.0.0.1\r\n\r\n"


def test_the_body_of_a_request_that_was_refused_goes_nowhere(tmp_path: Path) -> None:
    """A second process is asked before the first has answered, on a connection that is open to both."""

    async def talk(port: int, gateway: Behind, _api: Behind) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /gateway/ready HTTP/1.1\r\nhost: h\r\n\r\n")
        await reader.readuntil(b"ok")
        post = b"POST /gateway/x HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(HIDDEN)
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n" + post + HIDDEN)
        assert b"pipelined" in await reader.read(-1)
        writer.close()
        assert (await sent(port, b"GET /gateway/last HTTP/1.1\r\nhost: h\r\n\r\n")).endswith(b"ok")
        assert [head.split(b" ")[1] for head in gateway.seen] == [b"/gateway/ready", b"/gateway/last"]

    run(tmp_path, Door(), talk)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /gateway/status HTTP/1.1\r\nx: " + b"y" * (70 << 10) + b"\r\n\r\n",
        b"GET /gateway/status HTTP/1.1\r\n" + b"x-a: b\r\n" * 20_000 + b"\r\n",
        b"GET /gateway/status?" + b"y" * (70 << 10) + b" HTTP/1.1\r\nhost: h\r\n\r\n",
    ],
    ids=["a header", "headers", "the address"],
)
def test_a_head_that_is_too_large_is_refused_and_not_passed_on(tmp_path: Path, head: bytes) -> None:
    async def talk(port: int, gateway: Behind, api: Behind) -> None:
        assert (await sent(port, head)).startswith(b"HTTP/1.1 431")
        assert (await sent(port, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert not gateway.seen
        assert len(api.seen) == 1

    run(tmp_path, Door(), talk)


def test_what_comes_behind_a_body_changes_nothing(tmp_path: Path) -> None:
    """A trailer that asks for a websocket: the connection still ends when nothing more comes."""
    chunked = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"

    async def talk(port: int, _gateway: Behind, _api: Behind) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chunked + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 200")
        writer.close()

    run(tmp_path, Door(HttpConfig(idle_seconds=2.0)), talk)


def test_a_websocket_that_was_not_granted_is_no_way_in(tmp_path: Path) -> None:
    """What follows would be a request to the process behind, past the door."""
    asks = b"GET /gateway/ready HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"

    async def talk(port: int, gateway: Behind, _api: Behind) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(asks + HIDDEN)
        answer = await reader.readuntil(b"ok")
        writer.write(HIDDEN)
        answer += await reader.read(-1)
        writer.close()
        assert answer.count(b"HTTP/1.1 200") == len(gateway.seen) == 1

    run(tmp_path, Door(HttpConfig(idle_seconds=2.0)), talk)


def test_who_takes_nothing_of_an_answer_is_let_go(tmp_path: Path) -> None:
    """Else a query whose client stands still would keep its place for ever."""

    async def whole() -> None:
        gone = asyncio.Event()

        async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            try:
                while True:
                    writer.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                gone.set()

        server = await asyncio.start_unix_server(behind, str(tmp_path / "api"))
        port = free_port()
        door = Door(HttpConfig(answer_seconds=0.3))
        task = asyncio.ensure_future(
            front.serve("127.0.0.1", port, lambda *_: str(tmp_path / "api"), None, door)
        )
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                break
            except OSError:
                await asyncio.sleep(0)
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        async with asyncio.timeout(60):
            await gone.wait()
        writer.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


@pytest.mark.parametrize(
    "slow",
    [
        b"",  # nothing at all
        b"GET / HTTP/1.1\r\nx-a: b\r\n",  # a head without an end
        b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc",  # a body that stands still
        b"GET / HTTP/1.1\r\nhost: h\r\n\r\n",  # and then no other request
    ],
)
def test_who_keeps_it_waiting_is_let_go(tmp_path: Path, slow: bytes) -> None:
    door = Door(HttpConfig(head_seconds=0.2, idle_seconds=0.3, body_seconds=0.2))

    async def talk(port: int, _gateway: Behind, _api: Behind) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(slow)
        said = await reader.read(-1)  # until the door closes
        assert said == b"" or said.startswith((b"HTTP/1.1 408", b"HTTP/1.1 200"))
        writer.close()
        while door.here:
            await asyncio.sleep(0.01)

    run(tmp_path, door, talk)


def test_drops_of_a_head_do_not_keep_it_open(tmp_path: Path) -> None:
    """Slowloris: a byte now and then moves no deadline."""
    door = Door(HttpConfig(head_seconds=0.3))

    async def talk(port: int, _gateway: Behind, api: Behind) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        ended = asyncio.ensure_future(reader.read(-1))
        while not ended.done():
            writer.write(b"x-a: b\r\n")
            await asyncio.wait({ended}, timeout=0.02)
        assert ended.result().startswith(b"HTTP/1.1 408")
        assert not api.seen
        writer.close()

    run(tmp_path, door, talk)


def test_there_may_be_so_many_and_no_more(tmp_path: Path) -> None:
    door = Door(HttpConfig(connections=3, connections_of_one=2))

    async def talk(port: int, _gateway: Behind, _api: Behind) -> None:
        first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        while door.here.total() < 2:
            await asyncio.sleep(0)
        assert await sent_or_lost(port) == b""
        for _, writer in first:
            writer.close()
        while door.here:
            await asyncio.sleep(0)
        assert (await sent_or_lost(port)).startswith(b"HTTP/1.1 200")

    run(tmp_path, door, talk)


async def sent_or_lost(port: int) -> bytes:
    try:
        return await sent(port, b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
    except ConnectionError:
        return b""


def test_a_renewed_certificate_is_taken_while_it_runs(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    certificate, key = authority.signed("localhost", file="server")
    tls = ServerTls(TlsConfig(str(certificate), str(key)))

    async def shown(port: int) -> int:
        context = client_context(str(authority.ca))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        said = writer.get_extra_info("peercert")
        writer.close()
        return int(said["serialNumber"], 16)

    async def talk(port: int, _gateway: Behind, _api: Behind) -> None:
        before = await shown(port)
        authority.signed("localhost", file="server")
        tls.reload()
        after = await shown(port)
        assert after != before
        key.write_text("no key")
        with pytest.raises(ConfigError, match="cannot use certificate"):
            tls.reload()
        assert await shown(port) == after

    run(tmp_path, Door(HttpConfig(head_seconds=60), tls), talk)
