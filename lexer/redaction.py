"""What is masked before anything is stored: which classes, under which names of keys, and by which configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lexer import REDACTION_CLASSES, Redaction
from lexer.errors import RedactionInvalid

DEFAULT_KEYS = (
    "password", "passwd", "pwd", "passphrase", "secret", "client_secret", "token", "access_token", "refresh_token",
    "id_token", "auth_token", "session_token", "api_key", "access_key", "secret_key", "secret_access_key",
    "private_key", "account_key", "authorization", "proxy_authorization", "x_api_key", "x_auth_token", "cookie",
    "set_cookie", "session_id", "credentials", "connection_string",
)  # fmt: skip
"""Names whose values are secrets, in any case; `_`, `-` and `.` make no difference, and what stands before either."""
KEYS = "keys"
"""Names the values of DEFAULT_KEYS among the classes."""
SECRETS = ("card", "token", "aws-key", "private-key", "url-credentials", KEYS)
"""Classes that `secrets` stands for: what opens a door."""
ALL = (*REDACTION_CLASSES, KEYS)
MIN_HASH_KEY, MAX_HASH_KEY = 16, 64


@dataclass(frozen=True)
class RedactionConfig:
    """`classes`: of `REDACTION_CLASSES`, `keys` (the values of DEFAULT_KEYS), `secrets`, `all`. `keys`: more names.
    `hash_key`: a file of 16 to 64 bytes; masks then show a keyed hash, by which equal values stay joinable."""

    classes: tuple[str, ...] = ()  # what is masked: classes, `secrets` or `all` (docs/redaction.md)
    keys: tuple[str, ...] = ()  # more names whose values are masked
    hash_key: str = ""  # a file of 16 to 64 bytes: masks then show a keyed hash of what they hide

    @property
    def on(self) -> bool:
        return bool(self.classes or self.keys)

    def policy(self) -> Redaction | None:
        """What it comes to; None where nothing is redacted. Raises RedactionInvalid."""
        if not self.on:
            if self.hash_key:
                raise RedactionInvalid("cannot hash what is not redacted", "name classes or keys to redact")
            return None
        classes = expand(self.classes)
        keys = (*self.keys, *(DEFAULT_KEYS if KEYS in classes else ()))
        try:
            return Redaction(tuple(one for one in classes if one != KEYS), keys, read_hash_key(self.hash_key))
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            raise RedactionInvalid(message, hint) from None


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Classes, with what `all` and `secrets` stand for. Raises RedactionInvalid for an unknown one."""
    found: set[str] = set()
    for name in names:
        known = {"all": ALL, "secrets": SECRETS}.get(name, (name,))
        if not set(known) <= set(ALL):
            raise RedactionInvalid(
                f"cannot redact class {name!r}", f"choose from {', '.join(ALL)}, secrets, all"
            )
        found.update(known)
    return tuple(one for one in ALL if one in found)


def read_hash_key(path: str) -> bytes:
    """The key in a file, without white space around it; empty without a path. Raises RedactionInvalid."""
    if not path:
        return b""
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RedactionInvalid(
            f"cannot read hash key {path}: {reason}", "give a file of random bytes"
        ) from None
    if not MIN_HASH_KEY <= len(key) <= MAX_HASH_KEY:
        raise RedactionInvalid(
            f"cannot use hash key {path}: it has {len(key)} bytes",
            f"give {MIN_HASH_KEY} to {MAX_HASH_KEY}, as `openssl rand -hex 32` makes",
        )
    return key
