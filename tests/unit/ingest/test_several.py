"""An agent's spool before several gateways: what may have been sent to one goes to no other."""

import random
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.server import free_port
from ingest import backoff, several
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.destination import Answer, Gateway, Verdict
from ingest.errors import StateDamaged, UsageError
from ingest.several import Several
from ingest.spool import Spool, SpoolEntry
from ingest.targets import FILE, Targets
from storage.native.block import Header, SealedBlock
from tests.scripted import LOST, serving

PAUSE_SECONDS = 0.01


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(backoff, "LONGEST_SECONDS", 0.1)


class Setting:
    """An agent's folder, and what ships from it."""

    def __init__(self, folder: Path, gateways: Sequence[Any]) -> None:
        self.folder = folder
        self.checkpoints = Checkpoints(folder / "checkpoints.json")
        self.spool = Spool(folder / "spool")
        self.spool.recover(self.recovered)
        self.counters = Counters()
        targets = Targets(folder / FILE, [one.url for one in gateways], self.spool)
        self.shipper = Several(
            self.spool,
            gateways,
            targets,
            DeadLetters(folder / "dead"),
            self.checkpoints.acknowledge,
            self.counters,
        )

    def recovered(self, entry: SpoolEntry, header: Header) -> None:
        if self.checkpoints.has_arrived(header.sequence):
            self.spool.remove([entry])

    def wait(self, holds: Callable[[], bool]) -> None:
        for _ in range(12_000):
            if holds() or self.shipper.failure is not None:
                break
            self.spool.wait_room(PAUSE_SECONDS)
        assert self.shipper.failure is None
        assert holds()

    def run_until_empty(self) -> None:
        self.shipper.start()
        self.wait(lambda: not len(self.spool))
        self.shipper.stop()


def blocks_of(sealed: Any, numbers: Sequence[int]) -> list[tuple[int, bytes, bytes]]:
    return [sealed(number, b"line %d\n" % number) for number in numbers]


def setting_of(folder: Path, *urls: str) -> Setting:
    return Setting(folder, [Gateway(url) for url in urls])


def nobody() -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def test_the_first_gets_everything_in_order(tmp_path: Path, sealed: Any) -> None:
    blocks = blocks_of(sealed, range(1, 6))
    with serving() as first, serving() as second:
        setting = setting_of(tmp_path, first.url, second.url)
        setting.spool.put(blocks)
        setting.run_until_empty()
    assert first.received == [data for _, _, data in blocks]
    assert second.received == []
    assert setting.counters.get("gateways_switched") == 0
    assert setting.checkpoints.sequence == 5


@pytest.mark.parametrize("status", [429, 404])
def test_what_was_not_taken_goes_to_the_next(tmp_path: Path, sealed: Any, status: int) -> None:
    blocks = blocks_of(sealed, range(1, 4))
    with serving(*[(status, {})] * 100) as first, serving() as second:
        setting = setting_of(tmp_path, first.url, second.url)
        setting.shipper.start()
        setting.spool.put(blocks)
        setting.wait(lambda: not len(setting.spool))
        setting.shipper.stop()
    assert second.received == [data for _, _, data in blocks]
    assert setting.shipper.blocked == ""
    assert setting.counters.troubles() == {}


def test_one_that_is_not_there_holds_up_nothing(tmp_path: Path, sealed: Any) -> None:
    blocks = blocks_of(sealed, range(1, 4))
    with serving() as second:
        setting = setting_of(tmp_path, nobody(), second.url)
        setting.shipper.start()
        setting.spool.put(blocks)
        setting.wait(lambda: not len(setting.spool))
        setting.shipper.stop()
    assert second.received == [data for _, _, data in blocks]


def test_a_block_that_may_be_there_waits_for_its_gateway_and_the_rest_goes_on(
    tmp_path: Path, sealed: Any
) -> None:
    blocks = blocks_of(sealed, range(1, 6))
    held = blocks[0][2]
    with serving((LOST, {})) as first:
        port = first.server_address[1]
        with serving() as second:
            setting = setting_of(tmp_path, first.url, second.url)
            first.script += [(LOST, {})] * 10_000
            setting.shipper.start()
            setting.spool.put(blocks)
            setting.wait(lambda: len(setting.spool) == 1)
            setting.shipper.stop()
            assert second.received == [data for _, _, data in blocks[1:]]
            assert setting.checkpoints.waiting == {1}
            assert not setting.checkpoints.has_arrived(1)
    # Another start, with the first gateway gone: it is not sent to another one.
    with serving() as second:
        again = setting_of(tmp_path, f"http://127.0.0.1:{port}", second.url)
        again.shipper.start()
        again.spool.put(blocks_of(sealed, [6]))
        again.wait(lambda: len(again.spool) == 1)
        again.shipper.stop()
        assert len(second.received) == 1
        assert held not in second.received
    with serving(port=port) as first, serving() as second:
        last = setting_of(tmp_path, first.url, second.url)
        last.run_until_empty()
        assert first.received == [held]
        assert second.received == []
    assert last.checkpoints.has_arrived(1)
    assert not last.checkpoints.waiting


def test_a_gateway_that_is_well_again_gets_what_comes_then(tmp_path: Path, sealed: Any) -> None:
    blocks = blocks_of(sealed, range(1, 4))
    with serving((429, {})) as first, serving() as second:
        setting = setting_of(tmp_path, first.url, second.url)
        setting.shipper.start()
        setting.spool.put(blocks[:1])
        setting.wait(lambda: not len(setting.spool))
        setting.wait(lambda: not setting.counters.troubles())
        setting.spool.put(blocks[1:])
        setting.wait(lambda: not len(setting.spool))
        setting.shipper.stop()
    assert second.received == [blocks[0][2]]
    assert first.received[1:] == [data for _, _, data in blocks[1:]]


def test_a_gateway_that_has_a_block_cannot_be_left_out(tmp_path: Path, sealed: Any) -> None:
    with serving(*[(LOST, {})] * 10_000) as first, serving() as second:
        setting = setting_of(tmp_path, first.url, second.url)
        setting.shipper.start()
        setting.spool.put(blocks_of(sealed, [1, 2]))
        setting.wait(lambda: len(setting.spool) == 1)
        setting.shipper.stop()
        with pytest.raises(UsageError, match=f"cannot do without {first.url}"):
            setting_of(tmp_path, second.url)
        (tmp_path / FILE).write_text("{")
        with pytest.raises(StateDamaged, match="cannot read targets"):
            setting_of(tmp_path, second.url)


# --- a model of it -----------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


class Kept:
    """A gateway that takes each block once, and answers, or not, by chance; it crashes whoever sends now and then."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.url = url
        self.chance = chance
        self.stored: list[bytes] = []
        self.calm = False
        self.crashed = threading.Event()

    def send(self, data: bytes | bytearray) -> Answer:
        kind = 0.99 if self.calm else self.chance.random()
        if self.crashed.is_set() or kind < 0.04:
            self._crash(data)
        if kind < 0.2:
            return Answer(Verdict.LATER, "refused", sent=False)
        if kind < 0.3:
            return Answer(Verdict.LATER, "busy", sent=self.chance.random() < 0.5)
        block_id = SealedBlock.parse(data).header.block_id
        if block_id not in self.stored:
            self.stored.append(block_id)
        return Answer(Verdict.LATER, "lost") if kind < 0.5 else Answer(Verdict.TAKEN)

    def _crash(self, data: bytes | bytearray) -> None:
        block_id = SealedBlock.parse(data).header.block_id
        if self.chance.random() < 0.5 and block_id not in self.stored:
            self.stored.append(block_id)
        self.crashed.set()
        raise Crash

    def answers(self) -> bool:
        return self.calm or self.chance.random() < 0.5

    def close(self) -> None:
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_every_block_once_whatever_answers_and_crashes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, sealed: Any, seed: int
) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.0005)
    monkeypatch.setattr(backoff, "LONGEST_SECONDS", 0.001)
    monkeypatch.setattr(several, "LOOK_SECONDS", 0.001)
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("model")
    gateways = [Kept(f"http://g{number}", chance) for number in range(3)]
    blocks = blocks_of(sealed, range(1, 25))
    for start in count():
        shown = chance.sample(gateways, 3)
        for one in shown:
            one.crashed.clear()
            one.calm = start > 8
        setting = Setting(folder, shown)
        left = [
            one for one in blocks if one[0] > max(setting.spool.last_sequence, setting.checkpoints.sequence)
        ]
        setting.shipper.start()
        try:
            for one in left:
                setting.spool.put([one])
            while len(setting.spool) and setting.shipper.failure is None:
                setting.spool.wait_room(PAUSE_SECONDS)
        finally:
            for kept in gateways:
                if setting.shipper.failure is not None:
                    kept.crashed.set()
            setting.shipper.stop()
        if setting.shipper.failure is None:
            break
    stored = sorted(block_id for one in gateways for block_id in one.stored)
    assert stored == sorted(block_id for _, block_id, _ in blocks)
    assert setting.checkpoints.sequence == 24
