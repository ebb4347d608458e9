"""Bytes → valid UTF-8, byte for byte as `sql.py` has the server make it.

A run of bytes that are no UTF-8 becomes one U+FFFD. By itself the server lets a character that the end cuts short take
all from its first byte to the end with it, be it ASCII; so some spaces stand behind, here as there.
"""

from __future__ import annotations

import codecs

import pyarrow as pa

SHOWN = "\ufffd"
HANDLER = "neve-server"
BEHIND = b"   "


def to_valid_utf8(texts: pa.Array) -> pa.StringArray:
    """Binary texts as strings. One pass where all are valid, as nearly always."""
    try:
        return texts.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([valid(text) for text in texts.to_pylist()], pa.string())


def valid(text: bytes) -> str:
    """One text."""
    return (text + BEHIND).decode("utf-8", HANDLER)[: -len(BEHIND)]


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    data, at = error.object, error.start
    while at < len(data):
        length = _length(data[at])
        if at + length > len(data):
            return SHOWN, len(data)
        if _is_legal(data[at : at + length]):
            break
        at += 1
    return SHOWN, at


def _length(first: int) -> int:
    """Of the character that starts with this byte, if one can."""
    return 1 if first < 0xC0 or first >= 0xF8 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _is_legal(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


codecs.register_error(HANDLER, _replace)
