"""Protocol Buffers, written: the few messages that are sent, and those that are made of JSON."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """An unsigned number of at most 64 bits; a negative one as its two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 128:
        return bytes((value,))
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)


def integer(field: int, value: int) -> bytes:
    """A field that is a bool, an enum, or an integer of which small values are short."""
    return varint(field << 3 | _VARINT) + varint(value)


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED64) + value.to_bytes(8, "little")


def fixed32(field: int, value: int) -> bytes:
    return varint(field << 3 | _FIXED32) + value.to_bytes(4, "little")


def length_delimited(field: int, content: bytes) -> bytes:
    """A field that is a string, bytes or a message."""
    size = len(content)
    if size < 128 and field < 16:  # most of them
        return bytes((field << 3 | _BYTES, size)) + content
    return varint(field << 3 | _BYTES) + varint(size) + content
