"""Blocking queries behind asynchronous requests: how many run, how many wait, and how one is stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import Request

from query.errors import Busy
from query.limits import Limits
from query.running import LIMITS, Running
from storage.cold_config import ColdConfig
from storage.errors import NeveError
from storage.hot import Hot
from storage.namespace_settings import Settings
from storage.published import TierStates
from storage.shard_states import ShardStates
from storage.spreading import Spread

T = TypeVar("T")
CONCURRENT = "concurrent"
RECANCEL_SECONDS = 0.5  # a statement that was just about to start when it was cancelled is cancelled again


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def states_of(hot: Hot | Spread, cold: ColdConfig | None) -> TierStates | ShardStates | None:
    """What is in which tier; None where there is one tier alone."""
    if cold is None:
        return None
    return TierStates(hot, cold) if isinstance(hot, Hot) else ShardStates(hot.shards.all, cold)


class Gate:
    """Runs queries in threads: so many at once, so many more in the queue, and then 429."""

    def __init__(
        self,
        hot: Hot | Spread,
        limits: Limits,
        cold: ColdConfig | None = None,
        settings: Callable[[str], Settings] = lambda _namespace: Settings(),
    ) -> None:
        """`hot`: one server, or shards that are asked as one. `settings`: of a namespace, which may have closer
        limits."""
        self.hot = hot
        self.settings = settings
        self.limits = limits
        self.states = states_of(hot, cold)
        self._places = CapacityLimiter(limits.concurrent)
        self._threads = CapacityLimiter(limits.concurrent)
        self._cancelling = CapacityLimiter(2)
        self._admitted = 0
        # Those that are known: what is first seen at one has never grown, for who watches it.
        self.limits_hit: Counter[str] = Counter(dict.fromkeys((*LIMITS, CONCURRENT), 0))

    async def run(self, request: Request, work: Callable[[Running], T]) -> T:
        """Run `work` in a thread. When the client goes away its statement is killed, and this raises ClientGone."""
        running = Running(self.hot, self.limits, self.states, settings=self.settings)
        async with self._place(running):
            return await self._watched(request, running, partial(work, running))

    async def stream(self, request: Request, open_: Callable[[Running], Iterator[T]]) -> Stream[T]:
        """Start a blocking iterator and fetch its first item, so that what is wrong is known before the answer."""
        seconds = self.limits.stream_seconds
        running = Running(self.hot, self.limits, self.states, seconds=seconds, settings=self.settings)
        place = AsyncExitStack()
        await place.enter_async_context(self._place(running))
        items = open_(running)
        stream = Stream(self, running, items, place)
        try:
            stream.first = await self._watched(request, running, partial(next, items, None))
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def step(self, running: Running, items: Iterator[T]) -> T | None:
        """The next item of a stream, None at its end. Cancelling this stops the statement."""
        return await self._stoppable(running, partial(next, items, None))

    @asynccontextmanager
    async def _place(self, owner: Running) -> AsyncIterator[None]:
        if self._admitted >= self.limits.concurrent + self.limits.waiting:
            self.limits_hit[CONCURRENT] += 1
            raise Busy("cannot run query: too many are running and waiting")
        self._admitted += 1
        try:
            await self._places.acquire_on_behalf_of(owner)
            try:
                yield
            finally:
                self._places.release_on_behalf_of(owner)
                self.limits_hit.update(owner.limits_hit)
        finally:
            self._admitted -= 1

    async def _watched(self, request: Request, running: Running, work: Callable[[], T]) -> T:
        answer = asyncio.ensure_future(self._stoppable(running, work))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientGone
            return answer.result()
        finally:
            gone.cancel()
            answer.cancel()
            with CancelScope(shield=True):
                await asyncio.wait({answer})

    async def _stoppable(self, running: Running, work: Callable[[], T]) -> T:
        """Run `work` in a thread; when this task is cancelled, the thread's statement is, and then it ends."""
        thread = asyncio.ensure_future(to_thread.run_sync(work, limiter=self._threads))
        try:
            return await asyncio.shield(thread)
        finally:
            with CancelScope(shield=True):
                await self._stop(running, thread)

    async def _stop(self, running: Running, thread: asyncio.Future[T]) -> None:
        """Cancel until the thread has ended, since it holds a place and a connection until then."""
        while not thread.done():
            with suppress(NeveError):
                await to_thread.run_sync(running.cancel, limiter=self._cancelling)
            await asyncio.wait({thread}, timeout=RECANCEL_SECONDS)
        if not thread.cancelled():
            thread.exception()  # looked at, so that asyncio does not complain

    async def ping(self) -> None:
        """StorageUnavailable while ClickHouse does not answer. Takes no place: health is asked about when busy."""
        await to_thread.run_sync(self.hot.ping, limiter=self._cancelling)

    async def close(self, items: Iterator[object]) -> None:
        """Close a blocking generator, in a thread."""
        close: Callable[[], None] | None = getattr(items, "close", None)
        if close is not None:
            await to_thread.run_sync(close, limiter=self._cancelling)


class Stream(Generic[T]):
    """The items of a query as they come. It must be closed."""

    def __init__(self, gate: Gate, running: Running, items: Iterator[T], place: AsyncExitStack) -> None:
        self.running = running
        self.first: T | None = None
        self._gate = gate
        self._items = items
        self._place = place

    async def __aiter__(self) -> AsyncIterator[T]:
        item = self.first
        while item is not None:
            yield item
            item = await self._gate.step(self.running, self._items)

    async def aclose(self) -> None:
        """Stop what still runs and give the place back. Harmless when repeated."""
        with CancelScope(shield=True):
            await self._gate.close(self._items)
            await self._place.aclose()


async def _disconnected(request: Request) -> None:
    """Return when the client has gone. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
