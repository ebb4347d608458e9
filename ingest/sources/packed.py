"""Compressed files, as log rotation leaves them: gzip, xz, bzip2 and zstd, told by their names."""

import errno
import gzip
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import IO, Any

from ingest.sources.names import compression_of

PIECE_BYTES = 1 << 20
ZSTD_PIECE_BYTES = 4096
"""Of a zstd file at once: four bytes can stand for 128 KiB."""
ZSTD_WINDOW_BYTES = 1 << 27

_MODULES = {"xz": "lzma", "bz2": "bz2", "zst": "zstandard"}
"""Imported where there is such a file: most agents meet none, and not every Python has all of them."""


class NotYetWhole(Exception):
    """A compressed file that is still being written, or is cut short."""


def unpacked(path: str, packed: IO[bytes], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """The plain bytes of a file, in pieces of about `size`. Raises NotYetWhole, OSError."""
    kind = compression_of(path)
    if kind == "gz":
        return _checked(
            _read(gzip.GzipFile(fileobj=packed).read, size), (EOFError, gzip.BadGzipFile, zlib.error)
        )
    try:
        module = import_module(_MODULES[kind])
    except ImportError:
        raise OSError(errno.EOPNOTSUPP, f"this Python cannot unpack .{kind}", path) from None
    if kind == "xz":
        return _checked(_read(module.open(packed).read, size), (EOFError, module.LZMAError))
    if kind == "bz2":
        return _checked(_read(module.open(packed).read, size), (EOFError,))
    new = module.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj
    return _checked(_zstd(new, packed), (EOFError, module.ZstdError))


def _read(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    while piece := read(size):
        yield piece


def _zstd(new: Callable[[], Any], packed: IO[bytes]) -> Iterator[bytes]:
    """One frame after the other."""
    frame = None
    while rest := packed.read(ZSTD_PIECE_BYTES):
        while rest:
            frame = frame or new()
            yield frame.decompress(rest)
            rest = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError


def _checked(pieces: Iterator[bytes], broken: tuple[type[Exception], ...]) -> Iterator[bytes]:
    try:
        yield from pieces
    except broken as error:
        raise NotYetWhole(str(error)) from error
    except OSError as error:
        if error.errno is None:  # how bz2 says that it is none
            raise NotYetWhole(str(error)) from error
        raise
