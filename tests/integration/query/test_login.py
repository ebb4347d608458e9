"""Login by OpenID Connect, at a provider of the tests' own that is spoken to over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from query.app import create_app
from query.guards import check_filter
from query.oidc import safe_next
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.book import Book
from storage.access.config import AuthConfig, OidcConfig
from storage.hot import Hot
from storage.sections import Secret

from .conftest import serving

CLIENT, SECRET = "neve", "provider-secret"


class TestProvider:
    """Knows one person. What it does wrong is in `wrong`."""

    __test__ = False

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {"sub": "s-1", "email": "ann@example.com", "groups": ["shop-team"]}
        self.wrong: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.rotate()
        self.app = FastAPI()
        self.app.get("/.well-known/openid-configuration")(self.discovery)
        self.app.get("/authorize")(self.authorize)
        self.app.post("/token")(self.token)
        self.app.get("/jwks")(self.jwks)

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.kid = secrets.token_hex(4)

    def discovery(self) -> dict[str, Any]:
        at = self.issuer
        found = {"issuer": at, "authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token"}
        return {**found, "jwks_uri": f"{at}/jwks", **self.wrong.get("discovery", {})}

    def authorize(self, request: Request) -> dict[str, str]:
        """Who asks is told the code, as a browser would carry it back."""
        asked = dict(request.query_params)
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_hex(8)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "redirect_uri": asked["redirect_uri"]}

    async def token(self, request: Request) -> JSONResponse:
        given = {name: one[0] for name, one in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(given.get("code", ""), None)
        basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        fits = asked is not None and challenge == asked["code_challenge"]
        if (
            not fits
            or request.headers.get("authorization") != basic
            or given["redirect_uri"] != asked["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.claims | self.wrong.get("claims", {})
        claims = {name: value for name, value in claims.items() if value is not None}
        key, algorithm = self.wrong.get("key", self.key), self.wrong.get("algorithm", "RS256")
        return JSONResponse({"id_token": jwt.encode(claims, key, algorithm, headers={"kid": self.kid})})

    def jwks(self) -> dict[str, Any]:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}


class Browser(httpx.Client):
    """Follows a login by hand."""

    def begin(self, provider: TestProvider, next_: str = "/") -> dict[str, str]:
        answer = self.get("/auth/login", params={"next": next_})
        assert answer.status_code == 302, answer.text
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        where = answer.headers["location"]
        assert where.startswith(provider.issuer)
        return dict(httpx.get(where, trust_env=False).json())

    def back(self, given: dict[str, str]) -> httpx.Response:
        return self.get("/auth/callback", params={name: given[name] for name in ("code", "state")})

    def login(self, provider: TestProvider, next_: str = "/") -> httpx.Response:
        return self.back(self.begin(provider, next_))


@pytest.fixture(scope="module")
def provider() -> Iterator[TestProvider]:
    made = TestProvider()
    with serving(made.app) as url:
        made.issuer = url
        yield made


@pytest.fixture
def browser(hot: Hot, namespace: str, provider: TestProvider) -> Iterator[Browser]:
    provider.wrong.clear()
    provider.claims["groups"] = ["shop-team", "nothing to us"]
    roles = {"shop-team": f"role_{namespace}", "sre": "admin", "ghosts": "nobody-made-it"}
    oidc = OidcConfig(provider.issuer, CLIENT, Secret(SECRET), roles=roles)
    book = Book(hot)
    admin = Administration(hot, check_filter=check_filter, changed=book.refresh)
    admin.set_role(f"role_{namespace}", {"filter": "level:info", "namespaces": [namespace]})
    app = create_app(
        hot, default_namespace=namespace, access=Access(AuthConfig(enabled=True, oidc=oidc), book)
    )
    with ExitStack() as stack:
        url = stack.enter_context(serving(app))
        yield stack.enter_context(Browser(base_url=url, trust_env=False, timeout=60))


def ours(browser: Browser) -> dict[str, str]:
    return {"Origin": str(browser.base_url).rstrip("/")}


def test_a_person_logs_in_searches_and_leaves(
    browser: Browser, provider: TestProvider, namespace: str
) -> None:
    assert browser.get("/auth/me").json() == {"enabled": True, "authenticated": False, "login": "/auth/login"}
    assert browser.get("/api/v1/search").status_code == 401
    done = browser.login(provider, "/?q=x")
    assert (done.status_code, done.headers["location"]) == (303, "/?q=x")
    said = browser.get("/auth/me").json()
    assert (said["name"], said["kind"], said["namespaces"]) == ("ann@example.com", "user", [namespace])
    assert browser.get("/api/v1/search").status_code == 200
    assert browser.get("/api/v1/search", params={"namespace": "another"}).status_code == 403
    assert browser.get("/api/v1/keys").status_code == 403
    cookie = browser.cookies["neve_session"]
    assert browser.post("/auth/logout", headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.post("/auth/logout", headers=ours(browser)).status_code == 200
    browser.cookies.set("neve_session", cookie)  # what was copied before is of no use after
    assert browser.get("/api/v1/search").status_code == 401


def test_an_administrator_and_requests_that_others_pages_send(
    browser: Browser, provider: TestProvider
) -> None:
    provider.claims["groups"] = "sre"
    assert browser.login(provider).status_code == 303
    name = f"made_{secrets.token_hex(4)}"
    for headers in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert browser.put(f"/api/v1/roles/{name}", json={}, headers=headers).status_code == 403
    assert browser.put(f"/api/v1/roles/{name}", json={}, headers=ours(browser)).status_code == 200
    assert browser.get("/api/v1/roles").status_code == 200


def test_keys_of_the_provider_change(
    browser: Browser, provider: TestProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("query.oidc.KEYS_SECONDS", 0.0)
    assert browser.login(provider).status_code == 303
    provider.rotate()
    assert browser.login(provider).status_code == 303


OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WRONG: dict[str, dict[str, Any]] = {
    "another key": {"key": OTHER},
    "a shared secret": {"key": "x" * 64, "algorithm": "HS256"},
    "no signature": {"key": None, "algorithm": "none"},
    "another audience": {"claims": {"aud": "someone"}},
    "several audiences": {"claims": {"aud": [CLIENT, "someone"]}},
    "another issuer": {"claims": {"iss": "https://evil.example"}},
    "expired": {"claims": {"exp": 1000}},
    "no end": {"claims": {"exp": None}},
    "another login": {"claims": {"nonce": "x"}},
    "no nonce": {"claims": {"nonce": None}},
    "no subject": {"claims": {"sub": None}},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_tokens_that_cannot_be_trusted(
    browser: Browser, provider: TestProvider, wrong: dict[str, Any]
) -> None:
    provider.wrong.update(wrong)
    answer = browser.login(provider)
    assert answer.status_code == 401, answer.text
    assert "neve_session" not in browser.cookies
    assert SECRET not in answer.text


def test_answers_that_belong_to_no_login(browser: Browser, provider: TestProvider) -> None:
    given = browser.begin(provider)
    assert browser.back({**given, "state": "x"}).status_code == 400
    assert browser.back({**given, "code": "x"}).status_code == 401
    browser.cookies.clear()
    assert browser.back(given).status_code == 400
    browser.cookies.set("neve_login", "WyJhIl0.x")
    assert browser.back(given).status_code == 400
    refused = browser.get("/auth/callback", params={"error": "access_denied", "state": given["state"]})
    assert refused.status_code == 400


@pytest.mark.parametrize("groups", [[], ["nothing to us"], ["ghosts"], 7, None, [["sre"]], {"sre": 1}])
def test_who_has_no_role_gets_nowhere(browser: Browser, provider: TestProvider, groups: Any) -> None:
    provider.claims["groups"] = groups
    assert browser.login(provider).status_code == 403
    assert "neve_session" not in browser.cookies


def test_a_provider_that_says_it_is_another(browser: Browser, provider: TestProvider) -> None:
    provider.wrong["discovery"] = {"issuer": "https://evil.example"}
    assert browser.get("/auth/login").status_code == 503


def test_a_key_is_entered_at_the_page(browser: Browser, hot: Hot, namespace: str) -> None:
    admin = Administration(hot, check_filter=check_filter)
    key = admin.create_key({"scopes": ["search"], "namespaces": [namespace]})["key"]
    writes = admin.create_key({"scopes": ["ingest"]})["key"]
    assert browser.post("/auth/key", json={"key": key}).status_code == 403  # from nowhere
    for wrong, status in (("", 401), ("neve_x", 401), (writes, 403)):
        assert browser.post("/auth/key", json={"key": wrong}, headers=ours(browser)).status_code == status
    done = browser.post("/auth/key", json={"key": key}, headers=ours(browser))
    assert done.status_code == 200
    assert key not in done.text
    assert browser.get("/api/v1/search").status_code == 200


@pytest.mark.parametrize(
    "given",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\r\nx: y"],
)
def test_after_a_login_one_stays_here(given: str) -> None:
    assert safe_next(given) == "/"
    assert urlsplit(safe_next("/pages?q=1")).netloc == ""
