"""The committer: many requests, one round of fsyncs; nothing twice, nothing half."""

import asyncio
import contextlib
import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ingest import spool as spool_module
from ingest.batch import Labels
from ingest.committer import REQUEST_AGENT, Committer, Submission, committed
from ingest.counters import Counters
from ingest.errors import CommitFailed, SpoolFull
from ingest.ledger import Ledger
from ingest.receivers.intake import LEXERS, Intake, Lexers
from ingest.spool import Spool
from lexer import Columns
from storage.native.block import Source, parse_header

KEY = b"k" * 16


class Gateway:
    """Spool, ledger and committer on a folder, as a process has them."""

    def __init__(self, folder: Path, quota: int = 1 << 30) -> None:
        self.spool = Spool(folder / "spool", quota)
        self.ledger = Ledger(folder / "accepted")
        self.committer = Committer(self.spool, self.ledger, Counters())
        self.committer.recover()

    def run(self, *submissions: Submission) -> list["Future[bool]"]:
        """Submit all, then let one round take them."""
        answers = [self.committer.submit(one) for one in submissions]
        self.committer.start()
        self.committer.stop()
        return answers

    def retire(self, *sequences: int) -> None:
        entries = [entry for entry in self.spool.pending() if entry.sequence in sequences]
        self.committer.retire([parse_header(self.spool.read(entry))[0] for entry in entries])
        self.spool.remove(entries)


def submission(*blocks: tuple[int, bytes, bytes], request: bytes | None = None) -> Submission:
    return Submission(tuple((block_id, data) for _, block_id, data in blocks), request)


def part(sealed: Any, place: int, of: int) -> tuple[int, bytes, bytes]:
    end = of if place + 1 == of else 0
    source = Source(0, 0, KEY.hex(), "request", place, end)
    made: tuple[int, bytes, bytes] = sealed(place, b"part %d\n" % place, [source], REQUEST_AGENT + KEY.hex())
    return made


def test_many_submissions_are_one_commit(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(tmp_path)
    rounds = []
    monkeypatch.setattr(spool_module, "fsync_folder", lambda folder: rounds.append(folder))
    answers = gateway.run(*(submission(sealed(number, b"line %d\n" % number)) for number in range(20)))
    assert [answer.result(0) for answer in answers] == [True] * 20
    assert len(gateway.spool) == 20
    assert len(rounds) == 1


def test_double_in_one_round_is_kept_once(tmp_path: Path, sealed: Any) -> None:
    block = sealed(1)
    gateway = Gateway(tmp_path)
    first, second = gateway.run(submission(block), submission(block))
    assert (first.result(0), second.result(0)) == (True, False)
    assert len(gateway.spool) == 1


def test_double_is_known_from_spool_and_ledger_over_restarts(tmp_path: Path, sealed: Any) -> None:
    block = sealed(1)
    Gateway(tmp_path).run(submission(block))
    again = Gateway(tmp_path)
    assert again.run(submission(block))[0].result(0) is False
    again.retire(1)
    last = Gateway(tmp_path)
    assert last.run(submission(block))[0].result(0) is False
    assert len(last.spool) == 0


def test_block_in_the_ledger_has_left_the_spool(tmp_path: Path, sealed: Any) -> None:
    gateway = Gateway(tmp_path)
    gateway.run(submission(sealed(1)))
    [entry] = gateway.spool.pending()
    gateway.committer.retire([parse_header(gateway.spool.read(entry))[0]])  # and killed before the unlink
    assert len(Gateway(tmp_path).spool) == 0


def test_block_that_was_to_be_set_aside_is_still_in_the_spool_after_a_kill(
    tmp_path: Path, sealed: Any
) -> None:
    gateway = Gateway(tmp_path)
    gateway.run(submission(sealed(1)))
    [entry] = gateway.spool.pending()
    gateway.committer.set_aside([parse_header(gateway.spool.read(entry))[0]])  # and killed before it moved
    again = Gateway(tmp_path)
    assert [one.block_id for one in again.spool.pending()] == [entry.block_id]
    assert again.committer.accepted_before(entry.block_id)


def test_full_spool_refuses_what_does_not_fit_and_keeps_the_rest(tmp_path: Path, sealed: Any) -> None:
    small, large = sealed(1), sealed(2, b"".join(os.urandom(100).hex().encode() + b"\n" for _ in range(500)))
    gateway = Gateway(tmp_path, quota=3 * len(small[2]))
    answers = gateway.run(submission(small), submission(large), submission(sealed(3)))
    assert [answers[0].result(0), answers[2].result(0)] == [True, True]
    with pytest.raises(SpoolFull):
        answers[1].result(0)


def test_request_is_known_by_its_key(tmp_path: Path, sealed: Any) -> None:
    gateway = Gateway(tmp_path)
    first = submission(part(sealed, 0, 2), part(sealed, 1, 2), request=KEY)
    assert gateway.run(first)[0].result(0) is True
    again = Gateway(tmp_path)
    assert again.run(submission(part(sealed, 0, 1), request=KEY))[0].result(0) is False
    again.retire(1)
    last = Gateway(tmp_path)
    assert len(last.spool) == 1, "the other part of a request that was answered stays"
    assert last.run(submission(part(sealed, 0, 1), request=KEY))[0].result(0) is False


@pytest.mark.parametrize("missing", [1, 2])
def test_half_a_request_is_dropped_and_taken_again(tmp_path: Path, sealed: Any, missing: int) -> None:
    gateway = Gateway(tmp_path)
    parts = [part(sealed, 0, 2), part(sealed, 1, 2)]
    gateway.run(submission(*parts, request=KEY))
    lost = gateway.spool.pending()[missing - 1]
    (gateway.spool.folder / lost.name).unlink()  # killed between two renames
    again = Gateway(tmp_path)
    assert len(again.spool) == 0
    assert again.run(submission(*parts, request=KEY))[0].result(0) is True
    assert len(again.spool) == 2


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n", b"last\n", b"  \n\n"])
def test_a_request_of_full_blocks_is_kept_over_a_restart(tmp_path: Path, end: bytes) -> None:
    intake = Intake(Columns(max_rows=4), "default", KEY)
    intake.lines(b"a line\n" * 8 + end, Labels())
    taken = intake.finish()
    gateway = Gateway(tmp_path)
    assert gateway.run(Submission(tuple(taken.blocks), taken.key))[0].result(0) is True
    again = Gateway(tmp_path)
    assert len(again.spool) == len(taken.blocks)
    assert again.run(Submission(tuple(taken.blocks), taken.key))[0].result(0) is False


def test_half_a_request_of_full_blocks_is_dropped(tmp_path: Path) -> None:
    intake = Intake(Columns(max_rows=4), "default", KEY)
    intake.lines(b"a line\n" * 8 + b"\n\n", Labels())
    taken = intake.finish()
    gateway = Gateway(tmp_path)
    gateway.run(Submission(tuple(taken.blocks), taken.key))
    (gateway.spool.folder / gateway.spool.pending()[1].name).unlink()  # killed between two renames
    assert len(Gateway(tmp_path).spool) == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_leaves_before_the_answer_stops_nobody(tmp_path: Path, sealed: Any, when: str) -> None:
    gateway = Gateway(tmp_path)
    left, stays = submission(sealed(1)), submission(sealed(2))

    async def leave() -> None:
        waiting = asyncio.create_task(committed(gateway.committer, left))
        await asyncio.sleep(0)
        if when == "after":
            gateway.committer.start()
            await asyncio.wrap_future(gateway.committer.submit(submission(sealed(3))))
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    answer = gateway.committer.submit(stays)
    if when == "before":
        gateway.committer.start()
    gateway.committer.stop()
    assert answer.result(0) is True
    assert (left.blocks[0][0] in gateway.spool) == (when == "after")


def test_a_lexer_that_cannot_be_made_keeps_no_place() -> None:
    broken: Any = object()
    lexers = Lexers(broken)  # as where memory runs out
    for _ in range(3 * LEXERS):
        with pytest.raises(TypeError), lexers.borrow():
            pass


def test_too_much_waiting_is_refused_at_once(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest import committer as committer_module

    block = sealed(1)
    monkeypatch.setattr(committer_module, "MAX_WAITING_BYTES", len(block[2]))
    gateway = Gateway(tmp_path)
    gateway.committer.submit(submission(block))
    with pytest.raises(SpoolFull) as caught:
        gateway.committer.submit(submission(sealed(2)))
    assert caught.value.reason == "busy"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_keeps_nobody_waiting(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_said: Any, **_named: Any) -> None:
        raise RuntimeError("not foreseen")

    ended: list[bool] = []
    gateway = Gateway(tmp_path)
    gateway.committer.on_failure = lambda: ended.append(True)
    monkeypatch.setattr(gateway.spool, "put", broken)
    answers = gateway.run(submission(sealed(1)), submission(sealed(2)), submission(sealed(2)))
    for answer in answers:
        with pytest.raises(CommitFailed, match="RuntimeError: not foreseen"):
            answer.result(0)
    assert ended == [True]
    with pytest.raises(CommitFailed):
        gateway.committer.submit(submission(sealed(3)))
    assert Gateway(tmp_path).run(submission(sealed(1)))[0].result(0) is True  # as the next process sees it
