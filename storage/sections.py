"""A table of the configuration file, as a dataclass: unknown keys and wrong types are errors that name the key.

A secret may stand in the file itself, in one of its own (`"file:/run/secrets/x"`), or in the environment
(`"env:NAME"`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from storage.errors import ConfigError

T = TypeVar("T")
FROM_FILE, FROM_ENVIRONMENT = "file:", "env:"


class Secret(str):
    """A text that no message, log or listing shows. Empty: there is none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'" if self else "''"


NO_SECRET = Secret()


def read_section(kind: type[T], given: Any, where: str = "") -> T:
    """`given` as a `kind`, whose fields are the keys; a field that is a dataclass is a table of its own.

    A field may be a str, int, float, bool, Path, Secret, tuple[str, ...], a Mapping, which is taken as it is, or
    Mapping[str, a dataclass]. A dataclass that checks itself (`__post_init__`) may raise ConfigError. `where` is the
    table's name. Raises ConfigError.
    """
    if not isinstance(given, Mapping):
        raise _refused(where, given, "give a table")
    hints = get_type_hints(kind)
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = f"{where}.{key}" if where else key
        if key not in known:
            raise ConfigError(f"cannot use configuration key {name!r}", meant(key, known))
        values[key] = _value(hints[key], value, name)
    return kind(**values)


def meant(word: str, known: Sequence[str], what: str = "keys") -> str:
    """What to do about a word that is not among those that are known: the one most like it, or all."""
    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known {what}: {', '.join(known)}"


def _value(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint):
        return read_section(hint, value, name)  # type: ignore[arg-type]
    origin = get_origin(hint) or hint
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise _refused(name, value, "give a list of texts in quotes")
        return tuple(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _refused(name, value, "give a table")
        inner = get_args(hint)[1] if get_args(hint) else Any
        return (
            {key: read_section(inner, one, f"{name}.{key}") for key, one in value.items()}
            if is_dataclass(inner)
            else value
        )
    if hint is Secret:
        return _secret(value, name)
    if hint is bool:
        if not isinstance(value, bool):
            raise _refused(name, value, "give true or false")
        return value
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if hint is int else (int, float)):
            raise _refused(name, value, "give a whole number" if hint is int else "give a number")
        return hint(value)
    if not isinstance(value, str):
        raise _refused(name, value, "give a text in quotes")
    return Path(value) if hint is Path else value


def _secret(value: Any, name: str) -> Secret:
    if not isinstance(value, str):
        raise ConfigError(f"cannot use configuration key {name!r}", "give a text in quotes")
    return Secret(resolved(value, name))


def resolved(value: str, name: str) -> str:
    """A secret as the configuration gives it, or from the file or the variable that it names. Raises ConfigError."""
    if value.startswith(FROM_ENVIRONMENT):
        variable = value.removeprefix(FROM_ENVIRONMENT)
        if variable not in os.environ:
            raise ConfigError(
                f"cannot use configuration key {name!r}: there is no environment variable {variable!r}",
                "set it, or name another",
            )
        return os.environ[variable]
    if value.startswith(FROM_FILE):
        path = Path(value.removeprefix(FROM_FILE))
        try:
            return path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(
                f"cannot use configuration key {name!r}: cannot read {path}: {str(reason).lower()}",
                "check the path and its rights",
            ) from None
    return value


def _refused(name: str, value: Any, hint: str) -> ConfigError:
    shown = "" if isinstance(value, Mapping) else f": {value!r}"
    return ConfigError(f"cannot use configuration key {name!r}{shown}", hint)


def host_and_port(text: str, name: str = "listen") -> tuple[str, int]:
    """`HOST:PORT`, where the host may be an IPv6 address in brackets. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"cannot listen on {text!r}", f"give {name} as HOST:PORT, as 127.0.0.1:8780")
    return host.strip("[]"), int(port)
