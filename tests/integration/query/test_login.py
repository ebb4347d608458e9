"""Login by OpenID Connect, at a provider of the tests' own that is spoken to over real HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from query.app import create_app
from query.guards import check_filter
from query.oidc import safe_next
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.book import Book
from storage.access.config import AuthConfig, OidcConfig
from storage.hot import Hot
from storage.sections import Secret
from tests.provider import CLIENT, SECRET, Browser, TestProvider

from .conftest import serving


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
        yield stack.enter_context(Browser(base_url=url, trust_env=False, timeout=240))


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
