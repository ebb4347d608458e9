"""Who a request is from: the one place that every process of the server asks.

A request that came through the front door says so by a word that only the server's own processes know (`VIA`); then
what the front door says of its client is believed: its address and its certificate. Processes of the server show
another such word to one another (`INSIDE`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, unquote

from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.identity import ANYONE, INGEST, INSIDE, Identity, grant
from storage.access.keys import NOBODY, SESSION, from_authorization, grants_of, hash_of, id_of
from storage.errors import Forbidden, Unauthenticated

INSIDE_HEADER = b"x-neve-inside"
VIA_HEADER = b"x-neve-via"
CERTIFICATE_HEADER = b"x-neve-certificate"
FORWARDED_HEADER = b"x-forwarded-for"
OURS = frozenset((INSIDE_HEADER, VIA_HEADER, CERTIFICATE_HEADER, FORWARDED_HEADER, b"x-forwarded-proto"))
"""Headers that a client does not say: the front door takes them out."""
COOKIE = "neve_session"
LOOKING = 2  # threads that look for keys nobody knows
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Shown:
    """What a request shows of who it is from. `key`: its text."""

    key: str = ""
    by_cookie: bool = False
    certificates: tuple[str, ...] = ()
    address: str = ""
    inside: bool = False


class Access:
    """Recognises requests of one process. Thread-safe."""

    def __init__(self, config: AuthConfig, book: Book | None = None, inside: str = "") -> None:
        """`book`: the keys; None only where nobody is asked. `inside`: the word of this server's processes."""
        assert book is not None or not config.enabled
        self.config = config
        self.book = book
        self._inside = (inside or str(config.inside) or secrets.token_hex(32)).encode()
        self._via = word_of_front(self._inside)
        self._threads = ThreadPoolExecutor(LOOKING, "keys")

    @property
    def enabled(self) -> bool:
        return self.config.enabled

    def inside_headers(self) -> dict[str, str]:
        """What one process of the server shows another."""
        return {INSIDE_HEADER.decode(): self._inside.decode()}

    @property
    def shares_secret(self) -> bool:
        """Is the secret one that servers on other machines have, too? With authentication it has to be."""
        return self.enabled or bool(self.config.inside)

    def secret(self) -> bytes:
        """What this server's processes share, and nobody else knows."""
        return self._inside

    def shown(self, headers: Headers) -> Shown:
        """Read it from headers, or from gRPC's metadata. Raises Unauthenticated where they say it twice."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            low = name.lower()
            if low in (b"authorization", b"x-api-key", *OURS) and low in found:
                raise Unauthenticated(f"cannot tell who asks: {low.decode()} is there twice", "send it once")
            if low == b"cookie" and low in found:  # HTTP/2 clients split it
                value = found[low] + b"; " + value
            found[low] = value
        inside = hmac.compare_digest(found.get(INSIDE_HEADER, b""), self._inside)
        via = hmac.compare_digest(found.get(VIA_HEADER, b""), self._via)
        names = found.get(CERTIFICATE_HEADER, b"").decode("ascii", "replace") if via else ""
        key = from_authorization(_text(found.get(b"authorization"))) or _text(found.get(b"x-api-key")).strip()
        by_cookie = False
        if not key and b"cookie" in found:
            key = _cookie(_text(found[b"cookie"]))
            by_cookie = bool(key)
        return Shown(
            key,
            by_cookie,
            tuple(unquote(one) for one in names.split(",") if one),
            _text(found.get(FORWARDED_HEADER)) if via or not self.enabled else "",
            inside,
        )

    async def identified(self, shown: Shown) -> Identity:
        """The same for an event loop: what takes time is done in a few threads that are for nothing else."""
        if self.known_at_once(shown):
            return self.identify(shown)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.identify, shown)

    def identify(self, shown: Shown) -> Identity:
        """Who it is. May ask ClickHouse, so not for an event loop. Raises Unauthenticated, StorageUnavailable."""
        if not self.enabled:
            return ANYONE
        if shown.inside:
            return INSIDE
        if shown.key:
            return self._by_key(shown)
        for name in shown.certificates:
            if name in self.config.certificates:
                namespaces = self.config.certificates[name].namespaces
                return Identity(name, "certificate", (grant({INGEST}, namespaces),))
        if shown.certificates:
            raise Forbidden(
                "cannot use this certificate: nothing is said of it", "name it in [auth.certificates]"
            )
        raise Unauthenticated("cannot tell who asks: no key")

    def _by_key(self, shown: Shown) -> Identity:
        assert self.book is not None
        id_ = id_of(shown.key)
        key = self.book.key(id_) if id_ else None
        # Compared in any case, so that the time says nothing.
        fits = key.fits(shown.key) if key is not None else hmac.compare_digest(NOBODY, hash_of(shown.key))
        if key is None or not fits or not key.is_valid(time.time()):
            raise Unauthenticated("cannot use this key: it is unknown, revoked or expired", "make a new one")
        grants = grants_of(key, self.book.known.roles)
        self.book.used(key.id)
        kind = "user" if key.kind == SESSION else "key"
        return Identity(key.name or key.id, kind, grants, key=key.id, by_cookie=shown.by_cookie)

    def known_at_once(self, shown: Shown) -> bool:
        """Can `identify` answer without asking ClickHouse?"""
        if not self.enabled or shown.inside or not shown.key:
            return True
        assert self.book is not None
        id_ = id_of(shown.key)
        return not id_ or id_ in self.book.known.keys


def word_of_front(inside: bytes) -> bytes:
    """What the front door shows; it is another word, since what it passes on is not the server's own."""
    return hmac.new(inside, b"front door", hashlib.sha256).hexdigest().encode()


def front_headers(
    inside: str, address: str, certificates: Iterable[str], scheme: str
) -> list[tuple[bytes, bytes]]:
    """What the front door says of a client."""
    said = [(FORWARDED_HEADER, address.encode()), (b"x-forwarded-proto", scheme.encode())]
    said.append((VIA_HEADER, word_of_front(inside.encode())))
    names = ",".join(quote(name, safe="") for name in certificates)
    return [*said, (CERTIFICATE_HEADER, names.encode())] if names else said


def as_metadata(metadata: Mapping[str, str | bytes]) -> list[tuple[bytes, bytes]]:
    """gRPC's metadata as headers."""
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in metadata.items()
    ]


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""
