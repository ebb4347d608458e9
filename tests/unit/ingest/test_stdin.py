"""Standard input, over a real pipe."""

import os
import threading
from collections.abc import Iterator

import pytest

from ingest.batch import Batch, Labels
from ingest.sources.stdin import Stdin


@pytest.fixture
def pipe() -> Iterator[tuple[Stdin, int]]:
    reading, writing = os.pipe()
    yield Stdin(Labels(), reading), writing
    os.close(reading)


def test_whole_lines_come_and_the_partial_one_waits(pipe: tuple[Stdin, int]) -> None:
    source, writing = pipe
    batch = Batch()
    os.write(writing, b"one\ntwo\nthr")
    assert source.read(batch) == 8
    assert (batch.rows, source.finished) == (2, False)
    assert source.read(batch) == 0
    os.write(writing, b"ee")
    os.close(writing)
    assert source.read(batch) == 5
    assert (batch.rows, source.finished) == (3, True)
    [range_] = batch.sources
    assert (range_.inode, range_.path, range_.start, range_.end) == (0, "-", 0, 13)


def test_nothing_at_all_is_an_end(pipe: tuple[Stdin, int]) -> None:
    source, writing = pipe
    os.close(writing)
    assert source.read(Batch()) == 0
    assert source.finished


def test_long_lines_pass_through(pipe: tuple[Stdin, int]) -> None:
    source, writing = pipe
    content = b"x" * (3 << 20) + b"\nend\n"

    def write() -> None:
        rest = content
        while rest:
            rest = rest[os.write(writing, rest) :]
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    batch, moved = Batch(), 0
    while not source.finished:
        moved += source.read(batch)
        source.sleep(1.0)
    thread.join()
    assert moved == len(content)
    assert batch.columns.raw_bytes >= 3 << 20


def test_two_runs_are_two_sources(pipe: tuple[Stdin, int]) -> None:
    source, writing = pipe
    os.close(writing)
    assert source.source(0, 1).head != Stdin(Labels()).source(0, 1).head
