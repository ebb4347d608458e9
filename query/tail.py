"""Live tail: who watches what, and what arrives told to them.

One connection to each gateway while somebody watches. A block that arrives is digested once, in a thread: each
distinct filter is evaluated once, and what it finds is shared by all its viewers. ClickHouse is not asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from query.digest import TailFilter, chunked, digest, encode_event
from query.errors import Busy, Unavailable
from query.feed import Feed, Hello, Listed, Missed, Said
from query.tailcursor import ALL_ROWS, Place, TailCursor, write
from query.viewers import Budget, Chunk, Gap, Viewer
from storage.arrivals import Arrival
from storage.errors import BlockDamaged, NeveError
from storage.native.block import parse_header

Row = tuple[Any, ...]
log = logging.getLogger("neve.query")
MAX_VIEWERS = 1000
QUEUED = 4  # things that a gateway said and that wait for the thread; more wait in the gateway
PAUSES = (0.1, 0.2, 0.5, 1.0)  # seconds between attempts to reach a gateway
START_SECONDS = 3.0  # how long the first viewer waits for a gateway
LINGER_SECONDS = 10.0  # the connections stay after the last viewer: one that comes back finds them
DELIVERED = 1 << 16  # ids of blocks that are not told twice
RESTARTED = "a gateway started again"
FORGOTTEN = "too much arrived while a gateway could not be reached"
BEHIND = "the server is behind"
FAULT = "a fault of the server's own"
DAMAGED = "a block could not be read"

FromStore = Callable[[TailFilter, Arrival], Awaitable[list[Row]]]
"""The events of a block that is stored by now."""


@dataclass
class Source:
    """A gateway, and how far what it said has been told. `run` is empty until it has said hello."""

    feed: Feed
    run: str = ""
    place: Place = (0, ALL_ROWS)
    connected: bool = False


@dataclass
class Joined:
    """A viewer that joined. `places`: by run, all up to there is behind it, what is after comes."""

    filter: TailFilter
    viewer: Viewer
    places: dict[str, Place]
    sources: list[Source] = field(default_factory=list)

    def cursor(self) -> TailCursor:
        return TailCursor(time.time_ns(), self.places)


class TailHub:
    """Viewers by filter. Used by the event loop's thread alone."""

    def __init__(
        self, addresses: Sequence[str], from_store: FromStore, headers: Mapping[str, str] | None = None
    ) -> None:
        """`addresses` of the gateways: paths of Unix sockets, or http addresses; `headers`: what they know us by."""
        self._headers = dict(headers or {})
        self._from_store = from_store
        self._addresses = addresses
        self._sources: list[Source] = []
        self._watched: dict[TailFilter, list[Viewer]] = {}
        self._budget = Budget()
        self._tasks: list[asyncio.Task[None]] = []
        self._said: asyncio.Queue[tuple[Source, Said]] = asyncio.Queue(QUEUED)
        self._lock = asyncio.Lock()  # a block is told to all who watch when it is, or to none of them
        self._heard = asyncio.Event()  # a gateway said hello
        self._thread = ThreadPoolExecutor(1, "tail")
        self._delivered: OrderedDict[bytes, None] = OrderedDict()
        self._stop: asyncio.TimerHandle | None = None
        self.ended = False
        self.evaluations = 0
        self.blocks = 0

    @property
    def viewers(self) -> int:
        return sum(map(len, self._watched.values()))

    @property
    def filters(self) -> int:
        return len(self._watched)

    def metrics(self) -> list[tuple[str, str, str, int]]:
        """Name, kind, help and number of what Prometheus reads."""
        return [
            ("tail_viewers", "gauge", "viewers of live tails", self.viewers),
            ("tail_filters", "gauge", "distinct filters that they watch", self.filters),
            ("tail_blocks_total", "counter", "blocks that filters were evaluated over", self.blocks),
            ("tail_evaluations_total", "counter", "evaluations of a filter over a block", self.evaluations),
            ("tail_skipped_total", "counter", "events that viewers were too slow for", self._budget.skipped),
            ("tail_waiting_bytes", "gauge", "bytes of events that wait for viewers", self._budget.used),
        ]

    def places(self) -> dict[str, Place]:
        """By run, up to where everything was told."""
        return {source.run: source.place for source in self._sources if source.run}

    def cursor(self) -> str:
        """The place of a viewer that was told everything."""
        return write(time.time_ns(), self.places())

    async def join(self, wanted: TailFilter) -> Joined:
        """Begin to watch. Raises Busy, and Unavailable where no gateway can be reached."""
        if self.viewers >= MAX_VIEWERS:
            raise Busy(f"cannot tail: {MAX_VIEWERS} viewers watch already")
        viewer, place = Viewer(self._budget), Viewer(self._budget)
        self._watched.setdefault(wanted, []).append(place)  # so that nobody closes the connections meanwhile
        try:
            self._start()
            await self._reached()
            async with self._lock:
                self._watched[wanted].append(viewer)
                return Joined(
                    wanted, viewer, self.places(), [replace(one) for one in self._sources if one.run]
                )
        finally:
            self.leave(wanted, place)

    def leave(self, wanted: TailFilter, viewer: Viewer) -> None:
        """Harmless when repeated."""
        viewer.end()
        viewers = self._watched.get(wanted, [])
        if viewer in viewers:
            viewers.remove(viewer)
        if not viewers:
            self._watched.pop(wanted, None)
        if not self._watched and self._tasks and self._stop is None:
            self._stop = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close)

    def end(self) -> None:
        """The process is about to end: every stream ends, and its viewer comes back to the next process."""
        self.ended = True
        for viewers in self._watched.values():
            for viewer in viewers:
                viewer.ready.set()

    async def close(self) -> None:
        self.end()
        tasks = self._close()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False)

    # --- connections -------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._stop is not None:
            self._stop.cancel()
            self._stop = None
        if not self._tasks:
            self._sources = [Source(Feed(address, self._headers)) for address in self._addresses]
            self._heard.clear()
            self._said = asyncio.Queue(QUEUED)
            work = [self._follow(source) for source in self._sources]
            self._tasks = [asyncio.ensure_future(one) for one in (*work, self._tell_all())]

    def _close(self) -> list[asyncio.Task[None]]:
        tasks, self._tasks = self._tasks, []
        self._stop = None
        for task in tasks:
            task.cancel()
        closing = [asyncio.ensure_future(source.feed.close()) for source in self._sources]
        self._sources = []
        return [*tasks, *closing]

    async def _reached(self) -> None:
        try:
            await asyncio.wait_for(self._heard.wait(), START_SECONDS)
        except TimeoutError:
            raise Unavailable("cannot tail: no gateway answers") from None

    async def _follow(self, source: Source) -> None:
        """Read a gateway's stream for as long as somebody watches, and begin again whenever it ends."""
        failures = 0
        while True:
            try:
                async for said in source.feed.said():
                    failures = 0
                    await self._said.put((source, said))
            except NeveError as error:
                log.info("%s", error)
            source.connected = False
            if not any(one.connected for one in self._sources):
                self._heard.clear()
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    # --- telling -----------------------------------------------------------------------------------------

    async def _tell_all(self) -> None:
        while True:
            source, said = await self._said.get()
            async with self._lock:
                try:
                    await self._take(source, said)
                except NeveError as error:
                    log.warning("%s", error)
                    self._tell_gap(Gap(0, BEHIND, unknown=True))
                except Exception:  # whatever it was, viewers are told and the next block is told
                    log.exception("fault while telling viewers")
                    self._tell_gap(Gap(0, FAULT, unknown=True))

    async def _take(self, source: Source, said: Said) -> None:
        if isinstance(said, Hello):
            try:
                await self._begin(source, said)
            finally:
                source.connected = True
                self._heard.set()
        elif isinstance(said, Missed):
            for namespace, rows in said.rows.items():
                gap = Gap(0, f"{BEHIND}: {rows} events were not looked at", unknown=True)
                self._tell_gap(gap, namespace, Gap(0, BEHIND, unknown=True))
            source.place = (said.upto, ALL_ROWS)
        elif said.sequence > source.place[0]:
            await self._tell_block(source, said.sequence, said.data)

    async def _begin(self, source: Source, hello: Hello) -> None:
        """A stream begins: for the first time, or again, and then what arrived meanwhile comes first."""
        known, source.run = source.run, hello.run
        if not known:
            source.place = (hello.position, ALL_ROWS)
            return
        if known != hello.run:
            # What lies in the spool has the sequences of the old run; what had left it before it was told, nobody
            # knows. New blocks come after all that lies there.
            source.place = (min(source.place[0], hello.recovered), ALL_ROWS)
            self._tell_gap(Gap(0, RESTARTED, unknown=True))
        listed, whole = await source.feed.arrivals(source.place[0], hello.position, hello.run)
        if not whole and known == hello.run:
            self._tell_gap(Gap(0, FORGOTTEN, unknown=True))
        for one in listed:
            await self._tell_missed(source, one)
        source.place = (max(source.place[0], hello.position), ALL_ROWS)

    async def _tell_missed(self, source: Source, one: Listed) -> None:
        arrival = one.arrival
        if arrival.block_id in self._delivered or not self._wanted(arrival.namespace):
            source.place = (arrival.sequence, ALL_ROWS)
            return
        data = await source.feed.block(arrival)
        if data is not None:
            await self._tell_block(source, arrival.sequence, data)
            return
        await self._tell_stored(source, arrival)
        source.place = (arrival.sequence, ALL_ROWS)

    async def _tell_stored(self, source: Source, arrival: Arrival) -> None:
        """A block that left the gateway's spool before it was told."""
        self._is_new(arrival.block_id)
        places = self.places()
        for wanted in self._wanted(arrival.namespace):
            encoded = []
            for row in await self._from_store(wanted, arrival):
                places[source.run] = (arrival.sequence, row[10] + 1)
                encoded.append(encode_event(write(row[0], places), row))
            self._tell(wanted, list(chunked(encoded)))

    async def _tell_block(self, source: Source, sequence: int, data: bytes) -> None:
        try:
            header = parse_header(data)[0]
            if self._is_new(header.block_id):
                wanted = self._wanted(header.namespace)
                if wanted:
                    await self._digest(source, sequence, data, wanted)
        except BlockDamaged as error:
            log.warning("%s", error)
            self._tell_gap(Gap(0, DAMAGED, unknown=True))
        source.place = (sequence, ALL_ROWS)

    async def _digest(self, source: Source, sequence: int, data: bytes, wanted: list[TailFilter]) -> None:
        loop = asyncio.get_running_loop()
        places = self.places()
        found = await loop.run_in_executor(self._thread, digest, data, source.run, sequence, places, wanted)
        self.blocks += 1
        self.evaluations += len(wanted)
        for one, chunks in found.items():
            self._tell(one, chunks)

    def _tell(self, wanted: TailFilter, chunks: list[Chunk]) -> None:
        for viewer in self._watched.get(wanted, ()):
            for chunk in chunks:
                viewer.offer(chunk)

    def _wanted(self, namespace: str) -> list[TailFilter]:
        return [wanted for wanted in self._watched if wanted.namespace == namespace]

    def _is_new(self, block_id: bytes) -> bool:
        if block_id in self._delivered:
            return False
        self._delivered[block_id] = None
        if len(self._delivered) > DELIVERED:
            self._delivered.popitem(last=False)
        return True

    def _tell_gap(self, gap: Gap, namespace: str | None = None, alone: Gap | None = None) -> None:
        """`alone`: what is said to those for whom not all events exist."""
        for wanted, viewers in self._watched.items():
            if namespace in (None, wanted.namespace):
                for viewer in viewers:
                    viewer.tell(alone if alone is not None and wanted.alone else gap)
