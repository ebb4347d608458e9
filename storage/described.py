"""What the keys of a configuration are, for people: read from the dataclasses and the comments beside their fields."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from storage.sections import Secret

HIDDEN = "…"
EACH = "NAME"  # stands for a key of a table that the user names


@dataclass(frozen=True)
class Key:
    """One key. `path`: the names of its tables, and its own; `table`: it is made up of keys that the user names."""

    path: tuple[str, ...]
    kind: str
    value: Any
    default: Any
    says: str
    table: bool = False

    @property
    def name(self) -> str:
        """With dots, as messages have it."""
        return ".".join(self.path)

    @property
    def shown(self) -> str:
        """Its value as TOML has it; nothing of a secret."""
        return toml(self.value)


def keys_of(kind: type[Any], value: Any, where: tuple[str, ...] = ()) -> Iterator[Key]:
    """The keys of a dataclass that `read_section` reads, those of tables within it last. `value`: one of its kind."""
    hints = get_type_hints(kind)
    said = comments_of(kind)  # type: ignore[arg-type]  # a class is hashable
    inner: list[Iterator[Key]] = []
    for one in fields(kind):
        path = (*where, one.name)
        hint, held = hints[one.name], getattr(value, one.name)
        default = one.default if one.default is not MISSING else _made(one.default_factory)
        if is_dataclass(hint):
            inner.append(keys_of(hint, held, path))  # type: ignore[arg-type]
            continue
        each = get_args(hint)[1] if _is_mapping(hint) and len(get_args(hint)) == 2 else None
        of_tables = is_dataclass(each)
        yield Key(path, kind_of(hint), held, default, said.get(one.name, ""), of_tables)
        if isinstance(each, type) and of_tables:
            inner.append(keys_of(each, each(), (*path, EACH)))
            inner += [keys_of(each, of_one, (*path, key)) for key, of_one in held.items()]
    for more in inner:
        yield from more


def _made(factory: Any) -> Any:
    return factory() if factory is not MISSING else ""


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Mapping)


def kind_of(hint: Any) -> str:
    """What a value of this type is, in words."""
    if _is_mapping(hint):
        return "table"
    if get_origin(hint) is tuple:
        return "texts"
    known = {bool: "true or false", int: "number", float: "number", Path: "path", Secret: "secret"}
    return known.get(hint, "text")


@cache
def comments_of(kind: type) -> Mapping[str, str]:
    """The comment beside each field of a class: what its author says of it."""
    source = textwrap.dedent(inspect.getsource(kind))
    found = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    [body] = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    said = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            said[node.target.id] = " ".join(found[line] for line in lines if line in found)
    return said


def toml(value: Any) -> str:
    """A value in TOML; what is secret is hidden."""
    if isinstance(value, Secret):
        return f'"{HIDDEN}"' if value else '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted_key(key)} = {toml(one)}" for key, one in value.items()) + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in text) + '"'


def quoted_key(key: str) -> str:
    """A key of a table as TOML has it."""
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else toml(key)
