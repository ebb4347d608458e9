"""Files that came and went while nobody looked, beside a pattern that names the live file alone."""

import gzip
import lzma
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ingest.sources import siblings as siblings_module


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


def numbered(first: int, last: int) -> list[str]:
    return [f"2024-01-31T10:00:00Z line number {number:06d}" for number in range(first, last + 1)]


ARCHIVE = ["2023-12-31T10:00:00Z of long ago"]
OLD = 1_700_000_000


def old_archives(logs: Path) -> None:
    """What lies there before the first start."""
    for name in ("a.log.1", "a.log.2", "a-20231230.log"):
        write(logs / name, f"{name}", *ARCHIVE)
        os.utime(logs / name, (OLD, OLD))
    (logs / "a.log.3.gz").write_bytes(gzip.compress(b"packed, of long ago\n"))
    os.utime(logs / "a.log.3.gz", (OLD, OLD))


def shift(logs: Path) -> None:
    """Rotate as logrotate does: a.log.2 to a.log.3, a.log.1 to a.log.2, a.log to a.log.1."""
    for number in (4, 3, 2, 1):
        for suffix in ("", ".gz"):
            old = logs / f"a.log.{number}{suffix}"
            if old.exists():
                old.rename(logs / f"a.log.{number + 1}{suffix}")
    (logs / "a.log").rename(logs / "a.log.1")


def started(logs: Path, follow: Any, pattern: str = "a.log") -> Any:
    old_archives(logs)
    write(logs / "a.log", *numbered(1, 50))
    reader = follow(logs / pattern)
    assert reader.lines() == numbered(1, 50)
    reader.ship()
    return reader


@pytest.mark.parametrize("pattern", ["a.log", "?.log"])
@pytest.mark.parametrize("down", [True, False])
def test_file_that_came_and_went_is_read_oldest_first(
    logs: Path, follow: Any, pattern: str, down: bool
) -> None:
    reader = started(logs, follow, pattern)
    write(logs / "a.log", *numbered(51, 60))
    for first in (61, 71, 81):
        shift(logs)
        write(logs / "a.log", *numbered(first, first + 9))
        os.utime(logs / "a.log")
    if down:
        reader.restart()
    assert reader.lines() == numbered(51, 90)
    assert reader.counters.get("siblings_found") == 2
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def test_first_start_reads_no_archive(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    reader.restart()
    assert reader.lines() == []
    shift(logs)
    write(logs / "a.log", *numbered(51, 60))
    assert reader.lines() == numbered(51, 60)
    reader.restart()
    assert reader.lines() == numbered(51, 60), "what was read and never spooled, and nothing else"


def test_archive_that_is_compressed_or_written_later_stays_an_archive(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    shift(logs)
    write(logs / "a.log", *numbered(51, 60))
    (logs / "a.log.3.gz").write_bytes(gzip.compress((logs / "a.log.3").read_bytes()))
    (logs / "a.log.3").unlink()
    os.utime(logs / "a.log.2")
    reader.restart()
    assert reader.lines() == numbered(51, 60)


def test_live_file_of_another_program_with_such_a_name_is_left_alone(logs: Path, follow: Any) -> None:
    write(logs / "a.2.log", "of worker 2")
    reader = started(logs, follow)
    write(logs / "a.2.log", *["of worker 2, again"] * 100)
    shift(logs)
    write(logs / "a.log", *numbered(51, 60))
    reader.restart()
    assert reader.lines()[-10:] == numbered(51, 60)
    assert reader.batch.taken.count(b"of worker 2\n") == 0


def test_compressed_one_that_came_and_went_is_read(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    write(logs / "a.log", *numbered(51, 60))
    shift(logs)
    whole = gzip.compress("".join(line + "\n" for line in numbered(61, 70)).encode())
    (logs / "a.log.1.gz").write_bytes(whole[:-10])
    write(logs / "a.log", *numbered(71, 80))
    reader.restart()
    assert sorted(reader.lines()) == [*numbered(51, 60), *numbered(71, 80)], "it is still being written"
    assert reader.counters.troubles() == {}
    (logs / "a.log.1.gz").write_bytes(whole)
    assert reader.lines() == numbered(61, 70)
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def test_xz_of_what_was_read_is_not_read_again(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    write(logs / "a.log", *numbered(51, 60))
    assert reader.lines() == numbered(51, 60)
    reader.ship()
    (logs / "a.log.1.xz").write_bytes(lzma.compress((logs / "a.log").read_bytes()))
    kept = (logs / "a.log").open()  # so that its inode is not used again
    (logs / "a.log").unlink()
    write(logs / "a.log", *numbered(61, 70))
    assert reader.lines() == numbered(61, 70)
    kept.close()


def test_compressed_one_that_stays_cut_short_is_told(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings_module, "FRESH_SECONDS", -1.0)
    reader = started(logs, follow)
    (logs / "a.log.9.gz").write_bytes(gzip.compress(b"one\n")[:-4])
    reader.restart()
    assert "not whole" in reader.counters.troubles()[str(logs / "a.log.9.gz")]


def test_killed_within_a_sibling_goes_on_there(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    shift(logs)
    write(logs / "a.log", *numbered(51, 60), "unfin", end="")
    shift(logs)
    write(logs / "a.log", *numbered(71, 80))
    reader.restart()
    assert reader.lines() == [*numbered(51, 60), *numbered(71, 80)]
    reader.ship()
    write(logs / "a.log.1", "ished", *numbered(61, 70))
    shift(logs)
    write(logs / "a.log", *numbered(81, 90))
    reader.restart()
    assert sorted(reader.lines()) == sorted(["unfinished", *numbered(61, 70), *numbered(81, 90)])


def test_copytruncated_twice_while_down(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    write(logs / "a.log", *numbered(51, 60))
    for first, last in ((61, 90), (91, 200)):
        for number in (2, 1):
            if (logs / f"a.log.{number}").exists():
                (logs / f"a.log.{number}").rename(logs / f"a.log.{number + 1}")
        shutil.copy(logs / "a.log", logs / "a.log.1")
        os.truncate(logs / "a.log", 0)
        write(logs / "a.log", *numbered(first, last))
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 200)


def test_backup_of_a_live_file_is_not_read(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    shutil.copy(logs / "a.log", logs / "a.log.bak")
    shutil.copy(logs / "a.log", logs / "a.log.old")
    write(logs / "a.log", *numbered(51, 60))
    shutil.copy(logs / "a.log", logs / "a-20240131.log")
    reader.restart()
    assert reader.lines() == numbered(51, 60)
    reader.ship()
    shift(logs)
    write(logs / "a.log", *numbered(61, 70))
    assert reader.lines() == numbered(61, 70)
    reader.ship()
    reader.restart()
    assert reader.lines() == []


def test_backup_of_a_closed_file_is_not_read(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    (logs / "a.log").rename(logs / "a.log.5")
    shutil.copy(logs / "a.log.5", logs / "a.log.bak")
    reader.restart()
    write(logs / "a.log", *numbered(51, 60))
    assert reader.lines() == numbered(51, 60)


def test_file_that_was_not_there_at_the_first_start(logs: Path, follow: Any) -> None:
    old_archives(logs)
    reader = follow(logs / "a.log")
    assert reader.lines() == []
    for first in (1, 11):
        write(logs / "a.log", *numbered(first, first + 9))
        shift(logs)
    write(logs / "a.log", *numbered(21, 30))
    reader.restart()
    assert reader.lines() == numbered(1, 30)


def test_start_that_is_killed_before_anything_is_read_still_counts(logs: Path, follow: Any) -> None:
    old_archives(logs)
    write(logs / "a.log", *numbered(1, 10))
    reader = follow(logs / "a.log")
    shift(logs)
    write(logs / "a.log", *numbered(11, 20))
    shift(logs)
    write(logs / "a.log", *numbered(21, 30))
    reader.restart()
    assert reader.lines() == numbered(1, 30)


def test_linked_file_that_came_and_went(logs: Path, follow: Any) -> None:
    data = logs.with_name("data")
    data.mkdir()
    write(data / "app-20240101.log", *numbered(1, 50))
    write(data / "app-20231231.log", *ARCHIVE)
    link = logs / "current"
    link.symlink_to(data / "app-20240101.log")
    reader = follow(link)
    reader.lines()
    reader.ship()
    for day, first in (("02", 51), ("03", 61)):
        write(data / f"app-202401{day}.log", *numbered(first, first + 9))
        link.unlink()
        link.symlink_to(data / f"app-202401{day}.log")
    reader.restart()
    assert reader.lines() == numbered(51, 70)


def test_state_of_an_older_agent_is_no_first_start_for_known_files(logs: Path, follow: Any) -> None:
    reader = started(logs, follow)
    reader.checkpoints._began.clear()
    reader.checkpoints.acknowledge([])
    shift(logs)
    write(logs / "a.log", *numbered(51, 60))
    reader.restart()
    assert reader.lines() == numbered(51, 60)
    reader.ship()
    shift(logs)
    write(logs / "a.log", *numbered(61, 70))
    shift(logs)
    write(logs / "a.log", *numbered(71, 80))
    reader.restart()
    assert reader.lines() == numbered(61, 80)
