"""Raw snappy, unpacked within a bound."""

import cramjam

from ingest.errors import RequestRefused
from ingest.receivers.answers import unreadable
from ingest.receivers.encodings import Body

MAX_RATIO = 32
"""Of three bytes a copy makes 64 at the most; a body that claims more is none."""
MAX_HEAD_BYTES = 5
HINT = "send it as raw snappy, not framed"


def unsnappy(body: Body, limit: int, spare: int) -> tuple[bytearray, int]:
    """The plain bytes, with `spare` zeros behind them, and how many they are without.

    Raises RequestRefused where it is damaged or above `limit` bytes.
    """
    size = _declared(body)
    if size > limit:
        message = f"cannot take request: its body is larger than {limit} bytes when decompressed"
        raise RequestRefused("too_large", message, "send it in parts", 413)
    if size > MAX_RATIO * len(body):
        raise unreadable("body: it is no snappy", HINT)
    plain = bytearray(size + spare)
    try:
        written = cramjam.snappy.decompress_raw_into(body, memoryview(plain)[:size]) if size else 0
    except cramjam.DecompressionError:
        raise unreadable("body: it is no snappy", HINT) from None
    if written != size:
        raise unreadable("body: it is no snappy", HINT)
    return plain, size


def _declared(body: Body) -> int:
    """The plain size, which the body starts with."""
    size = 0
    for place, byte in enumerate(body[:MAX_HEAD_BYTES]):
        size |= (byte & 127) << 7 * place
        if byte < 128:
            return size
    raise unreadable("body: it is no snappy", HINT)
