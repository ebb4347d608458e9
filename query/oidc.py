"""Login by OpenID Connect: the authorization code flow with PKCE, state and nonce, after OpenID Connect Core 1.0.

What must outlive the way to the provider and back (state, nonce, the PKCE verifier) travels in a cookie of the
browser's that is signed and short-lived; nothing is kept here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt

from query.errors import RequestInvalid, Unavailable
from storage.access.config import OidcConfig
from storage.access.identity import ADMIN
from storage.errors import Forbidden, Unauthenticated

LOGIN_SECONDS = 600
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones alone: a provider's public key must never pass for a shared secret."""
DISCOVERY_SECONDS = 3600.0
KEYS_SECONDS = 10.0  # between two looks for a key that is not known
LEEWAY_SECONDS = 60
ASK_SECONDS = 10.0


@dataclass(frozen=True)
class Journey:
    """One login under way."""

    state: str
    nonce: str
    verifier: str
    next: str
    until: float


@dataclass(frozen=True)
class Person:
    """Who logged in, and the names of the roles that their claims give."""

    name: str
    subject: str
    roles: tuple[str, ...]


class Provider:
    """One provider. Thread-safe; blocks, so not for an event loop. Raises Unavailable where it does not answer."""

    def __init__(self, config: OidcConfig, secret: bytes) -> None:
        """`secret`: signs journeys; the same in every process that a browser may come back to."""
        self._config = config
        self._secret = hashlib.sha256(b"login" + secret).digest()
        self._lock = threading.Lock()
        self._found: dict[str, Any] = {}
        self._found_at = float("-inf")
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = float("-inf")

    def begin(self, redirect: str, next_: str) -> tuple[str, str]:
        """Where to send the browser, and the cookie that it has to bring back."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        way = Journey(state, nonce, verifier, safe_next(next_), time.time() + LOGIN_SECONDS)
        challenge = _base64(hashlib.sha256(way.verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(self._config.scopes),
            "state": way.state,
            "nonce": way.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = str(self._discovered()["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", self._signed(way)

    def finish(self, asked: Mapping[str, str], cookie: str, redirect: str) -> tuple[Person, str]:
        """Who came back, and where to go on. Raises RequestInvalid, Unauthenticated, Forbidden."""
        way = self._opened(cookie)
        if not hmac.compare_digest(way.state.encode(), asked.get("state", "").encode()):
            raise RequestInvalid("cannot log in: this answer belongs to another login", "begin again")
        if asked.get("error"):
            raise Unauthenticated(f"cannot log in: the provider says {asked['error'][:60]!r}", "begin again")
        if asked.get("iss") and asked["iss"] != self._config.issuer:
            raise RequestInvalid("cannot log in: this answer is of another provider", "begin again")
        claims = self._claims(self._token(asked.get("code", ""), way.verifier, redirect), way.nonce)
        return self._person(claims), way.next

    # --- the provider ------------------------------------------------------------------------------------

    def _token(self, code: str, verifier: str, redirect: str) -> str:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        found = self._discovered()
        id_, secret = self._config.client_id, str(self._config.client_secret)
        login: tuple[str, str] | None = None
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if secret and "client_secret_basic" in methods:
            login = (id_, secret)
        else:
            asked |= {"client_id": id_, **({"client_secret": secret} if secret else {})}
        answer = self._ask("POST", str(found["token_endpoint"]), data=asked, auth=login)
        if answer.status_code != 200:
            raise Unauthenticated("cannot log in: the provider does not take the code", "begin again")
        token = _object(answer).get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated("cannot log in: the provider gave no id token", "ask for the scope openid")
        return token

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """What a checked id token says."""
        try:
            head = jwt.get_unverified_header(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(str(head.get("kid", ""))),
                algorithms=list(ALGORITHMS),
                audience=self._config.client_id,
                issuer=self._config.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            what = f"cannot log in: its id token cannot be trusted: {type(error).__name__}"
            raise Unauthenticated(what, "begin again; see the clocks of both servers") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise Unauthenticated("cannot log in: its id token is of another login", "begin again")
        if (
            isinstance(claims["aud"], list)
            and len(claims["aud"]) > 1
            and claims.get("azp") != self._config.client_id
        ):
            raise Unauthenticated("cannot log in: its id token is for another client", "begin again")
        return claims

    def _key(self, kid: str) -> jwt.PyJWK:
        """The key that a token names; providers change theirs, so one that is not known is looked for."""
        with self._lock:
            if kid not in self._keys and time.monotonic() > self._keys_at + KEYS_SECONDS:
                found = _object(self._ask("GET", str(self._discover()["jwks_uri"])))
                self._keys_at = time.monotonic()
                self._keys = {str(one.key_id or ""): one for one in jwt.PyJWKSet.from_dict(found).keys}
            if kid not in self._keys and not (kid == "" and len(self._keys) == 1):
                raise jwt.InvalidKeyError("no such key")
            return self._keys[kid] if kid in self._keys else next(iter(self._keys.values()))

    def _discovered(self) -> dict[str, Any]:
        with self._lock:
            return self._discover()

    def _discover(self) -> dict[str, Any]:
        if time.monotonic() > self._found_at + DISCOVERY_SECONDS:
            issuer = self._config.issuer
            found = _object(self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if found.get("issuer") != issuer or not all(isinstance(found.get(name), str) for name in names):
                raise Unavailable(
                    "cannot log in: the provider is not who auth.oidc.issuer says", "check that key"
                )
            self._found, self._found_at = found, time.monotonic()
        return self._found

    def _ask(self, method: str, url: str, **what: Any) -> httpx.Response:
        try:
            return httpx.request(method, url, timeout=ASK_SECONDS, follow_redirects=False, **what)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"cannot log in: the provider does not answer: {type(error).__name__}"
            ) from None

    # --- people ------------------------------------------------------------------------------------------

    def _person(self, claims: Mapping[str, Any]) -> Person:
        """Raises Forbidden for who has no role."""
        config = self._config
        found = claims.get(config.role_claim, ())
        values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        roles = tuple(
            dict.fromkeys(config.roles[one] for one in values if isinstance(one, str) and one in config.roles)
        )
        if not roles and config.default_role:
            roles = (config.default_role,)
        subject = str(claims["sub"])
        name = str(claims.get(config.name_claim) or subject)
        if not roles:
            raise Forbidden(
                f"cannot log in: {name[:100]} has no role here", "let an administrator give you one"
            )
        return Person("".join(c for c in name if c.isprintable())[:200], subject, roles)

    # --- the cookie --------------------------------------------------------------------------------------

    def _signed(self, way: Journey) -> str:
        said = _base64(json.dumps(list(vars(way).values())).encode())
        return f"{said}.{_base64(hmac.digest(self._secret, said.encode(), 'sha256'))}"

    def _opened(self, cookie: str) -> Journey:
        said, _, signature = cookie.partition(".")
        wanted = _base64(hmac.digest(self._secret, said.encode(), "sha256"))
        if not said or not hmac.compare_digest(wanted.encode(), signature.encode()):
            raise RequestInvalid("cannot log in: this browser did not begin a login", "begin again")
        way = Journey(*json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))))
        if time.time() > way.until:
            raise RequestInvalid("cannot log in: that took too long", "begin again")
        return way


def known_roles(names: Iterable[str], there: Iterable[str]) -> list[str]:
    """Those that there are; `admin` always is."""
    known = {ADMIN, *there}
    return [name for name in names if name in known]


def safe_next(text: str) -> str:
    """A path of ours to go on to, or the page: never another server's."""
    wrong = not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable()
    return "/" if wrong or not text.isascii() else text[:2000]


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable("cannot log in: the provider's answer cannot be read")
    return found


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
