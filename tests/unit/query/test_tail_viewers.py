"""A viewer's queue: in order, within bounds, and what is left out is counted at its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query import tailcursor
from query.client import Told, told
from query.errors import RequestInvalid
from query.viewers import SLOW, Budget, Chunk, Gap, Viewer


def chunk(events: int, size: int = 10) -> Chunk:
    return Chunk(b"x" * size, events)


def drained(viewer: Viewer) -> list[Chunk | Gap]:
    return list(iter(viewer.take, None))


def test_chunks_come_in_order() -> None:
    viewer, chunks = Viewer(Budget()), [chunk(1), chunk(2), chunk(3)]
    for one in chunks:
        viewer.offer(one)
    assert viewer.ready.is_set()
    assert drained(viewer) == chunks
    assert not viewer.ready.is_set()


def test_what_has_no_room_is_counted_after_what_had() -> None:
    viewer = Viewer(Budget(), limit=25)
    first, second = chunk(1), chunk(1)
    for one in (first, second, chunk(3), chunk(4)):
        viewer.offer(one)
    assert viewer.take() is first
    viewer.offer(chunk(5))  # there is room, but its place is behind the gap
    assert drained(viewer) == [second, Gap(12, SLOW)]
    last = chunk(1)
    viewer.offer(last)
    assert drained(viewer) == [last]


def test_a_chunk_alone_fits_always() -> None:
    viewer, large = Viewer(Budget(limit=10), limit=10), chunk(1, 1000)
    viewer.offer(large)
    assert drained(viewer) == [large]


def test_what_several_wait_for_counts_once() -> None:
    budget = Budget(limit=25)
    viewers = [Viewer(budget) for _ in range(5)]
    shared = chunk(1, 20)
    for viewer in viewers:
        viewer.offer(shared)
    assert budget.used == 20
    viewers[0].offer(chunk(7))
    assert drained(viewers[0]) == [shared, Gap(7, SLOW)]
    for viewer in viewers:
        viewer.end()
    assert budget.used == 0


@given(st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=60))
def test_events_taken_and_skipped_are_all(steps: list[int | None]) -> None:
    """A number offers so many events, None takes."""
    budget = Budget(limit=60)
    viewer = Viewer(budget, limit=40)
    found = []
    for step in steps:
        if step is None:
            found.append(viewer.take())
        else:
            viewer.offer(chunk(step, 13))
    found += drained(viewer)
    assert sum(one.events if isinstance(one, Chunk) else one.skipped for one in found if one) == sum(
        step for step in steps if step
    )
    assert budget.used == 0


def test_what_comes_after_a_gap_that_was_told_is_not_left_out() -> None:
    viewer, first, second = Viewer(Budget()), chunk(1), chunk(2)
    viewer.offer(first)
    viewer.tell(Gap(0, "away", unknown=True))
    viewer.tell(Gap(0, "again", unknown=True))
    viewer.offer(second)
    assert drained(viewer) == [first, Gap(0, "away; again", unknown=True), second]


def test_gaps_become_one() -> None:
    viewer = Viewer(Budget(), limit=1)
    for one in (chunk(1), chunk(2)):
        viewer.offer(one)
    viewer.tell(Gap(0, "away", unknown=True))
    viewer.take()
    gap = viewer.take()
    assert gap == Gap(2, "away", unknown=True)
    assert isinstance(gap, Gap)
    event = next(told(gap.encode().decode().splitlines()))
    assert json.loads(event.data) == {"skipped": None, "at_least": 2, "reason": "away"}


places = st.dictionaries(
    st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}"),
    st.tuples(st.integers(0, 2**63), st.integers(0, tailcursor.ALL_ROWS)),
    max_size=3,
)


@given(st.integers(-(2**63) + 1, 2**63 - 1), places)
def test_a_cursor_is_read_as_it_was_written(time: int, where: dict[str, tuple[int, int]]) -> None:
    assert tailcursor.read(tailcursor.write(time, where)) == tailcursor.TailCursor(time, where)


@pytest.mark.parametrize(
    "text", ["", "x", "5~", "5~abc", "5~" + "0" * 16 + "-1", "f" * 17, "5~~5", "5" + "~x" * 99]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="cursor"):
        tailcursor.read(text)


def test_events_out_of_a_stream() -> None:
    lines = [
        "retry: 5",
        "",
        ": heartbeat",
        "id: a",
        "",
        "event: log",
        "id: b",
        "data: {}",
        "data: x",
        "",
        "event: gap",
        "data: 1",
        "",
        "",
    ]
    assert list(told(lines)) == [Told("", "a", ""), Told("log", "b", "{}\nx"), Told("gap", "b", "1")]
