"""Roles: what people and keys of one kind may, and which events exist for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.access.identity import ADMIN, SCOPES, SEARCH, Grant, grant
from storage.errors import KeyInvalid
from storage.schema import NAMESPACE

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}", re.ASCII)


@dataclass(frozen=True)
class Role:
    """`filter`: a query, always added to what they ask; empty: every event. `namespaces`: none is all of them."""

    name: str
    filter: str = ""
    namespaces: tuple[str, ...] = ()
    scopes: tuple[str, ...] = (SEARCH,)

    def grant(self) -> Grant:
        """What a person with this role may; a key says its scopes and namespaces itself."""
        return grant(self.scopes, self.namespaces, self.filter)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "filter": self.filter,
            "namespaces": list(self.namespaces) or None,
            "scopes": list(self.scopes),
        }

    @classmethod
    def read(cls, name: str, said: Mapping[str, Any]) -> Role:
        """What `to_json` gave."""
        return cls(name, said["filter"], tuple(said["namespaces"] or ()), tuple(said["scopes"]))


def checked(role: Role) -> Role:
    """Raises KeyInvalid for what no role can be; whether its filter can be read is for who knows the language."""
    if not NAME.fullmatch(role.name) or role.name == ADMIN:
        raise KeyInvalid(
            f"cannot use name of a role: {role.name[:60]!r}", "use a-z, 0-9, _ . -, a letter first"
        )
    if not role.scopes or not set(role.scopes) <= set(SCOPES):
        raise KeyInvalid(f"cannot use scopes of role {role.name}", f"use {', '.join(SCOPES)}")
    if ADMIN in role.scopes and (role.filter or role.namespaces):
        raise KeyInvalid("cannot bound a role of administrators", "leave out filter and namespaces")
    for one in role.namespaces:
        if not NAMESPACE.fullmatch(one):
            raise KeyInvalid(f"cannot use namespace name: {one[:60]!r}", "use a-z, 0-9 and _, a letter first")
    return role
