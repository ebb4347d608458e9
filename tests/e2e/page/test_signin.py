"""Whoever is not known gives a key to the page, sees what it may see, and signs out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from bench.browser import CHROMIUM
from tests.e2e.guarded import Guarded, patiently

from .watched import Watched, says

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")


def test_a_key_opens_the_page(tmp_path: Path, browser: Browser) -> None:
    with Guarded(tmp_path) as server:
        ingest = server.key("--scope", "ingest", "--namespace", "tenant_a")
        assert server.send(ingest, "", {"msg": "alpha is here"}).status_code == 200
        data = ("--data", str(server.folder / "data"))
        assert server.neve("roles", "set", "viewer", "--filter", "alpha", *data).returncode == 0
        key = server.key("--scope", "search", "--namespace", "tenant_a", "--role", "viewer")
        with server.with_key(key) as client:
            patiently(lambda: client.get("/api/v1/search").json().get("events") or None)
            state = {"q": "alpha", "from": "now-1h", "namespace": "tenant_a", "wrap": "1"}
            link = client.post("/api/v1/links", json={"state": state}).json()["path"]
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        watched = Watched(page, server.url)
        page.goto(f"{server.url}{link}")
        dialog = page.get_by_role("dialog", name="Sign in")
        dialog.get_by_label("Key").fill(f"{key[:-4]}AAAA")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog.get_by_role("alert")).to_have_text("this key is unknown, revoked or expired")
        dialog.get_by_label("Key").fill(key)
        dialog.get_by_role("button", name="Sign in").click()
        expect(page.locator("mark")).to_have_text("alpha")
        says(page, state)  # what the short link led to
        expect(page.locator(".summary strong")).to_have_text("1 event")
        expect(page.locator(".summary .cost")).not_to_contain_text(
            "rows"
        )  # it would tell of what they may not see
        expect(dialog).to_have_count(0)
        page.get_by_role("link", name="Health").click()
        expect(page.locator(".verdict")).to_have_text("How the server is, those who look after it may see")
        expect(page.locator(".troubles")).to_contain_text("it needs a key of scope admin")
        assert key not in str(page.evaluate("[document.cookie, JSON.stringify(localStorage)]"))
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        assert watched.wrong == []
