"""Files over everything that happens to log files: every line once, nothing twice."""

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import MAX_ROWS, Batch, Labels, Stream
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.sources import files as files_module
from ingest.sources import rotation
from ingest.sources.files import Files
from storage.native.block import parse_header, seal


class Recorder(Batch):
    """A batch that also keeps what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[bytes] = []

    def add(self, stream: Stream, data: memoryview, *, final: bool = False, flush: bool = False) -> int:
        count = super().add(stream, data, final=final, flush=flush)
        self.taken.append(bytes(data[:count]))
        return count


class Follower:
    """Files, their checkpoints, and a batch for what was read; `restart` is another process over the same state."""

    def __init__(self, state: Path, *patterns: Path, once: bool = False) -> None:
        self.state = state
        self.patterns = [str(pattern) for pattern in patterns]
        self.sequence = 0
        self.open(once=once)

    def open(self, *, once: bool = False) -> None:
        self.checkpoints = Checkpoints(self.state / "checkpoints.json")
        self.counters = Counters()
        self.batch = Recorder()
        self.files = Files(self.patterns, self.checkpoints, Labels(), self.counters, once=once)

    def lines(self) -> list[str]:
        """What is new, as lines; the patterns are looked through first."""
        self.files.scan()
        self.batch.taken.clear()
        while self.files.read(self.batch) or self.files.behind:
            if self.batch.full:
                self.ship()
        return b"".join(self.batch.taken).decode(errors="surrogateescape").splitlines()

    def ship(self) -> None:
        """Everything read so far arrives."""
        if self.batch.rows:
            self.sequence += 1
            data = seal(
                self.batch.columns,
                agent_id="agent",
                sequence=self.sequence,
                namespace="default",
                sources=self.batch.sources,
            )
            self.checkpoints.acknowledge([parse_header(data)[0]])
            self.batch.reset()

    def restart(self, *, once: bool = False) -> None:
        """A killed process's successor: it knows what arrived."""
        self.files.close()
        self.open(once=once)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Any]:
    made = []
    (tmp_path / "state").mkdir()

    def make(*patterns: Path, once: bool = False) -> Follower:
        made.append(Follower(tmp_path / "state", *patterns, once=once))
        return made[-1]

    yield make
    for one in made:
        one.files.close()


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


def numbered(first: int, last: int) -> list[str]:
    """Lines of about 40 bytes, so that a few dozen go beyond what identities look at."""
    return [f"2024-01-31T10:00:00Z line number {number:06d}" for number in range(first, last + 1)]


def test_appended_lines_come_once(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, "one", "two")
    reader = follow(path)
    assert reader.lines() == ["one", "two"]
    assert reader.lines() == []
    write(path, "three")
    assert reader.lines() == ["three"]


def test_partial_last_line_waits_for_its_end(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, "one", "tw", end="")
    reader = follow(path)
    assert reader.lines() == ["one"]
    write(path, "o")
    assert reader.lines() == ["two"]


def test_once_takes_the_partial_last_line(logs: Path, follow: Any) -> None:
    write(logs / "a.log", "one", "two", end="")
    reader = follow(logs / "a.log", once=True)
    assert reader.lines() == ["one", "two"]
    assert reader.files.finished


def test_once_does_not_wait_for_a_file_that_keeps_growing(logs: Path, follow: Any) -> None:
    write(logs / "a.log", "one")
    reader = follow(logs / "a.log", once=True)
    assert reader.lines() == ["one"]
    write(logs / "a.log", "two")
    assert reader.files.finished
    assert reader.lines() == []


def test_file_that_appears_later_is_found(logs: Path, follow: Any) -> None:
    reader = follow(logs / "*.log")
    assert reader.lines() == []
    write(logs / "a.log", "one")
    assert reader.lines() == ["one"]
    (logs / "a.txt").write_text("not this\n")
    assert reader.lines() == []


def test_restart_goes_on_where_blocks_arrived(logs: Path, follow: Any) -> None:
    write(logs / "a.log", *numbered(1, 100))
    reader = follow(logs / "a.log")
    assert reader.lines() == numbered(1, 100)
    reader.ship()
    write(logs / "a.log", *numbered(101, 110))
    assert reader.lines() == numbered(101, 110)
    reader.restart()
    assert reader.lines() == numbered(101, 110), "what was read and never spooled is read again"


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
    assert sorted(reader.lines()) == numbered(51, 70)


def test_file_compressed_while_down_is_read_on(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 50))
    reader = follow(path)
    reader.lines()
    reader.ship()
    write(path, *numbered(51, 60))
    with gzip.open(logs / "a.log.1.gz", "wb") as packed:
        packed.write(path.read_bytes())
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


def test_compressed_file_is_read(logs: Path, follow: Any) -> None:
    with gzip.open(logs / "a.log.3.gz", "wb") as packed:
        packed.write(b"one\ntwo\n")
    reader = follow(logs / "*.gz")
    assert reader.lines() == ["one", "two"]
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def test_compressed_file_is_read_when_it_is_whole(logs: Path, follow: Any) -> None:
    whole = gzip.compress(b"".join(b"line %d\n" % number for number in range(1000)))
    (logs / "a.gz").write_bytes(whole[:50])
    reader = follow(logs / "a.gz")
    assert reader.lines() == []
    (logs / "a.gz").write_bytes(whole)
    assert len(reader.lines()) == 1000


def test_compressed_file_that_is_cut_short_is_told(logs: Path, follow: Any) -> None:
    (logs / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n")[:-4])
    reader = follow(logs / "a.gz", once=True)
    assert reader.lines() == []
    assert "not whole" in reader.counters.troubles()[str(logs / "a.gz")]


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
    monkeypatch.setattr(files_module, "COPY_SECONDS", -1.0)
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


def test_files_that_begin_alike_are_two(logs: Path, follow: Any) -> None:
    for name in ("a.log", "b.log", "a-2.log"):
        write(logs / name, *numbered(1, 100))
    reader = follow(logs / "*.log")
    assert sorted(reader.lines()) == sorted(3 * numbered(1, 100))
    reader.ship()
    write(logs / "b.log", "more")
    reader.restart()
    assert reader.lines() == ["more"]


def test_symlink_and_file_are_one(logs: Path, follow: Any) -> None:
    write(logs / "a.log", "one")
    (logs / "current.log").symlink_to(logs / "a.log")
    reader = follow(logs / "*.log", logs / "a.log")
    assert reader.lines() == ["one"]


def test_symlink_that_is_turned_is_followed(logs: Path, follow: Any) -> None:
    write(logs / "1.txt", "one")
    write(logs / "2.txt", "two")
    link = logs / "current.log"
    link.symlink_to(logs / "1.txt")
    reader = follow(link)
    assert reader.lines() == ["one"]
    link.unlink()
    link.symlink_to(logs / "2.txt")
    write(logs / "1.txt", "late")
    assert sorted(reader.lines()) == ["late", "two"]


def test_unreadable_file_is_told_once_and_tried_again(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(logs / "a.log", "one")
    write(logs / "b.log", "two")
    real = rotation.open_content

    def refuse(path: str) -> Any:
        if path.endswith("a.log"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "open_content", refuse)
        reader = follow(logs / "*.log")
        assert reader.lines() == ["two"]
        reader.lines()
        assert reader.counters.news() == [f"{logs / 'a.log'}: cannot read file: permission denied"]
    assert reader.lines() == ["one"]
    assert reader.counters.troubles() == {}


def test_file_that_is_not_there_is_told(logs: Path, follow: Any) -> None:
    reader = follow(logs / "none.log", once=True)
    assert reader.lines() == []
    assert reader.files.finished
    assert "not there" in reader.counters.troubles()[str(logs / "none.log")]


def test_binary_garbage_and_long_lines_pass(logs: Path, follow: Any) -> None:
    content = bytes(range(256)) * 50 + b"\n\0\0\n" + b"x" * (1 << 20) + b"\n" + b"y" * (3 << 20) + b"\nend\n"
    (logs / "a.log").write_bytes(content)
    reader = follow(logs / "a.log")
    reader.lines()
    assert b"".join(reader.batch.taken) == content


def test_more_lines_than_a_block_holds(logs: Path, follow: Any) -> None:
    count = 2 * MAX_ROWS + 10
    (logs / "a.log").write_bytes(b"".join(b"%d\n" % number for number in range(count)))
    reader = follow(logs / "a.log")
    assert reader.lines() == [str(number) for number in range(count)]
    assert reader.sequence == 2


def test_range_lost_from_the_spool_is_read_again(logs: Path, follow: Any) -> None:
    path = logs / "a.log"
    write(path, *numbered(1, 10))
    reader = follow(path)
    reader.lines()
    reader.ship()
    spooled = []
    for first in (11, 21, 31):
        write(path, *numbered(first, first + 9))
        reader.lines()
        spooled.append(reader.batch.sources)
        reader.batch.reset()
    reader.files.close()
    reader.checkpoints = Checkpoints(reader.state / "checkpoints.json")
    reader.checkpoints.spooled(spooled[0])
    reader.checkpoints.spooled(spooled[2])
    write(path, *numbered(41, 50))
    reader.files = Files(reader.patterns, reader.checkpoints, Labels(), Counters())
    assert reader.lines() == [*numbered(21, 30), *numbered(41, 50)]


def test_sources_name_every_range_of_every_file(logs: Path, follow: Any) -> None:
    write(logs / "a.log", *numbered(1, 10))
    write(logs / "b.log", *numbered(1, 20))
    reader = follow(logs / "*.log")
    reader.lines()
    write(logs / "a.log", *numbered(11, 12))
    reader.lines()
    found = {Path(one.path).name: (one.start, one.end) for one in reader.batch.sources}
    assert found == {name: (0, (logs / name).stat().st_size) for name in ("a.log", "b.log")}
    assert {one.inode for one in reader.batch.sources} == {
        (logs / name).stat().st_ino for name in ("a.log", "b.log")
    }


def test_lines_carry_service_and_path(logs: Path, follow: Any) -> None:
    write(logs / "api.log.1", "one")
    reader = follow(logs / "api.log.1")
    [tail] = reader.files._tails.values()
    assert (tail.labels.service, tail.labels.tags) == ("api", {"log.file.path": str(logs / "api.log.1")})
