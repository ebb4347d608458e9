"""The hub against a gateway that says what a test wants: what is told after a lost connection, and what of faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from lexer import Columns
from query import audience
from query import tail as tail_module
from query.client import told
from query.digest import TailFilter
from query.errors import Unavailable
from query.feed import Block, Hello, Listed, Missed, Said, Way
from query.plan import make_plan
from query.tail import Joined, TailHub
from query.tailsource import RESTARTED, said_of
from query.viewers import Chunk
from storage.arrivals import Arrival
from storage.native.block import parse_header, seal

RUN, OTHER_RUN = "a" * 16, "b" * 16


def sealed(sequence: int, *lines: str) -> bytes:
    columns = Columns(max_rows=1000, max_bytes=1 << 20)
    columns.add("".join(f"{line}\n" for line in lines).encode(), received_ns=10**18, final=True)
    return seal(columns, agent_id="agent", sequence=sequence, namespace="default")


class Gateway:
    """Blocks by sequence. `lines` are what each connection says; None ends it. `spool` holds what can be had."""

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        self.spool: set[int] = set()
        self.said_: asyncio.Queue[Said | None] = asyncio.Queue()

    def add(self, sequence: int, *lines: str, spooled: bool = True) -> Block:
        self.blocks[sequence] = sealed(sequence, *lines)
        self.spool |= {sequence} if spooled else set()
        return Block(sequence, self.blocks[sequence])

    async def said(self) -> AsyncGenerator[Said]:
        while (one := await self.said_.get()) is not None:
            yield one
        raise Unavailable("cannot follow gateway: it ended the stream")

    async def arrivals(self, after: int, upto: int, run: str) -> tuple[list[Listed], bool]:  # noqa: ARG002
        found = [sequence for sequence in sorted(self.blocks) if after < sequence <= upto]
        return [
            Listed(Arrival.of(one, parse_header(self.blocks[one])[0]), one in self.spool) for one in found
        ], True

    async def block(self, arrival: Arrival) -> bytes | None:
        return self.blocks[arrival.sequence] if arrival.sequence in self.spool else None

    async def close(self) -> None:
        pass


async def no_store(_wanted: TailFilter, _arrival: Arrival) -> list[tuple[Any, ...]]:
    return []


def wanted(query: str) -> TailFilter:
    return TailFilter("default", make_plan(query, now=1, namespace="default").condition)


async def heard(joined: Joined, count: int) -> list[str]:
    """The next messages, and gaps as their JSON."""
    found: list[str] = []
    while len(found) < count:
        one = joined.viewer.take()
        if one is None:
            await asyncio.wait_for(joined.viewer.ready.wait(), 60)
            continue
        data = one.data if isinstance(one, Chunk) else one.encode()
        for event in told(data.decode().split("\n")):
            found.append(json.loads(event.data)["message"] if isinstance(one, Chunk) else event.data)
    assert joined.viewer.take() is None
    return found


def gap(**said: Any) -> str:
    return json.dumps(said)


Test = Callable[[Gateway, TailHub], Awaitable[None]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a test against a gateway and a hub of its own."""

    def run(test: Test, store: Any = no_store, start_seconds: float = 60) -> None:
        async def main() -> None:
            gateway = Gateway()
            monkeypatch.setattr(tail_module, "Feed", lambda _way: gateway)
            monkeypatch.setattr(tail_module, "START_SECONDS", start_seconds)
            hub = TailHub([Way.beside("gateway", {})], store)
            try:
                await test(gateway, hub)
            finally:
                await hub.close()

        asyncio.run(main())

    return run


def test_what_arrived_while_the_connection_was_lost_comes_once_and_in_order(hub: Callable[..., None]) -> None:
    async def store(_wanted: TailFilter, arrival: Arrival) -> list[tuple[Any, ...]]:
        event = (10**18, "", "", "", f"from the store {arrival.sequence}", 5, "", "", {})
        return [(*event, arrival.block_id.hex(), 0, "hot")]

    async def test(gateway: Gateway, hub: TailHub) -> None:
        gateway.add(1, "before")
        await gateway.said_.put(Hello(RUN, 1, 0))
        joined = await hub.join(wanted("line OR from"))
        await gateway.said_.put(gateway.add(2, "line 2"))
        assert await heard(joined, 1) == ["line 2"]
        gateway.add(3, "line 3", spooled=False)
        gateway.add(4, "line 4", "nothing")
        for one in (None, Hello(RUN, 4, 0), gateway.add(5, "line 5")):
            await gateway.said_.put(one)
        assert await heard(joined, 3) == ["from the store 3", "line 4", "line 5"]

    hub(test, store)


def test_another_run_tells_what_lay_in_its_spool_and_that_some_may_be_missing(
    hub: Callable[..., None],
) -> None:
    async def test(gateway: Gateway, hub: TailHub) -> None:
        gateway.add(1, "line 1, before")
        await gateway.said_.put(Hello(RUN, 1, 0))
        joined = await hub.join(wanted("line"))
        await gateway.said_.put(gateway.add(2, "line 2"))
        assert await heard(joined, 1) == ["line 2"]
        gateway.add(3, "line 3")  # durable, and the stream broke
        for one in (None, Hello(OTHER_RUN, 3, 3), gateway.add(4, "line 4")):
            await gateway.said_.put(one)
        assert await heard(joined, 3) == [
            gap(skipped=None, reason=said_of("", RESTARTED)),
            "line 3",
            "line 4",
        ]

    hub(test)


def test_what_the_gateway_could_not_send_and_what_cannot_be_read_is_told(hub: Callable[..., None]) -> None:
    async def test(gateway: Gateway, hub: TailHub) -> None:
        await gateway.said_.put(Hello(RUN, 0, 0))
        joined = await hub.join(wanted("line"))
        await gateway.said_.put(Missed(5, {"default": 70, "other": 9}))
        [said] = await heard(joined, 1)
        assert json.loads(said)["skipped"] is None
        assert "70" in said
        await gateway.said_.put(Block(6, b"no block"))
        assert await heard(joined, 1) == [gap(skipped=None, reason=tail_module.DAMAGED)]
        await gateway.said_.put(gateway.add(7, "line 7"))
        assert await heard(joined, 1) == ["line 7"]

    hub(test)


def test_a_fault_ends_nothing(hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(gateway: Gateway, hub: TailHub) -> None:
        await gateway.said_.put(Hello(RUN, 0, 0))
        joined = await hub.join(wanted("line"))

        def broken(*_args: object) -> None:
            raise RuntimeError("a fault")

        with monkeypatch.context() as patched:
            patched.setattr(tail_module, "digest", broken)
            await gateway.said_.put(gateway.add(1, "line 1"))
            assert await heard(joined, 1) == [gap(skipped=None, reason=audience.FAULT)]
        await gateway.said_.put(gateway.add(2, "line 2"))
        assert await heard(joined, 1) == ["line 2"]

    hub(test)


def test_each_distinct_filter_is_evaluated_once(hub: Callable[..., None]) -> None:
    async def test(gateway: Gateway, hub: TailHub) -> None:
        await gateway.said_.put(Hello(RUN, 0, 0))
        same = [await hub.join(wanted("line")) for _ in range(5)]
        other = await hub.join(wanted("nothing"))
        await gateway.said_.put(gateway.add(1, "line 1"))
        for joined in same:
            assert await heard(joined, 1) == ["line 1"]
        assert (hub.blocks, hub.evaluations, hub.filters, hub.viewers) == (1, 2, 2, 6)
        for joined in (*same, other):
            hub.leave(joined.filter, joined.viewer)
        assert (hub.filters, hub.viewers) == (0, 0)

    hub(test)


def test_without_a_gateway_nobody_joins(hub: Callable[..., None]) -> None:
    async def test(_gateway: Gateway, hub: TailHub) -> None:
        with pytest.raises(Unavailable):
            await hub.join(wanted("line"))
        assert hub.viewers == 0

    hub(test, start_seconds=0.05)
