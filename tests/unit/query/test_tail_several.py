"""The hub over gateways of several machines: one that is away is told and holds up no other; each event comes once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from query import tail as tail_module
from query.catchup import CatchUp
from query.digest import TailFilter, encode_event
from query.errors import Unavailable
from query.feed import Hello, Listed, Missed, Way
from query.tail import TailHub
from query.tailcursor import ALL_ROWS, TailCursor
from query.tailcursor import read as read_cursor
from query.tailsource import AWAY, BACK, FILLED, RESTARTED, said_of
from query.viewers import Chunk, Gap
from storage.access.carried import Carried
from storage.arrivals import Arrival
from storage.native.block import parse_header
from tests.unit.query.test_tail_hub import OTHER_RUN, RUN, Gateway, gap, heard, wanted

TWO, THREE = "two.example:8780", "three.example:8780"
RUN_TWO, NEW_TWO = "c" * 16, "d" * 16
Gateways = dict[str, Gateway]
Test = Callable[[Gateways, TailHub], Awaitable[None]]


class Hanging(Gateway):
    """Its list of arrivals never comes."""

    async def arrivals(self, after: int, upto: int, run: str) -> tuple[list[Listed], bool]:  # noqa: ARG002
        await asyncio.Event().wait()
        raise AssertionError


async def answered(gateway: Gateway, run: str, position: int = 0) -> None:
    await gateway.said_.put(Hello(run, position, 0))


async def lost(gateway: Gateway) -> None:
    """Its stream ends, and so does the next try: it is away."""
    for _ in range(2):
        await gateway.said_.put(None)


def about(name: str, what: str, skipped: int | None = None) -> str:
    return gap(skipped=skipped, reason=said_of(name, what))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a test against a gateway beside, "", and those of other machines."""

    def run(test: Test, *others: str, store: Any = None, **kinds: type[Gateway]) -> None:
        async def nothing(_wanted: TailFilter, _arrival: Arrival) -> list[tuple[Any, ...]]:
            return []

        async def main() -> None:
            ways = [Way.beside("/", {}), *(Way.among(f"http://{one}", b"word", Carried()) for one in others)]
            gateways = {
                way.name: kinds.get("two", Gateway)() if way.name == TWO else Gateway() for way in ways
            }
            monkeypatch.setattr(tail_module, "Feed", lambda way: gateways[way.name])
            monkeypatch.setattr(tail_module, "PAUSES", (0.0,))
            monkeypatch.setattr(tail_module, "DOUBLE_SECONDS", 0.0)
            hub = TailHub(ways, store or nothing)
            try:
                await test(gateways, hub)
            finally:
                await hub.close()

        asyncio.run(main())

    return run


def up(hub: TailHub) -> dict[str, int]:
    lines = [line for line in hub.families().splitlines() if line.startswith("neve_api_tail_source_up")]
    return {line.split('"')[1]: int(line.split()[-1]) for line in lines}


def test_what_arrives_at_any_gateway_is_told_once(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO)
        joined = await hub.join(wanted("line"))
        assert up(hub) == {"local": 1, TWO: 1}
        block = gateways[""].add(1, "line here")
        await gateways[""].said_.put(block)
        assert await heard(joined, 1) == ["line here"]
        gateways[TWO].blocks[7] = block.data  # the same, which its sender gave to both
        await gateways[TWO].said_.put(type(block)(7, block.data))
        await gateways[TWO].said_.put(gateways[TWO].add(8, "line there"))
        assert await heard(joined, 1) == ["line there"]
        assert read_cursor(hub.cursor()).places == {RUN: (1, ALL_ROWS), RUN_TWO: (8, ALL_ROWS)}
        assert hub.evaluations == 2

    hub(test, TWO)


def test_one_that_is_away_is_told_and_what_came_there_meanwhile_is_filled(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO)
        joined = await hub.join(wanted("line"))
        await lost(gateways[TWO])
        assert await heard(joined, 1) == [about(TWO, AWAY)]
        assert up(hub) == {"local": 1, TWO: 0}
        late = await hub.join(wanted("line"))
        assert await heard(late, 1) == [about(TWO, AWAY)]
        alone = TailFilter("default", wanted("line").condition, alone=True)
        restricted = await hub.join(alone)
        assert await heard(restricted, 1) == [about("", AWAY)]
        await gateways[""].said_.put(gateways[""].add(1, "line here"))
        assert await heard(joined, 1) == ["line here"]
        gateways[TWO].add(3, "line there, meanwhile")
        await answered(gateways[TWO], RUN_TWO, 3)
        assert await heard(joined, 2) == ["line there, meanwhile", about(TWO, FILLED, 0)]
        await gateways[TWO].said_.put(gateways[TWO].add(4, "line there"))
        assert await heard(joined, 1) == ["line there"]

    hub(test, TWO)


def test_one_that_was_never_heard_is_told_when_it_is_there(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await lost(gateways[TWO])
        joined = await hub.join(wanted("line"))
        assert joined.unheard == 1
        assert await heard(joined, 1) == [about(TWO, AWAY)]
        await answered(gateways[TWO], RUN_TWO, 9)
        assert await heard(joined, 1) == [about(TWO, BACK)]

    hub(test, TWO)


def test_one_that_started_again_is_named(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO)
        joined = await hub.join(wanted("line"))
        gateways[TWO].add(1, "line there")
        await gateways[TWO].said_.put(None)
        await answered(gateways[TWO], NEW_TWO, 1)
        assert await heard(joined, 2) == [about(TWO, RESTARTED), "line there"]

    hub(test, TWO)


def test_one_that_hangs_while_it_is_asked_what_was_missed_holds_up_no_other(
    hub: Callable[..., None],
) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO)
        joined = await hub.join(wanted("line"))
        await gateways[TWO].said_.put(None)
        await answered(gateways[TWO], RUN_TWO, 5)
        await gateways[""].said_.put(gateways[""].add(1, "line here"))
        assert await heard(joined, 1) == ["line here"]

    hub(test, TWO, two=Hanging)


@pytest.mark.parametrize("first", ["", TWO])
def test_its_own_address_among_all_is_not_heard_a_second_time(hub: Callable[..., None], first: str) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        order = [first, TWO if first == "" else ""]
        await answered(gateways[order[0]], RUN)
        joining = asyncio.ensure_future(hub.join(wanted("line")))
        while not up(hub).get("local" if not order[0] else TWO):
            await asyncio.sleep(0)
        await answered(gateways[order[1]], RUN)
        joined = await joining
        await gateways[TWO].said_.put(gateways[TWO].add(1, "line by the front door"))
        await gateways[""].said_.put(gateways[""].add(1, "line by the inner path"))
        assert await heard(joined, 1) == ["line by the inner path"]
        assert up(hub) == {"local": 1}
        assert list(hub.places()) == [RUN]
        await gateways[TWO].said_.put(None)  # another machine has this address now
        await answered(gateways[TWO], RUN_TWO)
        while len(up(hub)) == 1:
            await asyncio.sleep(0)
        await gateways[TWO].said_.put(gateways[TWO].add(2, "line of another"))
        assert await heard(joined, 1) == ["line of another"]

    hub(test, TWO)


def test_the_inner_path_goes_on_where_the_other_was(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await lost(gateways[""])
        await answered(gateways[TWO], RUN)
        joined = await hub.join(wanted("line"))
        assert await heard(joined, 1) == [about("", AWAY)]
        await gateways[TWO].said_.put(gateways[TWO].add(1, "line by the front door"))
        assert await heard(joined, 1) == ["line by the front door"]
        gateways[""].add(1, "line by the front door")
        gateways[""].add(2, "line between the two")
        await answered(gateways[""], RUN, 2)
        assert await heard(joined, 2) == ["line between the two", about("", FILLED, 0)]

    hub(test, TWO)


def test_what_could_not_be_heard_is_counted_by_gateway(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO)
        joined = await hub.join(wanted("line"))
        await gateways[TWO].said_.put(Missed(5, {"default": 70}))
        [said] = await heard(joined, 1)
        assert json.loads(said)["reason"].endswith(f"70 events of gateway {TWO} were not looked at")
        assert f'neve_api_tail_source_missed_total{{gateway="{TWO}"}} 70' in hub.families()

    hub(test, TWO)


# --- who comes back -----------------------------------------------------------------------------------------


class Store:
    """What is stored: blocks by id. Of each block one event, at its sequence as its time."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def add(self, gateway: Gateway, sequence: int, text: str) -> None:
        block = gateway.add(sequence, text, spooled=False)
        block_id = parse_header(block.data)[0].block_id.hex()
        self.rows.append((sequence, "", "", "", text, 5, "", "", {}, block_id, 0, "hot"))

    async def of_blocks(self, _wanted: TailFilter, blocks: list[bytes], limit: int) -> list[tuple[Any, ...]]:
        return [row for one in blocks for row in self.rows if row[9] == one.hex()][:limit]

    async def count_of_blocks(self, _wanted: TailFilter, blocks: list[bytes]) -> int:
        return len(await self.of_blocks(_wanted, blocks, 1 << 60))

    async def since(
        self, _wanted: TailFilter, time: int, without: list[bytes], limit: int
    ) -> tuple[list[tuple[Any, ...]], int]:
        apart = {one.hex() for one in without}
        rows = [row for row in sorted(self.rows) if row[0] > time and row[9] not in apart]
        return rows[:limit], len(rows[limit:])


async def told(catch_up: CatchUp) -> list[str]:
    found = []
    async for part in catch_up.parts():
        if isinstance(part, Gap):
            found.append(part.reason)
        elif isinstance(part, Chunk):
            lines = part.data.decode().split("\n")
            found += [json.loads(line[6:])["message"] for line in lines if line.startswith("data: ")]
    return found


def test_who_comes_back_gets_each_event_of_each_gateway_once(hub: Callable[..., None]) -> None:
    """Also where one of the gateways has started again since: of the other it is exact all the same."""

    async def test(gateways: Gateways, hub: TailHub) -> None:
        store: Any = Store()
        for sequence in range(1, 5):
            store.add(gateways[""], sequence, f"line here {sequence}")
            store.add(gateways[TWO], sequence, f"line there {sequence}")
        await answered(gateways[""], RUN, 4)
        await answered(gateways[TWO], RUN_TWO, 4)
        joined = await hub.join(wanted("line"))
        places = {RUN: (3, ALL_ROWS), RUN_TWO: (1, ALL_ROWS)}
        found = await told(CatchUp(joined, TailCursor(2, places), store))
        assert found == ["line here 4", *(f"line there {n}" for n in (2, 3, 4))]
        places = {RUN: (1, ALL_ROWS), OTHER_RUN: (2, ALL_ROWS)}
        found = await told(CatchUp(joined, TailCursor(2, places), store))
        expected = [
            *(f"line here {n}" for n in (2, 3, 4)),
            said_of("", RESTARTED),
            "line there 3",
            "line there 4",
        ]
        assert found == expected

    hub(test, TWO)


def test_of_one_that_is_away_comes_what_is_stored_and_not_again_when_it_is_back(
    hub: Callable[..., None],
) -> None:
    store: Any = Store()

    async def from_store(_wanted: TailFilter, arrival: Arrival) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = await store.of_blocks(_wanted, [arrival.block_id], 9)
        return rows

    async def test(gateways: Gateways, hub: TailHub) -> None:
        store.add(gateways[TWO], 3, "line there 3")
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO, 3)
        first = await hub.join(wanted("line"))
        await lost(gateways[TWO])
        assert await heard(first, 1) == [about(TWO, AWAY)]
        store.add(gateways[TWO], 4, "line there 4")
        gateways[TWO].add(5, "line there 5")
        joined = await hub.join(wanted("line"))
        cursor = TailCursor(2, {RUN: (0, ALL_ROWS), RUN_TWO: (2, ALL_ROWS)})
        assert await told(CatchUp(joined, cursor, store)) == ["line there 3", "line there 4"]
        await answered(gateways[TWO], RUN_TWO, 5)
        assert await heard(joined, 3) == [about(TWO, AWAY), "line there 5", about(TWO, FILLED, 0)]
        assert await heard(first, 3) == ["line there 4", "line there 5", about(TWO, FILLED, 0)]

    hub(test, TWO, store=from_store)


def test_one_that_goes_away_while_it_is_asked_takes_no_other_with_it(
    hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        store: Any = Store()
        store.add(gateways[""], 2, "line here")
        await answered(gateways[""], RUN, 2)
        await answered(gateways[TWO], RUN_TWO, 0)
        joined = await hub.join(wanted("line"))

        async def gone(*_args: object) -> None:
            raise Unavailable("cannot ask gateway: connecterror")

        monkeypatch.setattr(gateways[TWO], "arrivals", gone)
        cursor = TailCursor(1, {RUN: (0, ALL_ROWS), RUN_TWO: (0, ALL_ROWS)})
        assert await told(CatchUp(joined, cursor, store)) == ["line here", said_of(TWO, AWAY)]

    hub(test, TWO)


def test_an_event_of_the_exact_part_says_the_time_from_which_the_rest_is_fetched(
    hub: Callable[..., None],
) -> None:
    """Who leaves in the middle, and comes back by the id of the last event, lacks nothing of the others."""

    async def test(gateways: Gateways, hub: TailHub) -> None:
        store: Any = Store()
        store.add(gateways[""], 9, "line here")
        store.add(gateways[TWO], 5, "line there")
        await answered(gateways[""], RUN, 9)
        await answered(gateways[TWO], NEW_TWO, 5)
        joined = await hub.join(wanted("line"))
        cursor = TailCursor(2, {RUN: (0, ALL_ROWS), RUN_TWO: (1, ALL_ROWS)})
        parts = CatchUp(joined, cursor, store).parts()
        first = await anext(parts)
        assert isinstance(first, Chunk)
        id_ = next(line[4:] for line in first.data.decode().split("\n") if line.startswith("id: "))
        again = await told(CatchUp(joined, read_cursor(id_), store))
        assert again == [said_of("", RESTARTED), "line there"]

    hub(test, TWO)


def test_a_block_that_was_seen_to_its_end_is_not_asked_for(
    hub: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may be away: what lies in the spool is told all the same."""

    async def test(gateways: Gateways, hub: TailHub) -> None:
        store: Any = Store()
        store.add(gateways[""], 1, "line 1")
        gateways[""].add(2, "line 2")
        await answered(gateways[""], RUN, 2)
        joined = await hub.join(wanted("line"))
        monkeypatch.setattr(store, "of_blocks", None)
        assert await told(CatchUp(joined, TailCursor(2, {RUN: (1, 1)}), store)) == ["line 2"]

    hub(test)


def test_who_was_told_more_by_another_server_is_not_told_it_again(hub: Callable[..., None]) -> None:
    async def test(gateways: Gateways, hub: TailHub) -> None:
        store: Any = Store()
        await answered(gateways[""], RUN)
        await answered(gateways[TWO], RUN_TWO, 1)
        joined = await hub.join(wanted("line"))
        blocks = {
            sequence: gateways[TWO].add(sequence, f"line {sequence}", "line more") for sequence in (2, 3)
        }
        cursor = TailCursor(2, {RUN: (0, ALL_ROWS), RUN_TWO: (2, 1)})  # in the middle of the second
        assert await told(CatchUp(joined, cursor, store)) == ["line more"]
        assert joined.cursor().places[RUN_TWO] == (2, ALL_ROWS)
        for block in blocks.values():
            await gateways[TWO].said_.put(block)
        assert await heard(joined, 2) == ["line 3", "line more"]

    hub(test, TWO)


def test_an_id_of_as_many_gateways_as_there_may_be_can_be_read() -> None:
    places = {f"{number:016x}": (1 << 40, ALL_ROWS) for number in range(65)}
    event = (10**18, "", "", "", "x", 5, "", "", {}, "00" * 16, 0, "hot")
    line = encode_event(str(TailCursor(1, places)), event).decode().split("\n")[1]
    assert read_cursor(line.removeprefix("id: ")).places == places
