"""What arrived between a viewer's last event and the present, when it comes back.

Of a gateway that it was told by, that still runs and that can be asked, that is exact: its list of arrivals names the
blocks, those that are not stored yet are read from its spool, the others by their ids from the store, and each event is
told once, in the order of arrival. Of the others only the time of the last event is left to go by: what the store has
since, but for the blocks of those that were exact. The viewer is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from query.digest import Digest, chunked, encode_event
from query.errors import Unavailable
from query.feed import Listed
from query.tail import Joined, Origin
from query.tailcursor import ALL_ROWS, Place, TailCursor, write
from query.tailsource import AWAY, RESTARTED, said_of
from query.tailstore import TailStore
from query.viewers import Chunk, Gap
from storage.arrivals import Arrival

MAX_EVENTS = 10_000
"""Told again; what is beyond is counted."""
MAX_ROWS = 1 << 21
"""Of blocks in spools, that are looked at for one viewer: some seconds. What later ones hold is not counted."""
STORE_BLOCKS = 256  # that one statement asks for
TOO_OLD = "more arrived since than is remembered"
NEW = "was not heard before"
TOO_MANY = f"more than {MAX_EVENTS} events arrived since"

Part = Chunk | Gap


class CatchUp:
    """One viewer's way back. `upto`, for each source, is where its live events begin."""

    def __init__(self, joined: Joined, cursor: TailCursor, store: TailStore) -> None:
        self._filter = joined.filter
        self._viewer = joined.viewer
        self._cursor = cursor
        self._sources = [self._from(source, cursor, joined) for source in joined.sources]
        self._unheard = joined.unheard
        self._lost: set[str] = set()  # names of gateways that went away meanwhile
        self._store = store
        self._left = MAX_EVENTS
        self._time: int | None = None  # that ids say, while something is to be fetched by time
        self._over = 0  # events beyond
        self._rows = 0  # of spooled blocks that were looked at
        self._uncounted = False

    @staticmethod
    def _from(source: Origin, cursor: TailCursor, joined: Joined) -> Origin:
        """Was the viewer told more by another server than this one has heard? Then what is live begins behind that."""
        sequence, _ = cursor.places.get(source.run, (0, 0))
        if sequence <= source.upto:
            return source
        joined.viewer.begin_after(source.run, sequence)
        joined.places[source.run] = (sequence, ALL_ROWS)
        return replace(source, upto=sequence)

    async def parts(self) -> AsyncIterator[Part]:
        """What was missed. Raises NeveError."""
        runs = {source.run for source in self._sources}
        ended = set(self._cursor.places) - runs
        exact: dict[str, list[Listed]] = {}
        reasons = [said_of("", RESTARTED)] if len(ended) > self._unheard else []
        for source in self._sources:
            if source.run not in self._cursor.places:
                reasons += [] if ended else [self._said_of(source, NEW)]
            elif not source.connected:
                reasons += [] if source.missed else [self._said_of(source, AWAY)]
            elif (found := await self._since(source)) is not None:
                listed, whole = found
                if whole:
                    exact[source.run] = listed
                else:
                    reasons.append(TOO_OLD)
        by_time = [source for source in self._sources if source.run not in exact]
        if by_time or ended:
            self._time = self._cursor.time  # so that who leaves meanwhile gets the rest when he comes again
            self._viewer.fill()  # a gateway that comes back meanwhile tells of blocks that the store has
        async for part in self._exact(exact):
            yield part
        if by_time or ended:
            async for part in self._by_time(by_time, "; ".join(dict.fromkeys(reasons))):
                yield part
            self._viewer.filled()
        for gap in self._rest():
            yield gap

    async def spooled(self) -> AsyncIterator[Part]:
        """What no search finds yet. Raises NeveError."""
        self._cursor = TailCursor(-(1 << 63), {})
        for source in self._sources:
            async for _, chunks in self._in_spool(source):
                for chunk in chunks:
                    yield chunk
        for gap in self._rest():
            yield gap

    def _rest(self) -> Iterator[Gap]:
        if self._over or self._uncounted:
            yield Gap(self._over, TOO_MANY, self._uncounted)
        for name in sorted(self._lost):
            yield Gap(0, said_of("" if self._filter.alone else name, AWAY), unknown=True)

    def _said_of(self, source: Origin, what: str) -> str:
        return said_of("" if self._filter.alone else source.name, what)

    async def _arrivals(self, source: Origin, after: int, upto: int) -> tuple[list[Listed], bool] | None:
        """This namespace's arrivals, and whether all of it is known; None where the gateway can't be asked any more."""
        if source.connected and source.name not in self._lost:
            try:
                listed, whole = await source.feed.arrivals(after, upto, source.run)
                return [one for one in listed if one.arrival.namespace == self._filter.namespace], whole
            except Unavailable:
                self._lost.add(source.name)
        return None

    async def _block(self, source: Origin, arrival: Arrival) -> bytes | None:
        """A block that lay in the spool when it was listed; None where it is stored by now, there are too many, or the
        gateway can't be asked any more."""
        if self._rows >= MAX_ROWS:
            self._uncounted = True
            return None
        self._rows += arrival.rows
        try:
            return await source.feed.block(arrival)
        except Unavailable:
            self._lost.add(source.name)
            return None

    # --- by position -------------------------------------------------------------------------------------

    async def _since(self, source: Origin) -> tuple[list[Listed], bool] | None:
        sequence, row = self._cursor.places[source.run]
        after = sequence if row == ALL_ROWS else sequence - 1
        if (found := await self._arrivals(source, max(after, 0), source.upto)) is None:
            return None
        listed, whole = found  # with the block of the last event, of which there may be more
        return [one for one in listed if self._first_row(source.run, one.arrival) < one.arrival.rows], whole

    async def _exact(self, listed: dict[str, list[Listed]]) -> AsyncIterator[Part]:
        places = dict(self._cursor.places)
        for source in self._sources:
            if source.run not in listed:
                continue
            for spooled, group in groupby(listed[source.run], key=lambda one: one.spooled):
                blocks = [one.arrival for one in group]
                if spooled:
                    for arrival in blocks:
                        async for part in self._spooled(source, arrival, places):
                            yield part
                for start in range(0, 0 if spooled else len(blocks), STORE_BLOCKS):
                    async for part in self._stored(source.run, blocks[start : start + STORE_BLOCKS], places):
                        yield part
            places[source.run] = (source.upto, ALL_ROWS)
        self._cursor = TailCursor(self._cursor.time, places)

    async def _spooled(
        self, source: Origin, arrival: Arrival, places: dict[str, Place]
    ) -> AsyncIterator[Part]:
        data = await self._block(source, arrival)
        if data is None:
            if not self._uncounted:  # it is stored by now
                async for part in self._stored(source.run, [arrival], places):
                    yield part
            return
        first = self._first_row(source.run, arrival)
        chunks, over = await asyncio.to_thread(
            self._digest, data, source.run, arrival.sequence, dict(places), first
        )
        self._over += over
        for chunk in chunks:
            yield chunk

    def _digest(
        self, data: bytes, run: str, sequence: int, places: dict[str, Place], first: int
    ) -> tuple[list[Chunk], int]:
        block = Digest(data, run, sequence, places, self._time)
        rows = block.find(self._filter, first)
        kept = rows[: self._left]
        self._left -= len(kept)
        return block.chunks(kept), len(rows) - len(kept)

    async def _stored(
        self, run: str, blocks: Sequence[Arrival], places: dict[str, Place]
    ) -> AsyncIterator[Part]:
        ids = [one.block_id for one in blocks]
        if not self._left:
            self._over += await self._store.count_of_blocks(self._filter, ids)
            return
        by_id = {one.block_id.hex(): one for one in blocks}
        first = {hex_: self._first_row(run, one) for hex_, one in by_id.items()}
        # One block may have been seen in part: of it so many rows more are asked for.
        rows = await self._store.of_blocks(self._filter, ids, self._left + max(first.values()))
        fresh = [row for row in rows if row[10] >= first[row[9]]]
        kept = fresh[: self._left]
        if len(kept) == self._left:
            seen = len(rows) - len(fresh)
            self._over += max(0, await self._store.count_of_blocks(self._filter, ids) - seen - len(kept))
        self._left -= len(kept)
        encoded = []
        for row in kept:
            places[run] = (by_id[row[9]].sequence, row[10] + 1)
            encoded.append(encode_event(write(row[0] if self._time is None else self._time, places), row))
        for chunk in chunked(encoded):
            yield chunk

    def _first_row(self, run: str, arrival: Arrival) -> int:
        sequence, row = self._cursor.places[run]
        return row if arrival.sequence == sequence else 0

    # --- by time -----------------------------------------------------------------------------------------

    async def _by_time(self, sources: Sequence[Origin], reason: str) -> AsyncIterator[Part]:
        """What has come to these gateways since, as far as the store and the spools that can be read tell."""
        if reason:
            yield Gap(0, reason, unknown=True)
        spooled: list[Chunk] = []
        without: list[bytes] = []
        for source in self._sources:
            if source in sources:
                async for arrival, chunks in self._in_spool(source):
                    spooled += chunks
                    without.append(arrival.block_id)
            elif (by_position := await self._told(source)) is None:
                return  # they could not be left out, and would come a second time
            else:
                without += by_position
            without += await self._coming(source)
        rows, more = await self._store.since(self._filter, self._cursor.time, without, self._left)
        # What came meanwhile, and is stored already, comes again as a live event: it is left to that.
        live = {one.hex() for source in self._sources for one in await self._coming(source)}
        told = [row for row in rows if row[9] not in live and self._viewer.fetched(bytes.fromhex(row[9]))]
        self._left -= len(told)
        self._over += more
        for chunk in chunked(encode_event(write(row[0], self._cursor.places), row) for row in told):
            yield chunk
        for chunk in spooled:
            yield chunk

    async def _in_spool(self, source: Origin) -> AsyncIterator[tuple[Arrival, list[Chunk]]]:
        """Blocks that are not stored yet and do not come live, with their events after the cursor's time."""
        listed, _ = await self._arrivals(source, 0, source.upto) or ([], False)
        for one in listed:
            if one.spooled and one.arrival.max_timestamp > self._cursor.time:
                data = await self._block(source, one.arrival)
                if data is not None:
                    yield one.arrival, await asyncio.to_thread(self._later_than, one.arrival, data)

    async def _told(self, source: Origin) -> list[bytes] | None:
        """Blocks that were told by position, now or before; None where the gateway can't be asked any more."""
        if (found := await self._arrivals(source, 0, source.upto)) is None:
            return None
        listed, _ = found
        return [one.arrival.block_id for one in listed if one.arrival.max_timestamp > self._cursor.time]

    async def _coming(self, source: Origin) -> list[bytes]:
        """Blocks that come live."""
        listed, _ = await self._arrivals(source, source.upto, 1 << 62) or ([], False)
        return [one.arrival.block_id for one in listed]

    def _later_than(self, arrival: Arrival, data: bytes) -> list[Chunk]:
        block = Digest(data, "", arrival.sequence, self._cursor.places)
        rows = block.find_after(self._filter, self._cursor.time)
        kept = rows[: max(self._left, 0)]
        self._left -= len(kept)
        self._over += len(rows) - len(kept)
        return list(chunked(block.encoded(kept, self._cursor.places)))
