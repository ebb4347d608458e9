"""What became of a file that is not where it was: renamed, compressed, or copied and truncated.

Log rotation moves content from one identity to another. A copy is recognised by content, not by name alone:
it must hold the same first bytes and the same bytes before the offset that was read to. Then reading goes on
there.
"""

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO

from ingest.identity import Content, Mark
from ingest.sources.names import is_compressed, root_of
from ingest.sources.tail import OpenFile

Key = tuple[int, int]
"""Device and inode."""


class NotYetWhole(Exception):
    """A compressed file that is still being written, or is cut short."""


def open_content(path: str) -> OpenFile:
    """Open a file for reading; a `.gz` is unpacked into an unnamed temporary file.

    Raises OSError, NotYetWhole.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not is_compressed(path):
        return OpenFile(handle)
    with open(handle, "rb") as packed, tempfile.TemporaryFile() as plain:
        _unpack(packed, plain)
        return OpenFile(os.dup(plain.fileno()))


def _unpack(packed: IO[bytes], plain: IO[bytes]) -> None:
    try:
        with gzip.GzipFile(fileobj=packed) as unpacked:
            shutil.copyfileobj(unpacked, plain, 1 << 20)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise NotYetWhole(str(error)) from error
    plain.flush()


def locate(key: Key, path: str) -> str | None:
    """The path of the file with this device and inode: `path` itself, or another name in its folder."""
    try:
        found = os.stat(path)
        if (found.st_dev, found.st_ino) == key:
            return path
    except OSError:
        pass
    return next((other for other, its_key in neighbours(path) if its_key == key), None)


def find_copy(path: str, known: Mark, *, apart_from: set[Key]) -> tuple[str, Key, OpenFile] | None:
    """The rotated copy of what was read from `path`, open, or None.

    Identities in `apart_from` are no candidates.
    """
    root = root_of(os.path.basename(path))
    for other, key in neighbours(path):
        name = os.path.basename(other)
        if key in apart_from or name == os.path.basename(path) or root_of(name) != root:
            continue
        file = _open_if(other, known)
        if file is not None:
            return other, key, file
    return None


def neighbours(path: str) -> Iterator[tuple[str, Key]]:
    """The regular files in the folder of `path`, by name, with their identities."""
    try:
        entries = sorted(os.scandir(os.path.dirname(path) or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                yield entry.path, (found.st_dev, found.st_ino)
        except OSError:
            continue


def _open_if(path: str, known: Mark) -> OpenFile | None:
    """The file, open, if it holds what is known; a compressed one is unpacked only if it begins alike."""
    try:
        if is_compressed(path) and not known.begins(_first_bytes(path, known.head_length)):
            return None
        file = open_content(path)
    except (OSError, EOFError, zlib.error, NotYetWhole):
        return None
    if _holds(known, file):
        return file
    file.close()
    return None


def _first_bytes(path: str, length: int) -> bytes:
    with gzip.open(path) as unpacked:
        return unpacked.read(length)


def _holds(known: Mark, content: Content) -> bool:
    try:
        return known.offset > 0 and known.matches(content)
    except OSError:
        return False
