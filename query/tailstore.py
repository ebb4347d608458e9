"""What a tail asks of the store: never while events arrive, only when a viewer comes (back)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from query import conditions as c
from query.digest import TailFilter
from query.events import event_columns
from query.running import Running
from query.search import ORDERS
from query.serving import Gate
from query.sql import Params, compile_condition, nanos
from query.tiers import HOT
from storage.arrivals import Arrival
from storage.errors import NamespaceUnknown, NeveError, StorageUnavailable
from storage.schema import current_patterns, namespace_database

log = logging.getLogger("neve.query")
TIER = f"'{HOT}'"  # what was missed lately has not aged
OLDEST = ORDERS[False]["table"]
CHECK_SECONDS = 2.0
Row = tuple[Any, ...]
T = TypeVar("T")


class TailStore:
    """Statements about one filter's events. Each runs in a thread, and is killed when its viewer goes away."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._known: set[str] = set()
        self._checks: dict[str, asyncio.Task[bool]] = {}

    async def check(self, namespace: str) -> None:
        """Raises NamespaceUnknown. While the store does not answer soon, any will do: what arrives is told."""
        if namespace in self._known:
            return
        if namespace not in self._checks:
            self._checks[namespace] = asyncio.ensure_future(self._exists(namespace))
        check = self._checks[namespace]  # shared, and not given up with the one who waits for it
        await asyncio.wait({check}, timeout=CHECK_SECONDS)
        if check.done() and not check.result():
            what = f"cannot find namespace: {namespace}"
            raise NamespaceUnknown(what, "ship something to it first")

    async def _exists(self, namespace: str) -> bool:
        try:
            await asyncio.to_thread(self._gate.hot.require, namespace)
            self._known.add(namespace)
        except NamespaceUnknown:
            return False
        except NeveError as error:
            log.info("cannot look for namespace %s: %s", namespace, error)
        finally:
            del self._checks[namespace]
        return True

    async def members(self, namespace: str, condition: c.Condition) -> tuple[tuple[int, frozenset[int]], ...]:
        """For each fingerprint that a condition names, itself and those of its pattern, as they are now."""
        wanted = sorted(set(fingerprints(condition)))
        if not wanted:
            return ()
        found = await self._run(
            lambda running: [_members(running, namespace, one) for one in wanted], whole=False
        )
        return tuple(zip(wanted, found, strict=True))

    async def of_blocks(self, wanted: TailFilter, blocks: Sequence[bytes], limit: int) -> list[Row]:
        """The events of these blocks, at most `limit`, in the order of the blocks and then of rows."""
        params, where = _of_blocks(wanted, blocks)
        order = f"indexOf({params.add([one.hex() for one in blocks], 'Array(String)')}, block), r"
        sql = f"SELECT {event_columns(TIER)} {where} ORDER BY {order} LIMIT {params.add(limit, 'UInt64')}"
        return await self._run(lambda running: running.query(sql, params.values).rows)

    async def of_block(self, wanted: TailFilter, arrival: Arrival) -> list[Row]:
        """The events of one block."""
        return await self.of_blocks(wanted, [arrival.block_id], arrival.rows)

    async def count_of_blocks(self, wanted: TailFilter, blocks: Sequence[bytes]) -> int:
        """How many events they are."""
        params, where = _of_blocks(wanted, blocks)
        return await self._count(where, params)

    async def since(
        self, wanted: TailFilter, time: int, without: Sequence[bytes], limit: int
    ) -> tuple[list[Row], int]:
        """The events after a time, at most `limit`, but for those of some blocks, oldest first; and how many more."""
        params = _params(wanted)
        where = f"{_where(wanted, params)} AND timestamp > {nanos(time, params)}"
        if without:
            where += f" AND block_id NOT IN {_ids(without, params)}"
        found = f"SELECT {event_columns(TIER)} {where} ORDER BY {OLDEST} LIMIT {params.add(limit, 'UInt64')}"
        rows = await self._run(lambda running: running.query(found, params.values).rows)
        more = 0 if len(rows) < limit else await self._count(where, params) - len(rows)
        return rows, max(more, 0)

    async def _count(self, where: str, params: Params) -> int:
        sql = f"SELECT count() AS n {where}"
        rows = await self._run(lambda running: running.query(sql, params.values).rows)
        return int(rows[0][0])

    async def _run(self, work: Callable[[Running], T], *, whole: bool = True) -> T:
        """`whole`: what lacks a shard is no answer. Raises StorageUnavailable then, of which viewers are told."""
        running = Running(self._gate.hot, self._gate.limits)

        def once() -> Iterator[list[T]]:
            found = work(running)
            if whole and running.lacking:
                raise StorageUnavailable(f"cannot read what was missed: {', '.join(running.lacking)} is away")
            yield [found]

        found = await self._gate.step(running, once())
        assert found is not None
        return found[0]


def fingerprints(condition: c.Condition) -> Iterator[int]:
    """Those that a condition names."""
    match condition:
        case c.FingerprintIs(fingerprint):
            yield fingerprint
        case c.AllOf(children) | c.AnyOf(children):
            for child in children:
                yield from fingerprints(child)
        case c.Negation(child):
            yield from fingerprints(child)


def _members(running: Running, namespace: str, fingerprint: int) -> frozenset[int]:
    """As sql.py finds them; the one alone while the store does not answer."""
    params = Params(namespace_database(namespace))
    current, wanted = current_patterns(params.database), params.add(fingerprint, "UInt64")
    now = f"SELECT {wanted} AS p UNION ALL SELECT pattern AS p FROM {current} WHERE fingerprint = {wanted} AND alias"
    sql = f"SELECT fingerprint AS f FROM {current} WHERE pattern IN ({now})"
    try:
        rows = running.query(sql, params.values).rows
    except StorageUnavailable:
        rows = []
    return frozenset({fingerprint, *(int(row[0]) for row in rows)})


def _of_blocks(wanted: TailFilter, blocks: Iterable[bytes]) -> tuple[Params, str]:
    params = _params(wanted)
    where = _where(wanted, params)
    return params, f"{where} AND block_id IN {_ids(blocks, params)}"


def _params(wanted: TailFilter) -> Params:
    return Params("" if wanted.alone else namespace_database(wanted.namespace))


def _where(wanted: TailFilter, params: Params) -> str:
    return f"FROM {namespace_database(wanted.namespace)}.events WHERE {compile_condition(wanted.condition, params)}"


def _ids(blocks: Iterable[bytes], params: Params) -> str:
    hexes = params.add([one.hex() for one in blocks], "Array(String)")
    return f"(SELECT toFixedString(unhex(arrayJoin({hexes})), 16) AS b)"
