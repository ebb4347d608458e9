"""The API as a real HTTP server over the shared ClickHouse, and a client bound to one namespace."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from query.app import create_app
from query.limits import Limits
from storage.access.access import Access
from storage.cold_config import ColdConfig
from storage.hot import Hot
from storage.native.block import SealedBlock

Event = Mapping[str, Any]


class Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an application that is served until the block ends."""
    server = Server(uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert server.ready.wait(60)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def serve(hot: Hot, namespace: str) -> Iterator[Callable[..., str]]:
    """Serve the API with limits of its own, over another hot tier if one is given; its address."""
    with ExitStack() as stack:

        def start(
            limits: Limits | None = None,
            tier: Hot | None = None,
            cold: ColdConfig | None = None,
            access: Access | None = None,
        ) -> str:
            app = create_app(
                tier or hot, limits=limits, default_namespace=namespace, cold=cold, access=access
            )
            return stack.enter_context(serving(app))

        yield start


@pytest.fixture
def url(serve: Callable[..., str]) -> str:
    """The API with its usual limits, on the test's own namespace."""
    return serve()


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    """A client of the API."""
    with httpx.Client(base_url=url, trust_env=False, timeout=240) as client:
        yield client


@pytest.fixture(scope="session")
def empty_api(hot: Hot) -> Iterator[httpx.Client]:
    """A client of one API for all tests, over a namespace where nothing is ever stored: for what is refused."""
    hot.create_namespace("test_empty")
    with (
        serving(create_app(hot, default_namespace="test_empty")) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=240) as client,
    ):
        yield client


@pytest.fixture
def store(
    hot: Hot, namespace: str, make_block: Callable[..., SealedBlock]
) -> Callable[[Sequence[Event]], SealedBlock]:
    """Store events as one block of the test's namespace."""

    def insert(events: Sequence[Event]) -> SealedBlock:
        block = make_block(events)
        hot.insert_blocks(namespace, [block], hot.current_epoch(namespace), block.header.block_id.hex())
        return block

    return insert
