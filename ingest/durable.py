"""Files that outlive a power cut: written aside, fsynced, renamed into place, their folder fsynced."""

import contextlib
import os
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of what is still being written; such a file was never promised to anyone."""


def fsync_folder(folder: Path) -> None:
    """Make renames and unlinks in `folder` durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_aside(path: Path, data: bytes | bytearray | memoryview) -> Path:
    """Write and fsync `data` beside `path`; return that path. Raises OSError, leaving nothing behind."""
    aside = path.with_name(path.name + TEMPORARY_SUFFIX)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    finally:
        os.close(handle)
    return aside


def write_all(handle: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte; `os.write` alone may stop short. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in place of `path` at once and durably: a reader sees the old or the new. Raises OSError."""
    os.replace(write_aside(path, data), path)
    fsync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder` and the missing ones above it, durably and for this user only. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        fsync_folder(one.parent)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer left half written. Raises OSError."""
    for path in folder.glob("*" + TEMPORARY_SUFFIX):
        path.unlink(missing_ok=True)
