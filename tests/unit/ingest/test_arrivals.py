"""What arrives is told to watchers in order; one that is slow loses blocks, which are counted; nobody is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import arrivals as arrivals_module
from ingest.arrivals import Arrivals
from ingest.committer import Committer, Submission
from ingest.counters import Counters
from ingest.errors import RequestRefused
from ingest.ledger import Ledger
from ingest.spool import Spool
from storage.arrivals import ALIVE, HELLO, MAX_RECORD_BYTES, Arrival, Records, head, record
from storage.errors import BlockDamaged


def arrival(sequence: int, rows: int = 1, namespace: str = "main") -> Arrival:
    return Arrival(sequence, b"%016d" % sequence, namespace, rows, 5, 9)


def in_loop(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def test_a_watcher_gets_what_comes_after_its_position() -> None:
    def work() -> None:
        arrivals = Arrivals()
        arrivals.publish([(arrival(3), b"three")])
        watcher, position = arrivals.watch()
        assert position == 3
        arrivals.publish([(arrival(4), b"four"), (arrival(5), b"five")])
        assert [arrivals.take(watcher) for _ in range(3)] == [
            (arrival(4), b"four"),
            (arrival(5), b"five"),
            None,
        ]
        arrivals.unwatch(watcher)
        assert arrivals.watchers == 0

    in_loop(work)


def test_a_slow_watcher_is_told_what_it_missed() -> None:
    def work() -> None:
        arrivals = Arrivals(queue_bytes=10)
        watcher, _ = arrivals.watch()
        arrivals.publish(
            [(arrival(1), b"12345678"), (arrival(2, 5), b"12345678"), (arrival(3, 7, "other"), b"1")]
        )
        assert arrivals.take(watcher) == (arrival(1), b"12345678")
        arrivals.publish([(arrival(4, 2), b"1")])  # there is room; its place is behind the gap
        assert arrivals.take(watcher) == {"after": 1, "upto": 4, "rows": {"main": 7, "other": 7}}
        arrivals.publish([(arrival(5), b"x" * 99)])
        assert arrivals.take(watcher) == (arrival(5), b"x" * 99)
        assert arrivals.take(watcher) is None

    in_loop(work)


def test_what_waits_for_all_watchers_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "TOTAL_BYTES", 20)

    def work() -> None:
        arrivals = Arrivals(queue_bytes=16)
        one, two = (arrivals.watch()[0] for _ in range(2))
        arrivals.publish([(arrival(1, 3), b"12345678"), (arrival(2, 5), b"12345678")])
        assert (arrivals.waiting_bytes, arrivals.missed) == (16, 10)
        assert [arrivals.take(one) for _ in range(2)] == [
            (arrival(1, 3), b"12345678"),
            {"after": 1, "upto": 2, "rows": {"main": 5}},
        ]
        assert arrivals.take(two) == (arrival(1, 3), b"12345678")
        arrivals.publish([(arrival(3), b"12345678")])
        assert arrivals.take(one) == (arrival(3), b"12345678")

    in_loop(work)


def test_the_last_are_remembered_and_it_is_said_what_is_not() -> None:
    arrivals = Arrivals(remembered=3)
    arrivals.publish([(arrival(number), b"") for number in (1, 2, 4, 5)])
    assert arrivals.after(1, 10) == ([arrival(2), arrival(4), arrival(5)], 5, True)
    assert arrivals.after(0, 10) == ([arrival(2), arrival(4), arrival(5)], 5, False)
    assert arrivals.after(2, 1) == ([arrival(4)], 5, True)
    assert arrivals.after(5, 1) == ([], 5, True)


def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "MAX_WATCHERS", 1)

    def work() -> None:
        arrivals = Arrivals()
        arrivals.watch()
        with pytest.raises(RequestRefused) as refused:
            arrivals.watch()
        assert refused.value.status == 429

    in_loop(work)


def test_a_watcher_whose_loop_has_closed_is_forgotten() -> None:
    arrivals = Arrivals()
    in_loop(lambda: arrivals.watch() and None)
    arrivals.publish([(arrival(1), b"")])
    assert arrivals.watchers == 0


def test_the_committer_tells_of_what_is_durable_and_of_what_was_left(tmp_path: Path, sealed: Any) -> None:
    def gateway() -> tuple[Committer, Arrivals]:
        arrivals = Arrivals()
        spool, ledger = Spool(tmp_path / "spool", 1 << 30), Ledger(tmp_path / "accepted")
        committer = Committer(spool, ledger, Counters(), arrivals)
        committer.recover()
        return committer, arrivals

    committer, arrivals = gateway()
    blocks = [sealed(number, b"line %d\n" % number) for number in range(3)]
    for _, block_id, data in [*blocks, blocks[0]]:  # the last is a double
        committer.submit(Submission(((block_id, data),)))
    committer.start()
    committer.stop()
    found, position, whole = arrivals.after(0, 10)
    assert [(one.block_id, one.rows, one.namespace) for one in found] == [
        (b, 1, "default") for _, b, _ in blocks
    ]
    assert (position, whole) == (3, True)
    again = gateway()[1]
    assert again.after(0, 10) == (found, 3, True)
    assert again.run != arrivals.run


@given(st.lists(st.binary(max_size=20), max_size=5), st.integers(1, 7))
def test_records_come_out_of_any_pieces(payloads: list[bytes], size: int) -> None:
    stream = b"".join(head(kind, len(payload)) + payload for kind, payload in enumerate(payloads)) + record(
        ALIVE
    )
    records = Records()
    found = [one for at in range(0, len(stream), size) for one in records.feed(stream[at : at + size])]
    assert found == [*enumerate(payloads), (ALIVE, b"")]


def test_a_record_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(BlockDamaged):
        list(Records().feed(head(HELLO, MAX_RECORD_BYTES + 1)))


def test_an_arrival_survives_json() -> None:
    assert Arrival.from_json(arrival(7).to_json()) == arrival(7)
