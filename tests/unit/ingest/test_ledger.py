"""The ledger: what was accepted stays known, over restarts, torn tails and flipped bits."""

import errno
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import ledger as ledger_module
from ingest.ledger import RECORD_BYTES, SLACK_SECONDS, Ledger

HOUR, DAY = 3600, 86400


def name(number: int) -> bytes:
    return (number + 1).to_bytes(16, "big")


def test_ids_are_known_over_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger" / "accepted")
    ledger.append([name(1), name(2), name(1)])
    ledger.append([name(2)])
    ledger.close()
    again = Ledger(tmp_path / "ledger" / "accepted")
    assert name(1) in again
    assert name(2) in again
    assert name(3) not in again
    assert (tmp_path / "ledger" / "accepted").stat().st_size == 2 * RECORD_BYTES
    again.close()


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.integers(0, 50), min_size=1, max_size=20), torn=st.integers(1, RECORD_BYTES - 1))
def test_torn_tail_is_cut_off_and_written_over(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], torn: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "accepted"
    ledger = Ledger(path)
    ledger.append(map(name, ids))
    ledger.close()
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(os.urandom(torn))

    again = Ledger(path)
    assert path.stat().st_size == whole
    again.append([name(99)])
    again.close()

    last = Ledger(path)
    assert all(name(one) in last for one in [*ids, 99])
    assert last.damaged_records == 0
    last.close()


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 9), data=st.data())
def test_damaged_record_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "accepted"
    ledger = Ledger(path)
    ledger.append(map(name, range(count)))
    ledger.close()
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)

    again = Ledger(path)
    assert again.damaged_records == 1
    assert [number for number in range(count) if name(number) not in again] == [place // RECORD_BYTES]
    again.close()


def test_a_full_disk_leaves_no_half_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "accepted")
    ledger.append([name(1)])

    def full(handle: int, data: bytes) -> None:
        os.write(handle, data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(ledger_module, "write_all", full)
        with pytest.raises(OSError, match="space"):
            ledger.append([name(2)])
    ledger.append([name(3), name(4)])
    ledger.close()
    again = Ledger(tmp_path / "accepted")
    assert [name(one) in again for one in (1, 2, 3, 4)] == [True, False, True, True]
    assert again.damaged_records == 0
    again.close()


def test_who_knows_the_last_record_is_not_told_by_those_before(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "accepted")
    ledger.append([name(1)], now=10**6)
    ledger.append([name(2)])
    ledger.close()
    content = bytearray((tmp_path / "accepted").read_bytes())
    content[-1] ^= 1
    (tmp_path / "accepted").write_bytes(content)
    again = Ledger(tmp_path / "accepted")
    assert again.may_have_forgotten(time.time()), "the id that is damaged may be of just now"
    again.close()


def test_window_by_count_forgets_the_oldest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "accepted", window_ids=10)
    for number in range(100):
        ledger.append([name(number)])
    assert len(ledger) <= 20
    assert (tmp_path / "accepted").stat().st_size <= 20 * RECORD_BYTES
    assert all(name(number) in ledger for number in range(90, 100))
    ledger.close()
    again = Ledger(tmp_path / "accepted", window_ids=10)
    assert all(name(number) in again for number in range(90, 100))
    again.close()


def test_window_by_age_forgets_the_old(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "accepted", window_seconds=60)
    ledger.append([name(1)], now=1000)
    ledger.append([name(2)], now=1050)
    ledger.prune(now=1061)
    assert (name(1) in ledger, name(2) in ledger) == (False, True)
    ledger.close()


def test_it_is_known_until_when_ids_were_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "accepted", window_seconds=86400)
    ledger.append([name(1)], now=10**6)
    ledger.append([name(2)], now=2 * 10**6)
    assert not ledger.may_have_forgotten(10**6)
    ledger.prune(now=2 * 10**6)
    ledger.close()
    again = Ledger(tmp_path / "accepted", window_seconds=86400)
    assert again.may_have_forgotten(10**6 - 7)
    assert again.may_have_forgotten(10**6 + SLACK_SECONDS), "the clock of a sender may be ahead"
    assert not again.may_have_forgotten(2 * 10**6)
    again.prune(now=2 * 10**6 + 1)
    assert again.may_have_forgotten(10**6)
    again.close()


def test_damaged_record_may_be_of_any_id_before(tmp_path: Path) -> None:
    path = tmp_path / "accepted"
    ledger = Ledger(path)
    ledger.append([name(1)], now=10**6)
    ledger.append([name(2)], now=2 * 10**6)
    ledger.close()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    again = Ledger(path)
    assert again.may_have_forgotten(10**6)
    assert not again.may_have_forgotten(3 * 10**6)
    again.close()


def test_only_whole_ids_are_taken(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "accepted")
    with pytest.raises(ValueError, match="16 bytes"):
        ledger.append([b"short"])
    ledger.close()


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -30 * DAY, 30 * DAY])
def test_clock_that_jumps_forgets_nothing_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """Whatever the window by age makes of it: an id is known, or known to be perhaps forgotten."""
    moment = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: moment)
    ledger = Ledger(tmp_path / "accepted", window_ids=4)
    ids = [name(number) for number in range(12)]
    made = {}
    for one in ids[:6]:
        moment += 1
        made[one] = moment
        ledger.append([one])
    moment += jump
    for one in ids[6:]:
        moment += 1
        made[one] = moment
        ledger.append([one])
    ledger.prune()
    for one in ids:
        assert one in ledger or ledger.may_have_forgotten(made[one])
    moment -= jump
    ledger.prune()
    ledger.close()
    again = Ledger(tmp_path / "accepted", window_ids=4)
    for one in ids:
        assert one in again or again.may_have_forgotten(made[one])
    again.close()
