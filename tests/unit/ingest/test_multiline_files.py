"""Records of several lines from files and pipes: they wait for their last line, and for no longer than they should."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import Batch, Labels
from ingest.sources import patience
from ingest.sources.stdin import Stdin
from lexer import Multiline

AUTO = Labels(format="text", multiline=Multiline("auto"))
TRACE = ["failed", "java.lang.IllegalStateException: x", "\tat a.b(C.java:1)", "Caused by: y", "\t... 3 more"]


class Clock:
    """The time that patience goes by."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(patience, "time", made)
    return made


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def text_of(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def counts(reader: Any) -> tuple[int, int]:
    return reader.batch.rows, reader.batch.columns.counts["joined_lines"]


@pytest.mark.usefixtures("clock")
def test_record_waits_for_the_line_after_it(logs: Path, follow: Any) -> None:
    append(logs / "a.log", "one\n" + text_of(TRACE))
    reader = follow(logs / "a.log", labels=AUTO)
    assert reader.lines() == ["one"]
    append(logs / "a.log", "\tat more\n")
    assert reader.lines() == []
    append(logs / "a.log", "two\n")
    assert reader.lines() == [*TRACE, "\tat more"]
    assert counts(reader) == (2, 5)


def test_record_that_gets_no_more_lines_is_taken_after_a_while(logs: Path, follow: Any, clock: Clock) -> None:
    append(logs / "a.log", text_of(TRACE))
    reader = follow(logs / "a.log", labels=AUTO)
    assert reader.lines() == []
    clock.now += patience.QUIET_SECONDS / 2
    assert reader.lines() == []
    clock.now += patience.QUIET_SECONDS
    assert reader.lines() == TRACE
    assert counts(reader) == (1, 4)
    append(logs / "a.log", "\tat late\n")
    assert reader.lines() == []
    clock.now += 2 * patience.QUIET_SECONDS
    assert reader.lines() == ["\tat late"]
    assert counts(reader) == (2, 4)


def test_bytes_that_come_in_time_are_waited_for(logs: Path, follow: Any, clock: Clock) -> None:
    append(logs / "a.log", "failed\n")
    reader = follow(logs / "a.log", labels=AUTO)
    reader.lines()
    for number in range(3):
        clock.now += patience.QUIET_SECONDS * 0.9
        append(logs / "a.log", f"\tat {number}\n")
        assert reader.lines() == []
    clock.now += patience.QUIET_SECONDS * 1.1
    assert len(reader.lines()) == 4
    assert counts(reader) == (1, 3)


def test_record_that_never_ends_is_taken_after_the_longest_wait(
    logs: Path, follow: Any, clock: Clock
) -> None:
    append(logs / "a.log", "failed\n")
    reader = follow(logs / "a.log", labels=AUTO)
    found, waited = reader.lines(), 0.0
    while not found:
        clock.now, waited = clock.now + 0.5, waited + 0.5
        append(logs / "a.log", "\tat x\n")
        found = reader.lines()
    assert patience.LONGEST_SECONDS < waited < patience.LONGEST_SECONDS + 1


def test_unfinished_line_keeps_waiting_when_its_record_is_taken(
    logs: Path, follow: Any, clock: Clock
) -> None:
    append(logs / "a.log", "failed\n\tat x\n\tat unfin")
    reader = follow(logs / "a.log", labels=AUTO)
    reader.lines()
    clock.now += 2 * patience.QUIET_SECONDS
    assert reader.lines() == ["failed", "\tat x"]
    clock.now += 10 * patience.LONGEST_SECONDS
    assert reader.lines() == []
    append(logs / "a.log", "ished\nnext\n")
    assert reader.lines() == ["\tat unfinished"]


def test_once_takes_the_last_record_whole(logs: Path, follow: Any) -> None:
    append(logs / "a.log", text_of(TRACE).removesuffix("\n"))
    reader = follow(logs / "a.log", labels=AUTO, once=True)
    assert reader.lines() == TRACE
    assert counts(reader) == (1, 4)
    assert reader.files.finished


@pytest.mark.usefixtures("clock")
def test_trace_that_is_written_in_two_goes_is_one_record_wherever_it_is_cut(logs: Path, follow: Any) -> None:
    whole = text_of(TRACE)
    reader = follow(logs / "a.log", labels=AUTO)
    found = []
    for cut in range(1, len(whole)):
        append(logs / "a.log", whole[:cut])
        found += reader.lines()
        append(logs / "a.log", whole[cut:])
        found += reader.lines()
    append(logs / "a.log", "end\n")
    found += reader.lines()
    assert found == TRACE * (len(whole) - 1)
    assert counts(reader) == (len(whole) - 1, (len(whole) - 1) * (len(TRACE) - 1))


@pytest.mark.usefixtures("clock")
def test_restart_in_the_middle_of_a_record_keeps_it_whole(logs: Path, follow: Any) -> None:
    append(logs / "a.log", "one\n" + text_of(TRACE[:3]))
    reader = follow(logs / "a.log", labels=AUTO)
    assert reader.lines() == ["one"]
    reader.ship()
    reader.restart()
    append(logs / "a.log", text_of(TRACE[3:]) + "two\n")
    assert reader.lines() == TRACE
    assert counts(reader) == (1, 4)


def test_restart_after_a_record_was_taken_too_early_doubles_nothing(
    logs: Path, follow: Any, clock: Clock
) -> None:
    append(logs / "a.log", text_of(TRACE[:3]))
    reader = follow(logs / "a.log", labels=AUTO)
    reader.lines()
    clock.now += 2 * patience.QUIET_SECONDS
    assert reader.lines() == TRACE[:3]
    reader.ship()
    append(logs / "a.log", text_of(TRACE[3:]) + "two\n")
    reader.restart()
    assert reader.lines() == TRACE[3:]


@pytest.mark.parametrize("copy", [True, False])
def test_record_that_waits_survives_truncation(logs: Path, follow: Any, clock: Clock, copy: bool) -> None:
    path = logs / "a.log"
    append(path, "one\n" + text_of(TRACE))
    reader = follow(path, labels=AUTO)
    assert reader.lines() == ["one"]
    append(path, "two\n" if copy else "")
    if copy:
        (logs / "a.log.1").write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, "three\n" * 100)
    clock.now += 2 * patience.QUIET_SECONDS
    found = reader.lines()
    clock.now += 2 * patience.QUIET_SECONDS
    found += reader.lines()
    assert sorted(found) == sorted([*TRACE, *["two"] * copy, *["three"] * 100])


def test_renamed_file_gives_its_last_record(logs: Path, follow: Any, clock: Clock) -> None:
    append(logs / "a.log", text_of(TRACE))
    reader = follow(logs / "a.log", labels=AUTO)
    reader.lines()
    (logs / "a.log").rename(logs / "a.log.1")
    append(logs / "a.log", "\tat looks like more of it\nnext\n")
    assert reader.lines() == ["\tat looks like more of it"], "another file is another record"
    clock.now += 2 * patience.QUIET_SECONDS
    assert sorted(reader.lines()) == sorted([*TRACE, "next"])


def test_records_of_many_chunks_and_the_longest_ones(logs: Path, follow: Any, clock: Clock) -> None:
    frame = "\tat " + "x" * 90_000
    append(logs / "a.log", "".join(text_of([f"record {number}", *[frame] * 9]) for number in range(20)))
    reader = follow(logs / "a.log", labels=AUTO)
    found = reader.lines()
    clock.now += 2 * patience.QUIET_SECONDS
    found += reader.lines()
    assert len(found) == 200
    assert counts(reader) == (20, 180)


def test_range_lost_from_the_spool_ends_where_its_last_record_did(
    logs: Path, follow: Any, clock: Clock
) -> None:
    path = logs / "a.log"
    append(path, text_of(TRACE))
    reader = follow(path, labels=AUTO)
    reader.lines()
    clock.now += 2 * patience.QUIET_SECONDS
    lost = len(reader.lines())
    reader.batch.reset()
    append(path, "\tat late\nnext\nlast\n")
    assert reader.lines() == ["\tat late", "next"]
    kept = reader.batch.sources
    reader.restart()
    reader.checkpoints.spooled(kept)
    reader.files.close()
    reader.files = type(reader.files)(reader.patterns, reader.checkpoints, AUTO, reader.counters)
    found = reader.lines()
    assert found == TRACE
    assert lost == len(TRACE)


@pytest.fixture
def pipe() -> Iterator[tuple[Stdin, int]]:
    reading, writing = os.pipe()
    yield Stdin(AUTO, reading), writing
    os.close(reading)


def test_pipe_gives_whole_records(pipe: tuple[Stdin, int], clock: Clock) -> None:
    source, writing = pipe
    batch = Batch()
    whole = text_of(TRACE).encode()
    os.write(writing, whole[:30])
    assert source.read(batch) == 0
    os.write(writing, whole[30:])
    assert source.read(batch) == 0
    clock.now += 2 * patience.QUIET_SECONDS
    assert source.read(batch) == len(whole)
    os.write(writing, whole)
    os.close(writing)
    assert source.read(batch) == len(whole)
    assert source.finished
    assert (batch.rows, batch.columns.counts["joined_lines"]) == (2, 8)
