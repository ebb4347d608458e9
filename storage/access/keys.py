"""API keys: what they look like, what is kept of them, and how one is recognised.

    neve_<12 letters and digits>_<43 of base64url, 256 bits>

The first part is the key's id, by which people and logs know it; the rest is shown once and kept as a SHA-256 hash. A
slow hash is for secrets that people choose, which can be guessed; nobody guesses 256 random bits, and a slow hash would
cost every request what it costs an attacker.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.access.identity import ADMIN, INGEST, SCOPES, SEARCH, Grant, grant
from storage.access.roles import Role
from storage.errors import Forbidden, KeyInvalid
from storage.schema import NAMESPACE

KEY = re.compile(r"neve_([a-z0-9]{12})_[A-Za-z0-9_-]{43}", re.ASCII)
ID_LENGTH, SECRET_BYTES = 12, 32
LETTERS = string.ascii_lowercase + string.digits
NOBODY = hashlib.sha256(b"").hexdigest()
SESSION = "session"


@dataclass(frozen=True)
class Key:
    """What is kept of a key. Times are seconds since 1970; 0: never.

    `kind`: key, or session for a login at the page, which has one or more roles with commas between them, and no scopes
    of its own. `events_per_second`, `bytes_per_second`: what may be sent with it, through each gateway; 0: no limit.
    """

    id: str
    hash: str = field(repr=False)
    name: str = ""
    scopes: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()  # empty: all
    role: str = ""
    created_at: int = 0
    expires_at: int = 0
    revoked_at: int = 0
    kind: str = "key"
    events_per_second: int = 0
    bytes_per_second: int = 0

    def fits(self, text: str) -> bool:
        """Is this the key? In a time that says nothing."""
        return hmac.compare_digest(self.hash, hash_of(text))

    def is_valid(self, now: float) -> bool:
        return not self.revoked_at and (not self.expires_at or now < self.expires_at)

    def to_json(self) -> dict[str, Any]:
        """As listings show it: nothing that helps to use it."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "scopes": list(self.scopes),
            "namespaces": list(self.namespaces) or None,
            "role": self.role or None,
            "created_at": self.created_at,
            "expires_at": self.expires_at or None,
            "revoked_at": self.revoked_at or None,
            "events_per_second": self.events_per_second or None,
            "bytes_per_second": self.bytes_per_second or None,
        }

    def kept(self) -> dict[str, Any]:
        """Everything, as it is stored."""
        return {**self.to_json(), "hash": self.hash}

    @classmethod
    def read(cls, said: dict[str, Any]) -> Key:
        """What `kept` gave."""
        return cls(
            said["id"], said["hash"], said["name"], tuple(said["scopes"]), tuple(said["namespaces"] or ()),
            said["role"] or "", said["created_at"], said["expires_at"] or 0, said["revoked_at"] or 0, said["kind"],
            said.get("events_per_second") or 0, said.get("bytes_per_second") or 0,
        )  # fmt: skip


def new_key(
    scopes: Iterable[str],
    namespaces: Iterable[str] = (),
    *,
    role: str = "",
    name: str = "",
    seconds: float = 0,
    events_per_second: int = 0,
    bytes_per_second: int = 0,
) -> tuple[Key, str]:
    """A new key, and its text, which is nowhere else. `seconds`: until it expires; 0: never; the rates as Key has them.
    Raises KeyInvalid."""
    chosen, named = tuple(dict.fromkeys(scopes)), tuple(dict.fromkeys(namespaces))
    check(chosen, named, role, name)
    if (events_per_second or bytes_per_second) and INGEST not in chosen:
        raise KeyInvalid("cannot limit the rate of a key that does not send", f"add the scope {INGEST}")
    key = Key("", "", name, chosen, named, role)
    return _made(
        replace(key, events_per_second=events_per_second, bytes_per_second=bytes_per_second), seconds
    )


def new_session(name: str, roles: Iterable[str], seconds: float) -> tuple[Key, str]:
    """The key of a login at the page."""
    return _made(Key("", "", name[:200], role=",".join(roles), kind=SESSION), seconds)


def _made(key: Key, seconds: float) -> tuple[Key, str]:
    id_ = "".join(secrets.choice(LETTERS) for _ in range(ID_LENGTH))
    text = f"neve_{id_}_{secrets.token_urlsafe(SECRET_BYTES)}"
    now = int(time.time())
    expires = int(now + seconds) if seconds else 0
    return replace(key, id=id_, hash=hash_of(text), created_at=now, expires_at=expires), text


def check(scopes: tuple[str, ...], namespaces: tuple[str, ...], role: str, name: str) -> None:
    """Raises KeyInvalid for what no key can be."""
    if not scopes or not set(scopes) <= set(SCOPES):
        raise KeyInvalid(
            f"cannot make key with scopes {', '.join(scopes)[:60]!r}", f"use {', '.join(SCOPES)}"
        )
    if ADMIN in scopes and (namespaces or role):
        raise KeyInvalid("cannot bound an admin key", "leave out namespaces and role, or give another scope")
    if role and SEARCH not in scopes:
        raise KeyInvalid(
            f"cannot give role {role[:60]!r} to a key that does not search", f"add the scope {SEARCH}"
        )
    for one in namespaces:
        if not NAMESPACE.fullmatch(one):
            raise KeyInvalid(f"cannot use namespace name: {one[:60]!r}", "use a-z, 0-9 and _, a letter first")
    if len(name) > 200 or not all(c.isprintable() for c in name):
        raise KeyInvalid("cannot use this name for a key", "give up to 200 printable characters")


def grants_of(key: Key, roles: Mapping[str, Role]) -> tuple[Grant, ...]:
    """What a key may now. Raises Forbidden where its role is no more."""
    if key.kind == SESSION:
        names = key.role.split(",")
        administrator = (grant({ADMIN}),) if ADMIN in names else ()
        return (*administrator, *(roles[name].grant() for name in names if name in roles))
    if not key.role:
        return (grant(key.scopes, key.namespaces),)
    if key.role not in roles:
        raise Forbidden(f"cannot use this key: its role {key.role!r} is no more", "make a new one")
    others = set(key.scopes) - {SEARCH}
    rest = (grant(others, key.namespaces),) if others else ()
    return (grant({SEARCH}, key.namespaces, roles[key.role].filter), *rest)


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(text: str) -> str:
    """The id in a key's text; empty where it is no key."""
    found = KEY.fullmatch(text)
    return found[1] if found else ""


def from_authorization(value: str) -> str:
    """The key in an Authorization header, of whatever scheme; empty where there is none.

    Bearer and Splunk carry it as it is, Basic as the password, ApiKey (Elasticsearch's) as base64 of `id:key`.
    """
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    match scheme.lower():
        case "bearer" | "splunk" | "token":
            return rest
        case "basic":
            return _decoded(rest).partition(":")[2]
        case "apikey":
            return _of_pair(_decoded(rest) or rest)
    return ""


def _of_pair(text: str) -> str:
    """`id:key` where the key may be whole, or its last part alone."""
    id_, colon, rest = text.partition(":")
    if not colon or KEY.fullmatch(rest):
        return rest or text
    return f"neve_{id_}_{rest}"


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (ValueError, binascii.Error):
        return ""
