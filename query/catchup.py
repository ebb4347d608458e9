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
            found, _ = await self._in_spool(source.feed, self._upto[source.run])
            for arrival, data in found:
                for chunk in await asyncio.to_thread(self._later_than, arrival, data):
                    yield chunk
        if self._over:
            yield Gap(self._over, TOO_MANY)

    # --- by position -------------------------------------------------------------------------------------

    async def _since(self, source: Source) -> tuple[list[Listed], bool]:
        sequence, row = self._cursor.places[source.run]
        after = sequence if row == ALL_ROWS else sequence - 1
        listed, whole = await source.feed.arrivals(max(after, 0), self._upto[source.run])
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
        if self._over:
            yield Gap(self._over, TOO_MANY)

    async def _spooled(
        self, source: Source, arrival: Arrival, places: dict[str, Place]
    ) -> AsyncIterator[Part]:
        data = await source.feed.block(arrival)
        if data is None:  # stored by now
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
        blocks: list[tuple[Arrival, bytes]] = []
        later: list[bytes] = []
        for source in self._sources:
            found, coming = await self._in_spool(source.feed, self._upto[source.run])
            blocks += found
            later += coming
        without = [*(arrival.block_id for arrival, _ in blocks), *later]
        rows, more = await self._store.since(self._filter, self._cursor.time, without, self._left)
        # What comes by now, and is stored already, comes again as a live event: it is left to that.
        for source in self._sources:
            listed, _ = await source.feed.arrivals(self._upto[source.run], 1 << 62)
            later += [one.arrival.block_id for one in listed]
        live = {one.hex() for one in later}
        told = [row for row in rows if row[9] not in live]
        self._left -= len(told)
        self._over += more
        for chunk in chunked(encode_event(write(row[0], self._cursor.places), row) for row in told):
            yield chunk
        for arrival, data in blocks:
            for chunk in await asyncio.to_thread(self._later_than, arrival, data):
                yield chunk
        if self._over:
            yield Gap(self._over, TOO_MANY)

    async def _in_spool(self, feed: Feed, upto: int) -> tuple[list[tuple[Arrival, bytes]], list[bytes]]:
        """Blocks that are not stored yet, and the ids of those that come live."""
        listed, _ = await feed.arrivals(0, 1 << 62)
        blocks = []
        for one in self._ours(listed):
            if one.spooled and one.arrival.sequence <= upto and one.arrival.max_timestamp > self._cursor.time:
                data = await feed.block(one.arrival)
                blocks += [] if data is None else [(one.arrival, data)]
        return blocks, [one.arrival.block_id for one in listed if one.arrival.sequence > upto]

    def _later_than(self, arrival: Arrival, data: bytes) -> list[Chunk]:
        block = Digest(data, "", arrival.sequence, self._cursor.places)
        rows = block.find_after(self._filter, self._cursor.time)
        kept = rows[: max(self._left, 0)]
        self._left -= len(kept)
        self._over += len(rows) - len(kept)
        return list(chunked(block.encoded(kept, self._cursor.places)))

    def _ours(self, listed: Iterable[Listed]) -> list[Listed]:
        return [one for one in listed if one.arrival.namespace == self._filter.namespace]
