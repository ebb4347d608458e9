"""Paths that lead to files in odd ways, or to none: links, folders, what may not be read, what comes later."""

import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.sources import files as files_module
from ingest.sources import rotation, wake
from ingest.sources.wake import Wake


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(lines) + end)


def numbered(first: int, last: int) -> list[str]:
    """Lines of about 40 bytes, so that a few dozen go beyond what identities look at."""
    return [f"2024-01-31T10:00:00Z line number {number:06d}" for number in range(first, last + 1)]


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

    def refuse(path: str, *key: Any) -> Any:
        if path.endswith("a.log"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *key)

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


def test_two_links_to_one_file_are_one(logs: Path, follow: Any) -> None:
    (logs / "data").mkdir()
    write(logs / "data" / "x", "one")
    for name in ("1.log", "2.log"):
        (logs / name).symlink_to(logs / "data" / "x")
    reader = follow(logs / "*.log")
    assert reader.lines() == ["one"]
    reader.ship()
    reader.restart()
    write(logs / "data" / "x", "two")
    assert reader.lines() == ["two"]


def test_link_that_is_turned_while_down(logs: Path, follow: Any) -> None:
    link = logs / "current"
    write(logs / "1.txt", *numbered(1, 50))
    link.symlink_to("1.txt")
    reader = follow(link)
    reader.lines()
    reader.ship()
    write(logs / "1.txt", *numbered(51, 60))
    write(logs / "2.txt", *numbered(61, 70))
    link.unlink()
    link.symlink_to("2.txt")
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 70)


@pytest.mark.parametrize("rotate", ["rename", "copy"])
def test_file_behind_a_link_to_another_folder_is_rotated_while_down(
    logs: Path, follow: Any, rotate: str
) -> None:
    data = logs.with_name("data")
    data.mkdir()
    write(data / "app.log", *numbered(1, 50))
    (logs / "current").symlink_to(data / "app.log")
    reader = follow(logs / "current")
    reader.lines()
    reader.ship()
    write(data / "app.log", *numbered(51, 60))
    if rotate == "rename":
        (data / "app.log").rename(data / "app.log.1")
    else:
        (data / "app.log.1").write_bytes((data / "app.log").read_bytes())
        os.truncate(data / "app.log", 0)
    write(data / "app.log", *numbered(61, 70))
    reader.restart()
    assert sorted(reader.lines()) == numbered(51, 70)


def test_link_to_nothing_is_followed_when_something_is_there(logs: Path, follow: Any) -> None:
    (logs / "a.log").symlink_to(logs / "later")
    reader = follow(logs / "a.log")
    assert reader.lines() == []
    write(logs / "later", "one")
    assert reader.lines() == ["one"]


def test_folder_in_the_place_of_a_file(logs: Path, follow: Any) -> None:
    (logs / "a.log").mkdir()
    write(logs / "b.log", "one")
    reader = follow(logs / "*.log")
    assert reader.lines() == ["one"]
    (logs / "a.log").rmdir()
    write(logs / "a.log", "two")
    assert reader.lines() == ["two"]
    assert reader.counters.troubles() == {}


def test_fifo_is_told_and_does_not_hold_the_agent_up(logs: Path, follow: Any) -> None:
    os.mkfifo(logs / "a.log")
    reader = follow(logs / "a.log")
    assert reader.lines() == []
    assert "no regular file" in reader.counters.troubles()[str(logs / "a.log")]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who is not root, and that user for as long as the test runs."""
    folder = Path(tempfile.mkdtemp())
    (folder / "logs").mkdir()
    (folder / "state").mkdir()
    user = os.geteuid()
    for one in (folder, folder / "logs", folder / "state"):
        one.chmod(0o777)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)


def test_file_that_may_not_be_read_is_told_and_read_when_it_may(follow: Any, unprivileged: Path) -> None:
    logs = unprivileged / "logs"
    write(logs / "a.log", "one")
    write(logs / "b.log", "two")
    (logs / "a.log").chmod(0)
    reader = follow(logs / "*.log", state=unprivileged / "state")
    assert reader.lines() == ["two"]
    assert reader.counters.troubles() == {str(logs / "a.log"): "cannot read file: permission denied"}
    (logs / "a.log").chmod(0o644)
    assert reader.lines() == ["one"]
    assert reader.counters.troubles() == {}


def test_folders_that_appear_later_are_looked_into(logs: Path, follow: Any) -> None:
    reader = follow(logs / "**" / "*.log")
    assert reader.lines() == []
    (logs / "x" / "y").mkdir(parents=True)
    write(logs / "x" / "y" / "a.log", "one")
    assert reader.lines() == ["one"]


@pytest.fixture
def no_inotify(tmp_path: Path) -> Iterator[None]:
    """No descriptor left for another inotify instance, as when the limit of a user's instances is reached.

    `tmp_path` takes some to make, so it comes first.
    """
    assert tmp_path.is_dir()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("no_inotify")
def test_no_inotify_left_is_no_failure(tmp_path: Path) -> None:
    watching = Wake(threading.Event())
    watching.watch([str(tmp_path)])
    assert watching._notify is None
    assert watching.sleep(0.05) is False


def refuse_inotify(*_args: Any) -> None:
    raise OSError(28, "No space left on device")  # what the kernel says when all watches are taken


def test_polling_alone_finds_lines_files_and_rotation(
    logs: Path, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "RustNotify", refuse_inotify)
    monkeypatch.setattr(files_module, "SCAN_SECONDS", 0.2)
    reader = follow(logs / "a.log*")

    def wait_for(*expected: str) -> None:
        found: list[str] = []
        deadline = time.monotonic() + 60
        while len(found) < len(expected) and time.monotonic() < deadline:
            reader.files.sleep()
            reader.batch.taken.clear()
            reader.files.read(reader.batch)
            found += b"".join(reader.batch.taken).decode().splitlines()
        assert sorted(found) == sorted(expected)

    write(logs / "a.log", "one")
    wait_for("one")
    write(logs / "a.log", "two")
    wait_for("two")
    write(logs / "a.log", "three")
    (logs / "a.log").rename(logs / "a.log.1")
    write(logs / "a.log", "four")
    wait_for("three", "four")


def test_inotify_wakes_before_the_poll(logs: Path, follow: Any) -> None:
    reader = follow(logs / "a.log")
    reader.lines()
    assert reader.files._wake._notify is not None
    threading.Timer(0.05, write, (logs / "a.log", "one")).start()
    assert reader.files._wake.sleep(30.0), "a file came"
