"""A hold: nothing is inserted from when it was given until it ends, and its end says whether that is so."""

import threading
import time

from ingest.holding import Holding


class Inserter:
    """Inserts as often as it may, as the thread of `ingest/inserter.py` does."""

    def __init__(self, holding: Holding | None = None) -> None:
        self.holding = holding or Holding()
        self.holding.join(self, lambda: None)
        self.busy = False
        self.inserts = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.holding.rests(self):
                time.sleep(0.0005)
                continue
            self.busy = True
            self.inserts += 1
            time.sleep(0)
            self.busy = False

    def __enter__(self) -> "Inserter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_nothing_is_under_way_while_it_is_held() -> None:
    with Inserter() as inserter:
        for _ in range(50):
            number = inserter.holding.begin(10)
            assert number
            before = inserter.inserts
            assert not inserter.busy
            assert inserter.holding.begin(10) == number
            assert inserter.inserts == before
            assert inserter.holding.end(number)


def test_who_comes_too_late_is_told() -> None:
    with Inserter() as inserter:
        first = inserter.holding.begin(0.05)
        while inserter.holding.asked:
            time.sleep(0.01)
        second = inserter.holding.begin(10)
        assert second != first
        assert not inserter.holding.end(first)
        assert not inserter.holding.asked


def test_an_inserter_that_does_not_come_to_rest_is_not_held() -> None:
    holding = Holding()
    holding.join("busy", lambda: None)
    assert holding.begin(0.05) == 0
    assert not holding.asked
    assert not holding.rests("busy")


def test_hold_of_a_process_that_was_killed_is_not_taken_for_this_ones() -> None:
    with Inserter() as one:
        before = one.holding.begin(10)
    with Inserter() as another:
        assert another.holding.begin(10) != before
        assert not another.holding.end(before)


def test_all_inserters_of_a_gateway_rest_at_once() -> None:
    holding = Holding()
    with Inserter(holding) as one, Inserter(holding) as another:
        for _ in range(20):
            number = holding.begin(10)
            before = one.inserts, another.inserts
            assert not one.busy
            assert not another.busy
            assert (one.inserts, another.inserts) == before
            assert holding.end(number)


def test_who_inserts_into_a_shard_that_is_left_out_is_not_waited_for() -> None:
    holding = Holding()
    with Inserter(holding):
        holding.join("its shard is away", lambda: None, 2)
        assert holding.begin(0.05) == 0
        number = holding.begin(10, {2})
        assert number
        assert holding.rests("its shard is away"), "should it come back meanwhile"
        assert holding.end(number)
