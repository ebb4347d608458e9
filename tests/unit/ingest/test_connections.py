"""How many connections there may be, and who gives way."""

import asyncio
import socket

from bench.server import free_port
from ingest.counters import Counters
from ingest.receivers.connections import Connection, Connections


async def echo(connection: Connection) -> None:
    while data := await connection.read():
        connection.writer.write(data)


async def talk(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    return reader, writer


async def answers(reader: asyncio.StreamReader) -> bytes:
    """What comes next; empty where the connection was ended, however."""
    try:
        return await reader.read(100)
    except ConnectionError:
        return b""


async def filled(idle_seconds: float) -> tuple[list[bytes], dict[str, int]]:
    """What two connections hear, where one is allowed, and a third after the first has ended."""
    counters, port = Counters(), free_port()
    connections = Connections("x", counters, echo, most=1, idle_seconds=idle_seconds)
    await connections.start("127.0.0.1", port)
    first, mine = await talk(port)
    heard = [await answers(first)]
    second, other = await talk(port)
    heard.append(await answers(second))
    if heard[1]:
        heard.append(await answers(first))
    for writer in (mine, other):
        writer.close()
    await connections.stop()
    return heard, counters.all()


def test_one_too_many_is_refused_while_the_others_are_busy() -> None:
    heard, counts = asyncio.run(filled(idle_seconds=60))
    assert heard == [b"hello", b""]
    assert counts == {"x_connections": 1, "x_connections_refused": 1}


def test_who_was_silent_for_long_gives_way() -> None:
    heard, counts = asyncio.run(filled(idle_seconds=0))
    assert heard == [b"hello", b"hello", b""]
    assert counts == {"x_connections": 2, "x_connections_refused": 0}


def test_an_address_in_use_is_said_in_few_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        try:
            asyncio.run(Connections("x", Counters(), echo).start(*taken.getsockname()))
        except OSError as error:
            assert error.strerror == "Address already in use"
        else:
            raise AssertionError("it listens")
