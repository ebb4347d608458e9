"""What comes without being acknowledged, as syslog does: gathered from all its senders, and kept in order.

There is nobody to send a batch again, so it is tried until it is durable. Meanwhile `add` waits, which stops the
reading of connections, and `offer` refuses.
"""

import asyncio
import secrets
import traceback
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ingest.errors import SpoolFull
from ingest.gateway import GatewayState
from ingest.receivers.intake import Intake, Lexers, Taken, accept
from storage.errors import NeveError

BATCH_SECONDS = 0.5
"""What came first waits so long at most; so do the blocks of many quiet senders become one."""
BATCH_BYTES = 4 << 20
"""About three blocks of the lexers'."""
HELD_BYTES = 16 << 20
"""In memory at once, with what is being stored."""
RETRY_SECONDS = 1.0
FLUSH_SECONDS = 3.0
"""That the last batch has to become durable when the gateway ends."""

T = TypeVar("T")
Put = Callable[[Intake, T], None]


class Batches(Generic[T]):
    """Items of one receiver for one namespace; `put` makes records of one, in a thread. Used on the event loop."""

    def __init__(
        self, gateway: GatewayState, lexers: Lexers, receiver: str, namespace: str, put: Put[T]
    ) -> None:
        self._gateway, self._lexers = gateway, lexers
        self._receiver, self._namespace, self._put = receiver, namespace, put
        self._items: deque[tuple[T, int]] = deque()
        self._size = 0  # of the items
        self._held = 0  # of these and of those being stored
        self._first = 0.0  # when the first of them came
        self._something, self._enough = asyncio.Event(), asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ending = False
        self._task = asyncio.create_task(self._run())

    async def add(self, item: T, size: int) -> None:
        """Take an item of about `size` bytes, once there is room: whoever waits longest is next."""
        while self._held >= HELD_BYTES:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._take(item, size)

    def offer(self, item: T, size: int) -> bool:
        """Take an item now; False where there is no room for it."""
        if self._held >= HELD_BYTES:
            return False
        self._take(item, size)
        return True

    async def stop(self) -> int:
        """Store what is there; return the bytes that could not be in the time there is."""
        self._ending = True
        self._something.set()
        self._enough.set()
        await asyncio.wait([self._task], timeout=FLUSH_SECONDS)
        if self._task.done():
            self._task.result()
        self._task.cancel()
        return self._held

    def _take(self, item: T, size: int) -> None:
        if not self._items:
            self._first = asyncio.get_running_loop().time()
            self._something.set()
        self._items.append((item, size))
        self._size += size
        self._held += size
        if self._size >= BATCH_BYTES:
            self._enough.set()

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            if not self._items:
                return
            await self._ripe()
            items, size = self._next()
            await self._store(items)
            self._held -= size
            self._let_in()

    def _next(self) -> tuple[list[T], int]:
        """A batch, and its bytes. No more than that: one larger than the spool's quota would never find room."""
        items, size = [], 0
        while self._items and size < BATCH_BYTES:
            item, more = self._items.popleft()
            items.append(item)
            size += more
        self._size -= size
        if not self._ending:
            if not self._items:
                self._something.clear()
            if self._size < BATCH_BYTES:
                self._enough.clear()
        return items, size

    async def _ripe(self) -> None:
        left = self._first + BATCH_SECONDS - asyncio.get_running_loop().time()
        if left > 0:
            try:
                await asyncio.wait_for(self._enough.wait(), left)
            except TimeoutError:
                return

    def _let_in(self) -> None:
        """Wake those who wait: each looks for itself whether there is room, in their order."""
        turns, self._waiting = self._waiting, deque()
        for turn in turns:
            if not turn.done():
                turn.set_result(None)

    async def _store(self, items: list[T]) -> None:
        """Until it is durable. A block that was made is not made again: it cannot be stored twice."""
        taken: Taken | None = None
        subject = f"receiver {self._receiver}"
        while True:
            try:
                if taken is None:
                    await asyncio.to_thread(self._gateway.namespaces.check, self._namespace)
                    taken = await asyncio.to_thread(self._made, items)
                await accept(self._gateway, taken, self._receiver)
            except (NeveError, OSError, MemoryError) as error:
                said = error.message if isinstance(error, NeveError) else str(error) or "memory ran out"
                self._gateway.counters.trouble(subject, f"waits: {said}")
                after = error.retry_after if isinstance(error, SpoolFull) else RETRY_SECONDS
                await asyncio.sleep(after)
            except Exception as error:  # noqa: BLE001 - a mistake of ours costs a batch, not the receiver
                traceback.print_exc()
                self._gateway.counters.add(f"{self._receiver}_batches_failed")
                self._gateway.counters.trouble(subject, f"lost a batch: {type(error).__name__}: {error}")
                return
            else:
                self._gateway.counters.well(subject)
                return

    def _made(self, items: list[T]) -> Taken:
        with self._lexers.borrow() as columns:
            intake = Intake(columns, self._namespace, secrets.token_bytes(16))
            for item in items:
                self._put(intake, item)
            return intake.finish()
