"""What became of a file that is not where it was: renamed, compressed, or copied and truncated.

Log rotation moves content from one identity to another. A copy is recognised by content, not by name alone:
it must hold the same first bytes and the same bytes before the offset that was read to. Then reading goes on
there.
"""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator

from ingest.identity import HEAD_BYTES, Content, Mark, before
from ingest.sources.names import is_compressed, root_of
from ingest.sources.packed import NotYetWhole, unpacked
from ingest.sources.tail import OpenFile

Key = tuple[int, int]
"""Device and inode."""
Family = tuple[str, str]
"""A folder, and what names in it come down to without what rotation adds."""


def open_content(path: str, key: Key | None = None) -> OpenFile:
    """Open a file for reading; a compressed one is unpacked into an unnamed temporary file.

    Raises OSError, NotYetWhole; FileNotFoundError also where `path` leads to another file than `key` by now.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if key is not None and key_of(os.fstat(handle)) != key:
        os.close(handle)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if not is_compressed(path):
        return OpenFile(handle)
    with open(handle, "rb") as packed, tempfile.TemporaryFile() as plain:
        plain.writelines(unpacked(path, packed))
        plain.flush()
        return OpenFile(os.dup(plain.fileno()))


def family(path: str) -> Family:
    """What a file belongs to by its name."""
    folder, name = os.path.split(path)
    return folder, root_of(name)


def families(path: str) -> list[Family]:
    """The family of `path` and, where it is a link, that of the file that it leads to."""
    return [family(path), family(os.path.realpath(path))] if os.path.islink(path) else [family(path)]


def locate(key: Key, path: str) -> str | None:
    """The path of the file with this device and inode: `path` itself, or another name in its folder."""
    try:
        if key_of(os.stat(path)) == key:
            return path
    except OSError:
        pass
    return next((other for other, found in neighbours(path) if key_of(found) == key), None)


def is_there(key: Key, path: str, known: Mark) -> bool:
    """Does the file with this device and inode, under `path` or near it, still hold what is known of it?"""
    found = locate(key, path)
    file = None if found is None else _open_if(found, known)
    if file is None:
        return False
    file.close()
    return True


def find_copy(path: str, known: Mark, *, apart_from: set[Key]) -> tuple[str, Key, OpenFile] | None:
    """The rotated copy of what was read from `path`, open, or None.

    Identities in `apart_from` are no candidates.
    """
    for other, found in relatives(path):
        key = key_of(found)
        file = None if key in apart_from else _open_if(other, known)
        if file is not None:
            return other, key, file
    return None


def relatives(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The files beside `path` whose names are rotated versions of its name, as far as names can say."""
    kin, itself = families(path), {path, os.path.realpath(path)}
    for other, found in neighbours(path):
        if other not in itself and family(other) in kin:
            yield other, found


def neighbours(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files in the folder of `path`, by name; of a link, also those beside what it leads to."""
    for folder in dict.fromkeys(folder for folder, _ in families(path)):
        try:
            entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    yield entry.path, entry.stat(follow_symlinks=False)
            except OSError:
                continue


def regular(path: str) -> os.stat_result | None:
    """The state of a regular file; None for a link, a folder, and what is not there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def key_of(found: os.stat_result) -> Key:
    """The identity that a path leads to."""
    return found.st_dev, found.st_ino


def is_copy(file: Content, other: Content) -> bool:
    """Does one of the two hold what the other does, and perhaps more, as far as their ends can tell?"""
    both = min(file.size(), other.size())
    head = min(both, HEAD_BYTES)
    return (
        both > 0
        and file.read_at(0, head) == other.read_at(0, head)
        and before(file, both) == before(other, both)
    )


def _open_if(path: str, known: Mark) -> OpenFile | None:
    """The file, open, if it holds what is known; a compressed one is unpacked only if it begins alike."""
    try:
        if is_compressed(path) and not known.begins(_first_bytes(path, known.head_length)):
            return None
        file = open_content(path)
    except (OSError, NotYetWhole):
        return None
    if holds(known, file):
        return file
    file.close()
    return None


def _first_bytes(path: str, length: int) -> bytes:
    found = b""
    with open(path, "rb") as packed:
        for piece in unpacked(path, packed, max(length, 1)):
            found += piece
            if len(found) >= length:
                break
    return found[:length]


def holds(known: Mark, content: Content) -> bool:
    """Does `content` hold what was read up to the mark, if that was anything?"""
    try:
        return known.offset > 0 and known.matches(content)
    except OSError:
        return False
