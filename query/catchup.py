"""What arrived between a viewer's last event and the present, when it comes back.

Where the gateway that it was told by still runs, that is exact: its list of arrivals names the blocks, those that are
not stored yet are read from its spool, the others by their ids from the store, and each event is told once, in the
order of arrival. Else only the time of the last event is left to go by, and the viewer is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby

from query.digest import Digest, chunked, encode_event
from query.feed import Feed, Listed
from query.tail import RESTARTED, Joined, Source
from query.tailcursor import ALL_ROWS, Place, TailCursor, write
from query.tailstore import TailStore
from query.viewers import Chunk, Gap
from storage.arrivals import Arrival

MAX_EVENTS = 10_000
"""Told again; what is beyond is counted."""
MAX_ROWS = 1 << 21
"""Of blocks in spools, that are looked at for one viewer: some seconds. What later ones hold is not counted."""
STORE_BLOCKS = 256  # that one statement asks for
TOO_OLD = "more arrived since than is remembered"
TOO_MANY = f"more than {MAX_EVENTS} events arrived since"

Part = Chunk | Gap


class CatchUp:
    """One viewer's way back. `upto`, for each source, is where its live events begin."""

    def __init__(self, joined: Joined, cursor: TailCursor, store: TailStore) -> None:
        self._filter = joined.filter
        self._cursor = cursor
        self._sources = joined.sources
        self._upto = {run: place[0] for run, place in joined.places.items()}
        self._store = store
        self._left = MAX_EVENTS
        self._over = 0  # events beyond
        self._rows = 0  # of spooled blocks that were looked at
        self._uncounted = False

    async def parts(self) -> AsyncIterator[Part]:
        """What was missed. Raises NeveError."""
        runs = {source.run for source in self._sources}
        reason = RESTARTED
        if runs == set(self._cursor.places):
            listed = {source.run: await self._since(source) for source in self._sources}
            if all(whole for _, whole in listed.values()):
                async for part in self._exact({run: found for run, (found, _) in listed.items()}):
                    yield part
                return
            reason = TOO_OLD
        async for part in self._by_time(reason):
            yield part

    async def spooled(self) -> AsyncIterator[Part]:
        """What no search finds yet. Raises NeveError."""
        self._cursor = TailCursor(-(1 << 63), {})
        for source in self._sources:
            async for _, chunks in self._in_spool(source):
                for chunk in chunks:
                    yield chunk
        if gap := self._rest():
            yield gap

    def _rest(self) -> Gap | None:
        return Gap(self._over, TOO_MANY, self._uncounted) if self._over or self._uncounted else None

    async def _block(self, feed: Feed, arrival: Arrival) -> bytes | None:
        """A block that lay in the spool when it was listed; None where it is stored by now, or there are too many."""
        if self._rows >= MAX_ROWS:
            self._uncounted = True
            return None
        self._rows += arrival.rows
        return await feed.block(arrival)

    # --- by position -------------------------------------------------------------------------------------

    async def _since(self, source: Source) -> tuple[list[Listed], bool]:
        sequence, row = self._cursor.places[source.run]
        after = sequence if row == ALL_ROWS else sequence - 1
        listed, whole = await source.feed.arrivals(max(after, 0), self._upto[source.run], source.run)
        return self._ours(listed), whole

    async def _exact(self, listed: dict[str, list[Listed]]) -> AsyncIterator[Part]:
        places = dict(self._cursor.places)
        for source in self._sources:
            for spooled, group in groupby(listed[source.run], key=lambda one: one.spooled):
                blocks = [one.arrival for one in group]
                if spooled:
                    for arrival in blocks:
                        async for part in self._spooled(source, arrival, places):
                            yield part
                for start in range(0, 0 if spooled else len(blocks), STORE_BLOCKS):
                    async for part in self._stored(source.run, blocks[start : start + STORE_BLOCKS], places):
                        yield part
            places[source.run] = (self._upto[source.run], ALL_ROWS)
        if gap := self._rest():
            yield gap

    async def _spooled(
        self, source: Source, arrival: Arrival, places: dict[str, Place]
    ) -> AsyncIterator[Part]:
        data = await self._block(source.feed, arrival)
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
        block = Digest(data, run, sequence, places)
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
            encoded.append(encode_event(write(row[0], places), row))
        for chunk in chunked(encoded):
            yield chunk

    def _first_row(self, run: str, arrival: Arrival) -> int:
        sequence, row = self._cursor.places[run]
        return row if arrival.sequence == sequence else 0

    # --- by time -----------------------------------------------------------------------------------------

    async def _by_time(self, reason: str) -> AsyncIterator[Part]:
        yield Gap(0, reason, unknown=True)
        spooled: list[Chunk] = []
        without: list[bytes] = []
        for source in self._sources:
            async for arrival, chunks in self._in_spool(source):
                spooled += chunks
                without.append(arrival.block_id)
            without += await self._coming(source)
        rows, more = await self._store.since(self._filter, self._cursor.time, without, self._left)
        # What came meanwhile, and is stored already, comes again as a live event: it is left to that.
        live = {one.hex() for source in self._sources for one in await self._coming(source)}
        told = [row for row in rows if row[9] not in live]
        self._left -= len(told)
        self._over += more
        for chunk in chunked(encode_event(write(row[0], self._cursor.places), row) for row in told):
            yield chunk
        for chunk in spooled:
            yield chunk
        if gap := self._rest():
            yield gap

    async def _in_spool(self, source: Source) -> AsyncIterator[tuple[Arrival, list[Chunk]]]:
        """Blocks that are not stored yet and do not come live, with their events after the cursor's time."""
        listed, _ = await source.feed.arrivals(0, self._upto[source.run], source.run)
        for one in self._ours(listed):
            if one.spooled and one.arrival.max_timestamp > self._cursor.time:
                data = await self._block(source.feed, one.arrival)
                if data is not None:
                    yield one.arrival, await asyncio.to_thread(self._later_than, one.arrival, data)

    async def _coming(self, source: Source) -> list[bytes]:
        """Blocks that come live."""
        listed, _ = await source.feed.arrivals(self._upto[source.run], 1 << 62, source.run)
        return [one.arrival.block_id for one in listed]

    def _later_than(self, arrival: Arrival, data: bytes) -> list[Chunk]:
        block = Digest(data, "", arrival.sequence, self._cursor.places)
        rows = block.find_after(self._filter, self._cursor.time)
        kept = rows[: max(self._left, 0)]
        self._left -= len(kept)
        self._over += len(rows) - len(kept)
        return list(chunked(block.encoded(kept, self._cursor.places)))

    def _ours(self, listed: Iterable[Listed]) -> list[Listed]:
        return [one for one in listed if one.arrival.namespace == self._filter.namespace]
