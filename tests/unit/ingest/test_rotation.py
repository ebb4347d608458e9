"""Rotation, in all its ways: what was not yet read is read where it went, and nothing is read again."""

import bz2
import gzip
import lzma
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ingest.sources import files as files_module
from ingest.sources import lineage, rotation

PACK = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstandard.compress}
packed_as = pytest.mark.parametrize("suffix", PACK)


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


def numbered(first: int, last: int) -> list[str]:
    """Lines of about 40 bytes, so that a few dozen go beyond what identities look at."""
    return [f"2024-01-31T10:00:00Z line number {number:06d}" for number in range(first, last + 1)]


def test_renamed_file_is_read_to_its_end(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    assert reader.lines() == numbered(1, 50)
    write(path, *numbered(51, 60))
    path.rename(logs / "a.log.1")
    write(path, *numbered(61, 70))
    write(logs / "a.log.1", "a late line of a writer that still had it open")
    assert sorted(reader.lines()) == [*numbered(51, 70), "a late line of a writer that still had it open"]


def test_renamed_file_is_not_read_again_by_a_wide_glob(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / "a.log*")
    assert reader.lines() == numbered(1, 50)
    path.rename(logs / "a.log.1")
    write(path, *numbered(51, 60))
    assert reader.lines() == numbered(51, 60)


def test_file_renamed_while_down_is_found_again(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    path.rename(logs / "a.log.1")
    write(path, *numbered(61, 70))
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 70)


def test_file_renamed_twice_while_down_is_found_again(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    path.rename(logs / "a.log.2")
    write(logs / "a.log.1", "came and went while nobody looked")
    write(path, *numbered(61, 70))
    reader.restart()
    assert sorted(reader.lines()) == sorted([*numbered(51, 70), "came and went while nobody looked"])


@packed_as
def test_file_compressed_while_down_is_read_on(logs: Path, follow: Any, suffix: str) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    (logs / f"a.log.1.{suffix}").write_bytes(PACK[suffix](path.read_bytes()))
    kept = path.open()  # so that its inode is not used again
    path.unlink()
    write(path, *numbered(61, 70))
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 70)
    reader.ship()
    reader.restart()
    assert reader.lines() == []
    kept.close()


def test_file_compressed_while_read_is_not_read_again(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "DELETED_SECONDS", -1.0)
    path = logs / "a.log.1"
    write(path, *numbered(1, 50))
    reader = follow(logs / "a.log*")
    assert reader.lines() == numbered(1, 50)
    with gzip.open(logs / "a.log.1.gz", "wb") as packed:
        packed.write(path.read_bytes())
    path.unlink()
    assert reader.lines() == []
    assert reader.lines() == []
    assert reader.files.open_files == 1


@packed_as
def test_compressed_file_is_read(logs: Path, follow: Any, suffix: str) -> None:
    (logs / f"a.log.3.{suffix}").write_bytes(PACK[suffix](b"one\n") + PACK[suffix](b"two\n"))
    reader = follow(logs / f"*.{suffix}")
    assert reader.lines() == ["one", "two"]
    reader.ship()
    reader.restart()
    assert reader.lines() == []


@packed_as
def test_compressed_file_is_read_when_it_is_whole(logs: Path, follow: Any, suffix: str) -> None:
    whole, path = (
        PACK[suffix](b"".join(b"line %d\n" % number for number in range(1000))),
        logs / f"a.{suffix}",
    )
    path.write_bytes(whole[:50])
    reader = follow(path)
    assert reader.lines() == []
    path.write_bytes(whole)
    assert len(reader.lines()) == 1000


@packed_as
def test_compressed_file_that_is_cut_short_is_told(logs: Path, follow: Any, suffix: str) -> None:
    for name, data in (("cut", PACK[suffix](b"one\ntwo\n")[:-4]), ("none", b"of no such kind\n")):
        path = logs / f"{name}.{suffix}"
        path.write_bytes(data)
        reader = follow(path, once=True)
        assert reader.lines() == []
        assert "not whole" in reader.counters.troubles()[str(path)]


@pytest.mark.parametrize(
    "again", [numbered(61, 70), numbered(1, 10)], ids=["other lines", "the same first lines"]
)
def test_copytruncate_loses_and_doubles_nothing(logs: Path, follow: Any, again: list[str]) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    assert reader.lines() == numbered(1, 50)
    write(path, *numbered(51, 60))
    shutil.copy(path, logs / "a.log.1")
    os.truncate(path, 0)
    write(path, *again)
    assert sorted(reader.lines()) == sorted([*numbered(51, 60), *again])
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def copy_and_truncate(path: Path, number: int) -> None:
    shutil.copy(path, path.with_name(f"{path.name}.{number}"))
    os.truncate(path, 0)


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_copytruncate_twice_between_two_looks_at_the_folder(
    logs: Path, follow: Any, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second copy is seen before it is noticed that its original holds nothing of it any more."""
    monkeypatch.setattr(files_module, "SCAN_SECONDS", 3600)
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / pattern)
    assert reader.lines() == numbered(1, 50)
    copy_and_truncate(path, 1)
    write(path, *numbered(101, 130))
    assert reader.lines(scan=False) == numbered(101, 130)
    write(path, *numbered(131, 133))
    copy_and_truncate(path, 2)
    assert reader.lines() == numbered(131, 133)
    assert reader.lines() == []


@pytest.mark.parametrize("arrived", range(4))
@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_copytruncate_again_and_again_while_the_gateway_is_away(
    logs: Path, follow: Any, pattern: str, arrived: int
) -> None:
    """What each copy was read up to is in the spool alone, under the identity of the live file."""
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / pattern)
    assert reader.lines() == numbered(1, 50)
    reader.ship()
    for part in range(3):
        first = 100 * (part + 1)
        write(path, *numbered(first, first + 9))
        assert reader.lines() == numbered(first, first + 9)
        reader.spool()
        write(path, *numbered(first + 10, first + 12))
        copy_and_truncate(path, part + 1)
        write(path, *numbered(first + 50, first + 59))
        assert sorted(reader.lines()) == [
            *numbered(first + 10, first + 12),
            *numbered(first + 50, first + 59),
        ]
        reader.spool()
    reader.arrive(arrived)
    reader.restart()
    assert reader.lines() == []
    reader.arrive(len(reader.waiting))
    reader.restart()
    assert reader.lines() == []


def in_order_of_inodes(*paths: Path) -> None:
    """Make the files, empty; which inode a new file gets is the file system's to say."""
    made = [path.with_name(f"{path.name}.new") for path in paths]
    for one in made:
        one.touch()
    for path, one in zip(paths, sorted(made, key=lambda one: one.stat().st_ino), strict=True):
        one.rename(path)


@pytest.mark.parametrize("copy_first", [False, True])
@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_copytruncate_over_the_copy_before(
    logs: Path, follow: Any, pattern: str, spooled: bool, down: bool, copy_first: bool
) -> None:
    """The copy has the identity of one that was read; its content is another's. Whichever is looked at first."""
    path = logs / "a.log"
    files = [path, logs / "a.log.1"]
    in_order_of_inodes(*(reversed(files) if copy_first else files))
    reader = follow(logs / pattern)
    found: list[str] = []
    for part in range(4):
        first = 100 * (part + 1)
        lines = numbered(first, first + 40 - 9 * part)  # ever shorter, and longer than what follows
        write(path, *lines[:-3])
        found += reader.lines()
        reader.spool() if spooled else reader.ship()
        write(path, *lines[-3:])
        copy_and_truncate(path, 1)
        if down:
            reader.restart()
        found += reader.lines()
        reader.spool() if spooled else reader.ship()
    expected = [
        line for part in range(4) for line in numbered(100 * (part + 1), 100 * (part + 1) + 40 - 9 * part)
    ]
    assert sorted(found) == expected
    reader.restart()
    assert reader.lines() == []


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_copy_of_lines_that_were_read_and_never_spooled(logs: Path, follow: Any, pattern: str) -> None:
    """A copy is known by what is durable of its original, not by how far it had been read when the agent died."""
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / pattern)
    reader.lines()
    reader.spool()
    write(path, *numbered(51, 60))
    assert reader.lines() == numbered(51, 60)
    copy_and_truncate(path, 1)
    write(path, *numbered(101, 110))
    assert reader.lines() == numbered(101, 110)
    reader.arrive(1)
    reader.restart()
    assert sorted(reader.lines()) == [*numbered(51, 60), *numbered(101, 110)]
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def test_copytruncate_under_a_wide_glob(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / "a.log*")
    assert reader.lines() == numbered(1, 50)
    shutil.copy(path, logs / "a.log.1")
    assert reader.lines() == [], "a copy in the making is left alone"
    write(path, *numbered(51, 55))
    shutil.copy(path, logs / "a.log.1")
    write(logs / "a.log.1", *numbered(56, 56))
    os.truncate(path, 0)
    write(path, *numbered(61, 70))
    assert sorted(reader.lines()) == [*numbered(51, 56), *numbered(61, 70)]


def test_copytruncate_while_down(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    shutil.copy(path, logs / "a.log.1")
    os.truncate(path, 0)
    write(path, *numbered(101, 300))
    reader.restart()
    assert sorted(reader.lines()) == [*numbered(51, 60), *numbered(101, 300)]


def test_plain_copy_beside_a_live_file_is_read_after_a_while(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "COPY_SECONDS", -1.0)
    write(logs / "a.log", "one")
    reader = follow(logs / "a.log*")
    assert reader.lines() == ["one"]
    shutil.copy(logs / "a.log", logs / "a.log.bak")
    assert reader.lines() == ["one"]


def test_truncated_and_grown_beyond_the_offset_while_down(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 10))
    reader = follow(path)
    reader.lines()
    reader.ship()
    os.truncate(path, 0)
    write(path, *numbered(101, 200))
    reader.restart()
    assert reader.lines() == numbered(101, 200)


def test_same_beginning_and_other_end_is_another_file(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50), "old end")
    reader = follow(path)
    reader.lines()
    reader.ship()
    os.truncate(path, 0)
    write(path, *numbered(1, 50), "new end", *numbered(51, 60))
    reader.restart()
    assert reader.lines() == [*numbered(1, 50), "new end", *numbered(51, 60)]


def test_file_deleted_while_open_is_read_to_its_end(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = logs / "a.log"
    write(path, "one")
    reader = follow(path)
    reader.lines()
    with path.open("a") as writer:
        writer.write("two\nthr")
        writer.flush()
        path.unlink()
        assert reader.lines() == ["two"]
        writer.write("ee")
    monkeypatch.setattr(files_module, "DELETED_SECONDS", -1.0)
    assert reader.lines() == ["three"]
    reader.lines()
    assert reader.files.open_files == 0


def test_file_replaced_while_down_is_read_from_its_start(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    path.unlink()
    write(path, *numbered(101, 200))  # most file systems give it the same inode
    reader.restart()
    assert reader.lines() == numbered(101, 200)


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_copytruncate_whose_new_content_outgrows_the_old(logs: Path, follow: Any, pattern: str) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(logs / pattern)
    assert reader.lines() == numbered(1, 50)
    write(path, *numbered(51, 60))
    shutil.copy(path, logs / "a.log.1")
    os.truncate(path, 0)
    write(path, *numbered(101, 400))
    assert sorted(reader.lines()) == [*numbered(51, 60), *numbered(101, 400)]
    reader.ship()
    reader.restart()
    assert reader.lines() == []


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_file_is_compressed_while_the_agent_starts(logs: Path, follow: Any, pattern: str) -> None:
    """The original is there until the copy is whole."""
    path, packed = logs / "a.log", logs / "a.log.1.gz"
    write(path, *numbered(1, 50))
    reader = follow(logs / pattern)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    path.rename(logs / "a.log.1")
    write(path, *numbered(61, 70))
    whole = gzip.compress((logs / "a.log.1").read_bytes())
    packed.write_bytes(whole[: len(whole) // 2])
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 70)
    packed.write_bytes(whole)
    assert reader.lines() == []
    (logs / "a.log.1").unlink()
    assert reader.lines() == []
    reader.ship()
    reader.restart()
    assert reader.lines() == []


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
def test_rest_is_read_from_a_compressed_file_once_it_is_whole(logs: Path, follow: Any, pattern: str) -> None:
    """The original is gone before the copy is whole."""
    path, packed = logs / "a.log", logs / "a.log.1.gz"
    write(path, *numbered(-30_000, 50))  # so much that some can be unpacked before the end is missed
    reader = follow(logs / pattern)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    whole = gzip.compress(path.read_bytes())
    kept = path.open()  # so that its inode is not used again
    path.unlink()
    write(path, *numbered(61, 70))
    packed.write_bytes(whole[:-9])
    reader.restart()
    assert reader.lines() == numbered(61, 70)
    packed.write_bytes(whole)
    assert reader.lines() == numbered(51, 60)
    kept.close()


def test_compressed_file_that_stays_cut_short_is_not_unpacked_again(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n")[:-4])
    opened = []
    real = rotation.open_content
    monkeypatch.setattr(rotation, "open_content", lambda *args: opened.append(args) or real(*args))
    reader = follow(logs / "a.gz")
    for _ in range(3):
        assert reader.lines() == []
    assert len(opened) == 1
    (logs / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert reader.lines() == ["one", "two"]


def test_deletion_while_down_loses_no_more_than_the_file(logs: Path, follow: Any) -> None:
    write(logs / "a.log", *numbered(1, 50))
    write(logs / "b.log", *numbered(1, 50))
    reader = follow(logs / "*.log")
    reader.lines()
    reader.ship()
    (logs / "a.log").unlink()
    write(logs / "b.log", *numbered(51, 60))
    reader.restart()
    assert reader.lines() == numbered(51, 60)
    write(logs / "a.log", *numbered(101, 200))
    assert reader.lines() == numbered(101, 200)


def test_other_content_under_the_same_inode_while_down_is_read_from_its_start(
    logs: Path, follow: Any
) -> None:
    """As when a file system gives the inode of a deleted file to a new one."""
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    inode = path.stat().st_ino
    path.write_text("".join(line + "\n" for line in numbered(101, 200)))
    assert path.stat().st_ino == inode
    reader.restart()
    assert reader.lines() == numbered(101, 200)
    reader.ship()
    write(path, *numbered(201, 210))
    reader.restart()
    assert reader.lines() == numbered(201, 210)


def test_file_renamed_between_look_and_opening_keeps_its_identity(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    real, calls = rotation.open_content, []

    def late(*args: Any) -> Any:
        if not calls:
            path.rename(logs / "a.log.1")
            write(path, *numbered(51, 60))
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(rotation, "open_content", late)
    reader = follow(logs / "a.log*")
    assert sorted(reader.lines()) == numbered(1, 60)
    assert {one.inode: one.path for one in reader.batch.sources} == {
        name.stat().st_ino: str(name) for name in logs.iterdir()
    }
