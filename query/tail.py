"""Live tail: gateways are followed while somebody watches, and what arrives is told to who wants it.

One connection to each gateway while somebody watches: to the one beside, and to those of the cluster's other machines.
A block that arrives is digested once, in a thread: each distinct filter is evaluated once, and what it finds is shared
by all its viewers. ClickHouse is not asked. A gateway that is away holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from query.audience import BEHIND, FAULT, Audience
from query.digest import TailFilter, chunked, digest, encode_event
from query.errors import Busy, Unavailable
from query.feed import Block, Feed, Hello, Listed, Missed, Said, Way
from query.tailcursor import ALL_ROWS, Place, TailCursor, write
from query.tailsource import AWAY, BACK, FILLED, RESTARTED, Source, is_double
from query.viewers import Gap, Viewer
from storage.arrivals import Arrival
from storage.errors import BlockDamaged, NeveError
from storage.metrics import labels, metric
from storage.native.block import parse_header

Row = tuple[Any, ...]
log = logging.getLogger("neve.query")
MAX_VIEWERS = 1000
PAUSES = (0.1, 0.2, 0.5, 1.0)  # seconds between attempts to reach a gateway
START_SECONDS = 3.0  # how long the first viewer waits for gateways
LINGER_SECONDS = 10.0  # the connections stay after the last viewer: one that comes back finds them
DOUBLE_SECONDS = 60.0  # until one that was found to be followed already is looked at again: addresses move
FORGOTTEN = "too much arrived while a gateway could not be reached"
DAMAGED = "a block could not be read"

FromStore = Callable[[TailFilter, Arrival], Awaitable[list[Row]]]
"""The events of a block that is stored by now."""


@dataclass(frozen=True)
class Origin:
    """A gateway that was heard, as a viewer finds it that joins. Its events after `upto` come live.

    `missed`: the viewer is told that it is away.
    """

    name: str
    feed: Feed
    run: str
    upto: int
    connected: bool
    missed: bool = False


@dataclass
class Joined:
    """A viewer that joined. `places`: by run, all up to there is behind it, what is after comes.

    `unheard`: how many gateways never were heard. It is told of them.
    """

    filter: TailFilter
    viewer: Viewer
    places: dict[str, Place]
    sources: list[Origin] = field(default_factory=list)
    unheard: int = 0

    def cursor(self) -> TailCursor:
        return TailCursor(time.time_ns(), self.places)


class TailHub:
    """Viewers by filter. Used by the event loop's thread alone."""

    def __init__(self, ways: Sequence[Way], from_store: FromStore) -> None:
        """`ways` to the gateways; the one beside comes first."""
        self._from_store = from_store
        self._ways = ways
        self._sources: list[Source] = []
        self._audience = Audience()
        self._tasks: list[asyncio.Task[None]] = []
        self._lock = asyncio.Lock()  # a block is told to all who watch when it is, or to none of them
        self._heard = asyncio.Event()  # some gateway said hello, and is there
        self._unheard: Counter[str] = Counter()  # events that a gateway could not make us hear
        self._thread = ThreadPoolExecutor(1, "tail")
        self._stop: asyncio.TimerHandle | None = None
        self.ended = False
        self.evaluations = 0
        self.blocks = 0

    @property
    def viewers(self) -> int:
        return self._audience.viewers

    @property
    def filters(self) -> int:
        return self._audience.filters

    def metrics(self) -> list[tuple[str, str, str, int]]:
        """Name, kind, help and number of what Prometheus reads."""
        return [
            ("tail_viewers", "gauge", "viewers of live tails", self.viewers),
            ("tail_filters", "gauge", "distinct filters that they watch", self.filters),
            ("tail_blocks_total", "counter", "blocks that filters were evaluated over", self.blocks),
            ("tail_evaluations_total", "counter", "evaluations of a filter over a block", self.evaluations),
            (
                "tail_skipped_total",
                "counter",
                "events that viewers were too slow for",
                self._audience.budget.skipped,
            ),
            (
                "tail_waiting_bytes",
                "gauge",
                "bytes of events that wait for viewers",
                self._audience.budget.used,
            ),
            ("tail_sources", "gauge", "gateways that are heard", sum(one.connected for one in self._sources)),
            (
                "tail_sources_away",
                "gauge",
                "gateways that should be",
                sum(map(Source.is_missed, self._sources)),
            ),
        ]

    def families(self) -> str:
        """The same, of each gateway, in Prometheus's text form. Nothing is followed while nobody watches."""
        missed = {way.name: 0 for way in self._ways} | self._unheard
        there = [source for source in self._sources if source.is_expected()]
        return metric(
            "neve_api_tail_source_up",
            "gauge",
            "1 while a gateway is heard that viewers wait for",
            [(labels(gateway=_label(one.name)), int(one.connected)) for one in there],
        ) + metric(
            "neve_api_tail_source_missed_total",
            "counter",
            "events of a gateway that this process was too slow to hear",
            [(labels(gateway=_label(name)), count) for name, count in missed.items()],
        )

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
        viewer, place = (Viewer(self._audience.budget) for _ in range(2))
        self._audience.add(wanted, place)  # so that nobody closes the connections meanwhile
        try:
            self._start()
            await self._reached()
            async with self._lock:
                self._audience.add(wanted, viewer)
                return self._joined(wanted, viewer)
        finally:
            self.leave(wanted, place)

    def _joined(self, wanted: TailFilter, viewer: Viewer) -> Joined:
        away = [one for one in self._sources if one.is_missed()] if len(self._sources) > 1 else []
        for source in away:
            source.away = True
            viewer.tell(source.gaps(AWAY)[wanted.alone])
        known = [
            Origin(one.name, one.feed, one.run, one.place[0], one.connected, one in away)
            for one in self._sources
            if one.run
        ]
        return Joined(wanted, viewer, self.places(), known, sum(not one.run for one in away))

    def leave(self, wanted: TailFilter, viewer: Viewer) -> None:
        """Harmless when repeated."""
        self._audience.leave(wanted, viewer)
        if not self.viewers and self._tasks and self._stop is None:
            self._stop = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._close)

    def end(self) -> None:
        """The process is about to end: every stream ends, and its viewer comes back to the next process."""
        self.ended = True
        self._audience.wake()

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
            self._sources = [Source(way, Feed(way)) for way in self._ways]
            self._heard.clear()
            self._tasks = [asyncio.ensure_future(self._follow(source)) for source in self._sources]

    def _close(self) -> list[asyncio.Task[None]]:
        tasks, self._tasks = self._tasks, []
        self._stop = None
        for task in tasks:
            task.cancel()
        closing = [asyncio.ensure_future(source.feed.close()) for source in self._sources]
        self._sources = []
        return [*tasks, *closing]

    async def _reached(self) -> None:
        """Until it is known of each gateway whether it answers, but not long; one has to."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._heard.wait()
                for source in self._sources:
                    await source.settled.wait()
        except TimeoutError:
            if not self._heard.is_set():
                raise Unavailable("cannot tail: no gateway answers") from None

    async def _follow(self, source: Source) -> None:
        """Read a gateway's stream for as long as somebody watches, and begin again whenever it ends."""
        failures = 0
        while True:
            try:
                async with aclosing(source.feed.said()) as stream:
                    async for said in stream:
                        await self._hear(source, said)
                        failures = 0
                        if source.double:
                            break
            except NeveError as error:
                failures += 1
                await self._lost(source, failures, error)
            except Exception:
                log.exception("fault while following gateway %s", _label(source.name))
                failures += 1
                self._audience.tell_gap(Gap(0, FAULT, unknown=True))
                await self._lost(source, failures, Unavailable("cannot follow gateway: a fault", ""))
            if source.double:
                source.settled.set()
                await asyncio.sleep(DOUBLE_SECONDS)
            else:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])

    async def _lost(self, source: Source, failures: int, error: NeveError) -> None:
        """A stream ended, or did not begin. One that can be had again at once is nothing to speak of."""
        async with self._lock:
            source.connected = False
            if not any(one.connected for one in self._sources):
                self._heard.clear()
            if (failures > 1 or not source.run) and not source.away and source.is_expected():
                source.away = True
                log.warning("cannot hear gateway %s: %s", _label(source.name), error)
                if len(self._sources) > 1:
                    self._audience.tell_of(source, AWAY)
        source.settled.set()

    # --- telling -----------------------------------------------------------------------------------------

    async def _hear(self, source: Source, said: Said) -> None:
        """Tell what a gateway said. Raises Unavailable where it can't be asked for what came before it said hello."""
        if isinstance(said, Hello):
            async with self._lock:
                if is_double(self._sources, source, said):
                    return
                known, since = source.run, self._begin(source, said)
            filled = since is None or await self._catch_up(source, since, said, again=known == said.run)
            async with self._lock:
                self._caught_up(source, said, filled=filled and known == said.run)
            return
        async with self._lock:
            if source.double:
                return
            if isinstance(said, Missed):
                self._tell_unheard(source, said)
            elif said.sequence > source.place[0]:
                await self._tell_block(source, said)

    def _begin(self, source: Source, hello: Hello) -> int | None:
        """A stream begins. For the first time: None; else the sequence after which it goes on."""
        known, source.run = source.run, hello.run
        source.connected = True
        self._heard.set()
        source.settled.set()
        if not known:
            source.place = (hello.position, ALL_ROWS)
            return None
        if known != hello.run:
            # What lies in the spool has the sequences of the old run; what had left it before it was told, nobody
            # knows. New blocks come after all that lies there.
            source.place = (min(source.place[0], hello.recovered), ALL_ROWS)
            source.away = False
            self._audience.tell_of(source, RESTARTED)
        return source.place[0]

    async def _catch_up(self, source: Source, since: int, hello: Hello, *, again: bool) -> bool:
        """What arrived while a gateway was not heard comes first; is it all of it? The others go on meanwhile."""
        listed, whole = await source.feed.arrivals(since, hello.position, hello.run)
        if again and not whole:
            async with self._lock:
                self._audience.tell_gap(Gap(0, FORGOTTEN, unknown=True))
        for one in listed:
            if source.double:
                return False
            whole &= await self._tell_missed(source, one)
        return whole

    def _caught_up(self, source: Source, hello: Hello, *, filled: bool) -> None:
        if source.double:
            return
        source.place = (max(source.place[0], hello.position), ALL_ROWS)
        if source.away:
            source.away = False
            log.warning("gateway %s is heard again", _label(source.name))
            if len(self._sources) > 1:
                self._audience.tell_of(source, FILLED if filled else BACK, unknown=not filled)

    def _tell_unheard(self, source: Source, missed: Missed) -> None:
        whose = f" of gateway {source.name}" if source.name else ""
        for namespace, rows in missed.rows.items():
            self._unheard[source.name] += rows
            gap = Gap(0, f"{BEHIND}: {rows} events{whose} were not looked at", unknown=True)
            self._audience.tell_gap(gap, namespace, Gap(0, BEHIND, unknown=True))
        source.place = (missed.upto, ALL_ROWS)

    async def _tell_missed(self, source: Source, one: Listed) -> bool:
        """A block that arrived while its gateway was not heard; can it be told? Raises Unavailable."""
        arrival = one.arrival
        told = True
        if not self._audience.was_told(arrival.block_id) and self._audience.wanted(arrival.namespace):
            data = await source.feed.block(arrival)
            if data is None:
                told = await self._tell_stored(source, arrival)
            else:
                async with self._lock:
                    if not source.double:
                        await self._tell_block(source, Block(arrival.sequence, data))
        async with self._lock:
            if not source.double:
                source.place = (max(source.place[0], arrival.sequence), ALL_ROWS)
        return told

    async def _tell_stored(self, source: Source, arrival: Arrival) -> bool:
        """A block that left the gateway's spool before it was told. The store is asked while the others go on."""
        found: dict[TailFilter, list[Row]] = {}
        while True:
            with self._audience.told_of_faults() as faults:
                for wanted in self._audience.wanted(arrival.namespace):
                    if wanted not in found:
                        found[wanted] = await self._from_store(wanted, arrival)
            async with self._lock:
                if faults:
                    return False
                if all(wanted in found for wanted in self._audience.wanted(arrival.namespace)):
                    self._tell_rows(source, arrival, found)
                    return True

    def _tell_rows(self, source: Source, arrival: Arrival, found: dict[TailFilter, list[Row]]) -> None:
        if source.double or not self._audience.is_new(arrival.block_id):
            return
        places, told = self.places(), {}
        for wanted, rows in found.items():
            encoded = []
            for row in rows:
                places[source.run] = (arrival.sequence, row[10] + 1)
                encoded.append(encode_event(write(row[0], places), row))
            told[wanted] = list(chunked(encoded))
        self._audience.tell(source, arrival.sequence, arrival.block_id, told)
        source.place = (arrival.sequence, ALL_ROWS)

    async def _tell_block(self, source: Source, block: Block) -> None:
        try:
            header = parse_header(block.data)[0]
            if self._audience.is_new(header.block_id):
                wanted = self._audience.wanted(header.namespace)
                if wanted:
                    with self._audience.told_of_faults():
                        await self._digest(source, block, header.block_id, wanted)
        except BlockDamaged as error:
            log.warning("%s", error)
            self._audience.tell_gap(Gap(0, DAMAGED, unknown=True))
        source.place = (block.sequence, ALL_ROWS)

    async def _digest(
        self, source: Source, block: Block, block_id: bytes, filters: Sequence[TailFilter]
    ) -> None:
        loop = asyncio.get_running_loop()
        asked = (block.data, source.run, block.sequence, self.places(), filters)
        found = await loop.run_in_executor(self._thread, digest, *asked)
        self.blocks += 1
        self.evaluations += len(filters)
        self._audience.tell(source, block.sequence, block_id, found)


def _label(name: str) -> str:
    """As logs and metrics call a gateway."""
    return name or "local"
