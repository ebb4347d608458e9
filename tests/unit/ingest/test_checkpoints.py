"""Checkpoints: how far files were read, from what is on disk and what waits in the spool."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.checkpoints import FORGET_SECONDS, Checkpoints, Progress
from ingest.errors import StateDamaged
from ingest.identity import Mark
from storage.native.block import Source


def mark(offset: int, generation: int = 0) -> Mark:
    return Mark(generation, offset, min(1024, offset), b"h" * 12, b"t" * 12)


def source(start: int, end: int, inode: int = 7, generation: int = 0) -> Source:
    return Source(1, inode, mark(end, generation).encode(), "/logs/app.log", start, end)


@dataclass
class Block:
    """What checkpoints look at in a header."""

    sequence: int
    sources: tuple[Source, ...]
    block_id: bytes = b"\1" * 16


def acknowledge(checkpoints: Any, sequence: int, *sources: Source) -> None:
    checkpoints.acknowledge([Block(sequence, sources)])


def test_offsets_and_sequence_are_there_after_a_restart(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(0, 100), source(0, 50, inode=8))
    acknowledge(checkpoints, 2, source(100, 180))
    again = Checkpoints(tmp_path / "checkpoints.json")
    assert (again.sequence, again.block_id) == (2, b"\1" * 16)
    assert again.progress(1, 7) == Progress("/logs/app.log", 0, 180, [], [mark(180)])
    assert again.progress(1, 8) == Progress("/logs/app.log", 0, 50, [], [mark(50)])
    assert again.progress(1, 9) is None


def test_ranges_in_the_spool_move_the_offset_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(0, 100))
    checkpoints.spooled([source(100, 180)])
    checkpoints.spooled([source(180, 300)])
    progress = checkpoints.progress(1, 7)
    assert progress is not None
    assert (progress.offset, progress.ahead, progress.latest) == (300, [], mark(300))


def test_block_lost_from_the_spool_leaves_a_gap_to_read_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(0, 100))
    checkpoints.spooled([source(180, 300)])
    checkpoints.spooled([source(350, 400)])
    progress = checkpoints.progress(1, 7)
    assert progress is not None
    assert (progress.offset, progress.ahead) == (100, [(180, 300), (350, 400)])


def test_new_content_under_the_same_inode_replaces_the_old(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(0, 1000))
    checkpoints.spooled([source(1000, 1100)])
    checkpoints.spooled([source(0, 30, generation=1)])
    progress = checkpoints.progress(1, 7)
    assert progress is not None
    assert (progress.generation, progress.offset, progress.ahead) == (1, 30, [])
    acknowledge(checkpoints, 2, source(1000, 1100), source(0, 30, generation=1))
    again = Checkpoints(tmp_path / "checkpoints.json").progress(1, 7)
    assert again is not None
    assert (again.generation, again.offset) == (1, 30)


def test_offset_never_goes_back_within_a_generation(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(100, 200))
    acknowledge(checkpoints, 2, source(0, 100))
    progress = checkpoints.progress(1, 7)
    assert progress is not None
    assert progress.offset == 200


def test_standard_input_has_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, Source(0, 0, "00", "-", 0, 10))
    assert Checkpoints(tmp_path / "checkpoints.json").known() == []


@pytest.mark.parametrize("content", [b"", b"{}", b"00000000\n{}\n", b"zz"])
def test_damaged_file_stops_the_agent(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoints.json"
    path.write_bytes(content)
    with pytest.raises(StateDamaged, match="cannot read checkpoints"):
        Checkpoints(path)


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.json"
    acknowledge(Checkpoints(path), 1, source(0, 100))
    path.write_bytes(path.read_bytes().replace(b'"offset":100', b'"offset":101'))
    with pytest.raises(StateDamaged, match="checksum"):
        Checkpoints(path)


def test_file_that_is_gone_is_forgotten_after_a_while(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    acknowledge(checkpoints, 1, source(0, 100))
    checkpoints.forget([(1, 7)])
    assert checkpoints.progress(1, 7) is not None
    checkpoints.forget([(1, 7)], now=1e12 + FORGET_SECONDS)
    assert checkpoints.progress(1, 7) is None


@given(st.permutations([(0, 10), (10, 25), (25, 30), (30, 64)]))
def test_ranges_join_in_any_order(ranges: list[tuple[int, int]]) -> None:
    progress = Progress("/x", 0)
    for start, end in ranges:
        progress.add(start, end, mark(end))
    assert (progress.offset, progress.ahead, progress.latest) == (64, [], mark(64))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10)), max_size=12))
def test_offset_and_ahead_are_what_is_covered(spans: list[tuple[int, int]]) -> None:
    progress = Progress("/x", 0)
    covered = set()
    for start, length in spans:
        progress.add(start, start + length, mark(start + length))
        covered |= set(range(start, start + length))
    known = set(range(progress.offset))
    for start, end in progress.ahead:
        known |= set(range(start, end))
    assert known == covered
    assert progress.offset not in covered
