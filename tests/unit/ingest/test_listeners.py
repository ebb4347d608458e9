"""Receivers with ports of their own: a port that is taken is said, and stops the start only where it was asked for."""

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import grpc
import pytest
from fastapi import FastAPI

from bench.server import free_port
from ingest.receivers import listeners
from ingest.receivers.listeners import Listeners
from ingest.receivers.listening import AUTO, ReceiversConfig
from storage.errors import ConfigError
from storage.tls import TlsConfig


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]


def start(address: str) -> dict[str, str]:
    """Start and stop; what was said meanwhile."""

    app = FastAPI()
    app.state.gateway = SimpleNamespace(settings=SimpleNamespace(tls=TlsConfig()))

    async def run() -> dict[str, str]:
        these = Listeners()
        try:
            await these.start(app, ReceiversConfig(otlp_grpc=address), "127.0.0.1")
            for said in these.said.values():
                if said[0].isdigit():
                    async with grpc.aio.insecure_channel(said) as channel:
                        await asyncio.wait_for(channel.channel_ready(), 60)
        finally:
            await these.stop()
        return these.said

    return asyncio.run(run())


def test_a_port_that_was_asked_for_is_taken(taken: int) -> None:
    with pytest.raises(ConfigError) as caught:
        start(f"127.0.0.1:{taken}")
    assert caught.value.message.startswith(f"cannot listen on 127.0.0.1:{taken} for otlp_grpc: ")
    assert "receivers.otlp_grpc" in caught.value.hint


def test_a_port_that_nobody_asked_for_is_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(listeners._AUTO_PORTS, "otlp_grpc", taken)
    assert start(AUTO)["otlp_grpc"].startswith("not listening: ")


def test_where_it_listens_is_said_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setitem(listeners._AUTO_PORTS, "otlp_grpc", port)
    for address in (f"127.0.0.1:{port}", AUTO):
        assert start(address) == {"otlp_grpc": f"127.0.0.1:{port}"}
    assert start("") == {}


def test_what_is_no_address() -> None:
    with pytest.raises(ConfigError) as caught:
        start("4317")
    assert "receivers.otlp_grpc" in caught.value.hint
