"""Content encodings, decoded within a bound: a small body must not become a large one."""

import zlib

import zstandard

from ingest.errors import RequestRefused

Body = bytes | bytearray
"""Of a request. Large ones are not copied to be made immutable."""
SLICE_BYTES = 1024
"""Of a zstd body at once: four bytes can stand for 128 KiB, so that a slice is 32 MiB at the most."""
GZIP_SLICE_BYTES = 4096
"""Of a gzip body at once: what lies behind a member's end is copied."""
MAX_MEMBERS = 1 << 14
"""Members of a gzip body, or frames of a zstd one, that were packed one by one: an empty one takes a few bytes, and as
long to begin as any."""
MAX_WINDOW_BYTES = 1 << 27


def decode(body: Body, encoding: str, limit: int) -> Body:
    """The plain body.

    Raises RequestRefused where it is damaged, above `limit` bytes, or of an unknown encoding.
    """
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return body
    try:
        if kind in ("gzip", "x-gzip"):
            return _gzip(body, limit)
        if kind == "zstd":
            return _zstd(body, limit)
        if kind == "deflate":
            return _deflate(body, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise RequestRefused("bad_encoding", f"cannot decode body: {kind}", "send it again, whole") from error
    raise RequestRefused(
        "bad_encoding", f"cannot decode body: {kind}", "use gzip, deflate, zstd or none", 415
    )


def _gzip(body: Body, limit: int) -> Body:
    plain = bytearray()
    view = memoryview(body)
    for _ in range(MAX_MEMBERS):
        if not view:
            return plain
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while view and not member.eof:
            piece = view[:GZIP_SLICE_BYTES]
            plain += member.decompress(piece, limit - len(plain) + 1)
            _check(len(plain), limit)
            view = view[len(piece) - len(member.unused_data) :]
        if not member.eof:
            raise EOFError
    return _whole(plain, view)


def _deflate(body: Body, limit: int) -> Body:
    """With zlib's header, as it should be, or without, as some senders have it."""
    wrapped = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    plain = stream.decompress(body, limit + 1)
    _check(len(plain), limit)
    if not stream.eof or stream.unused_data:
        raise EOFError
    return plain


def _zstd(body: Body, limit: int) -> Body:
    plain = bytearray()
    view = memoryview(body)
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    for _ in range(MAX_MEMBERS):
        if not view:
            return plain
        frame = decompressor.decompressobj()
        while view and not frame.eof:
            piece = view[:SLICE_BYTES]
            plain += frame.decompress(piece)
            view = view[len(piece) - len(frame.unused_data) :]
            _check(len(plain), limit)
        if not frame.eof:
            raise EOFError
    return _whole(plain, view)


def _whole(plain: bytearray, left: memoryview) -> Body:
    if left:
        raise RequestRefused(
            "bad_encoding", "cannot decode body: it is packed in too many parts", "pack it once"
        )
    return plain


def _check(size: int, limit: int) -> None:
    if size > limit:
        message = f"cannot take request: its body is larger than {limit} bytes when decompressed"
        raise RequestRefused("too_large", message, "send it in parts", 413)
