"""Files over everything that happens to log files: every line once, nothing twice."""

from pathlib import Path
from typing import Any

from ingest.batch import MAX_ROWS, Labels
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.sources.files import Files


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


def test_files_that_begin_alike_are_two(logs: Path, follow: Any) -> None:
    for name in ("a.log", "b.log", "a-2.log"):
        write(logs / name, *numbered(1, 100))
    reader = follow(logs / "*.log")
    assert sorted(reader.lines()) == sorted(3 * numbered(1, 100))
    reader.ship()
    write(logs / "b.log", "more")
    reader.restart()
    assert reader.lines() == ["more"]


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
