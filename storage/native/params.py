"""Values of bound parameters (`{name:Type}`) in the form that a native-protocol query carries them.

The server reads a parameter twice: as a quoted literal, then as a field of TabSeparated. Each reading has its
escapes, so text is escaped twice. Bytes that are not UTF-8 go as `\\xNN`.
"""

from __future__ import annotations

from collections.abc import Mapping

_ESCAPES = {
    **{code: f"\\x{code:02x}" for code in (*range(32), 127)},
    ord("\\"): "\\\\",
    ord("'"): "\\'",
}


class Literal:
    """A parameter as the driver takes it: what is not a str gets quotes around it and is sent as it is."""

    def __init__(self, value: object) -> None:
        self._text = _field(value).replace("\\", "\\\\").replace("'", "\\'")

    def __str__(self) -> str:
        return self._text


def literals(params: Mapping[str, object]) -> dict[str, Literal]:
    """Every parameter, ready to be sent; TypeError for a value of a type that has no form."""
    return {name: Literal(value) for name, value in params.items()}


def field_texts(params: Mapping[str, object]) -> dict[str, str]:
    """Every parameter as the HTTP interface takes it, which reads it as a field alone."""
    return {name: _field(value) for name, value in params.items()}


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str | bytes):
        return _escaped(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_item(item) for item in value) + "]"
    return _number(value)


def _item(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{_escaped(value)}'" if isinstance(value, str | bytes) else _number(value)


def _number(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"cannot bind parameter of type {type(value).__name__}")


def _escaped(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    escaped = text.translate(_ESCAPES)
    if escaped.isascii():
        return escaped
    # A lone surrogate stands for a byte that is not UTF-8 (surrogateescape) and becomes that byte again.
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in escaped)
