"""Logs are rotated, in every way, under a real agent that is killed: every line is stored once.

The agent is alive while the log is rotated, or killed before and started after it, or killed just after it.
"""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

LINES = 400
"""A round writes so many, twice as many bytes as a file is known by."""
ROUNDS = 3


class Log:
    """A log file, the program that writes numbered lines to it, and whatever rotates it."""

    def __init__(self, path: Path, first: int, lines: Any) -> None:
        self.path = path
        self.first = first
        self.lines = lines
        self.written = 0
        self.rotated = 0

    def write(self, count: int = LINES, *, cut: int = 0) -> None:
        """Some lines; the last one without its last `cut` bytes, which come with the next."""
        begin = self.first + self.written
        text = getattr(self, "rest", "") + self.lines(range(begin, begin + count))
        self.rest = text[len(text) - cut :]
        with self.path.open("a") as file:
            file.write(text[: len(text) - cut])
        self.written += count

    @property
    def archive(self) -> Path:
        self.rotated += 1
        return self.path.with_name(f"{self.path.name}.{self.rotated}")


def rename(log: Log) -> None:
    log.write(7)
    log.path.rename(log.archive)


def rename_and_create_late(log: Log) -> None:
    """The writer still has the old file open when it is renamed, and writes on."""
    with log.path.open("a") as file:
        archive = log.archive
        log.path.rename(archive)
        file.write(log.lines(range(log.first + log.written, log.first + log.written + 5)))
    log.written += 5


def copy_and_truncate(log: Log) -> None:
    log.write(7)
    shutil.copyfile(log.path, log.archive)
    os.truncate(log.path, 0)


def truncate_over_the_copy_before(log: Log) -> None:
    """As `copytruncate` with one archive kept, but what is copied over was read before."""
    log.write(7)
    copy = log.path.with_name(log.path.name + ".1")
    if copy.exists():
        copy.unlink()
    shutil.copyfile(log.path, copy)
    os.truncate(log.path, 0)


def rename_and_compress(log: Log) -> None:
    log.write(7)
    archive = log.archive
    log.path.rename(archive)
    with gzip.open(f"{archive}.gz", "wb") as packed:
        packed.write(archive.read_bytes())
    archive.unlink()


def shift(log: Log) -> None:
    """All archives are renamed by one, as logrotate does."""
    log.write(7)
    for number in range(log.rotated, 0, -1):
        old = log.path.with_name(f"{log.path.name}.{number}")
        old.rename(log.path.with_name(f"{log.path.name}.{number + 1}"))
    log.path.rename(log.path.with_name(log.path.name + ".1"))
    log.rotated += 1


def turn_link(log: Log) -> None:
    """The name is a link to a dated file, and is turned to the next."""
    target = log.path.with_name(f"{log.path.stem}-{20240101 + log.rotated}.log")
    log.rotated += 1
    target.touch()
    link = log.path.with_name("link")
    link.symlink_to(target)
    link.rename(log.path)


ROTATIONS = [
    rename,
    rename_and_create_late,
    copy_and_truncate,
    truncate_over_the_copy_before,
    rename_and_compress,
    shift,
    turn_link,
]
NEEDS_A_LOOK = {truncate_over_the_copy_before}
"""What was written before is gone with the next rotation: somebody must have read it until then."""


@pytest.mark.parametrize("kill", ["never", "before", "after"])
@pytest.mark.parametrize("rotation", ROTATIONS, ids=lambda one: str(one.__name__))
def test_every_line_once(shared_site: Any, lines: Any, rotation: Callable[[Log], None], kill: str) -> None:
    site = shared_site
    path, first = site.new_log()
    log = Log(path, first, lines)
    if rotation is turn_link:
        turn_link(log)
    log.write()
    source = f"{path}*"
    site.start_agent(source)
    for _ in range(ROUNDS):
        site.wait_for(log.written if rotation in NEEDS_A_LOOK else 1, first)
        log.write(cut=11)
        log.write()
        if kill == "before":
            site.kill_agent()
        rotation(log)
        if kill == "after":
            site.kill_agent()
        if not log.path.exists():
            log.path.touch()
        log.write()
        if kill != "never":
            site.start_agent(source)
    site.check(first, log.written)
    site.kill_agent()
    assert site.numbers(first)[: log.written + 1] == list(range(first, first + log.written)), "nothing after"
