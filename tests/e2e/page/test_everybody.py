"""The page is for everybody: by keys, narrow, in both themes, and with a word where something is missing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bench.browser import CHROMIUM
from bench.server import Server

from .shop import Open, rows
from .watched import says, shuts_nobody_out

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]

VIEWS = ("explore", "patterns", "live", "fields", "saved", "alerts", "health")


def test_keys_go_everywhere_and_can_be_turned_off(open_page: Open) -> None:
    page = open_page({"q": "service:shop"})
    expect(rows(page).first).to_be_visible()
    for i, view in enumerate(VIEWS, 1):
        page.keyboard.press(str(i))
        expect(page.locator("body")).to_have_attribute("data-view", view)
    page.keyboard.press("1")
    page.keyboard.press("/")
    expect(page.get_by_role("combobox", name="Query")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_label("single keys act").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("2")
    page.keyboard.press("/")
    expect(page.locator("body")).to_have_attribute("data-view", "explore")
    expect(page.get_by_role("combobox", name="Query")).not_to_be_focused()


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "alerts"])  # test_alerts.py has these
def test_nobody_is_shut_out(open_page: Open, view: str) -> None:
    """axe finds no serious fault, wide in light and narrow in dark; at 360 px nothing is wider than the screen."""
    page = open_page({"q": "service:shop level:>=error", "view": view, "from": "now-1h"})
    expect(page.locator("#view > *")).to_have_count(1)
    expect(page.locator(".asking")).to_have_count(0)
    if view == "explore":
        rows(page).first.click()
        expect(page.locator(".details")).to_be_visible()
    shuts_nobody_out(page)


def test_light_or_dark_is_remembered(open_page: Open) -> None:
    page = open_page({"view": "health"})
    back = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(back)
    page.get_by_role("button", name="Light or dark").click()
    after = page.evaluate(back)
    assert after != before
    page.reload()
    assert page.evaluate(back) == after


def test_another_namespace_is_chosen(open_page: Open, filled: Server) -> None:
    filled.client.post("/api/v1/ingest?namespace=elsewhere", content=b"a line of another namespace")
    filled.wait_for("line", 1, namespace="elsewhere")
    page = open_page({"q": "line"})
    page.get_by_label("Namespace").select_option("elsewhere")
    expect(page.locator(".row")).to_contain_text(["a line of another namespace"])
    says(page, {"namespace": "elsewhere"})


def test_who_is_not_signed_in_is_told_so(open_page: Open) -> None:
    page = open_page()
    refused = {"error": {"code": "unauthorized", "message": "no key", "hint": ""}}
    page.route("**/api/v1/**", lambda route: route.fulfill(status=401, json=refused))
    page.reload()
    expect(page.locator("#fault")).to_contain_text("you are not signed in")


@pytest.mark.parametrize(
    ("view", "silent", "place", "told"),
    [
        ("7", "**/gateway/storage", ".troubles", "storage: no answer for"),
        ("6", "**/api/v1/alerts/state*", "main", "no answer for"),
    ],
)
def test_what_does_not_answer_is_told(open_page: Open, view: str, silent: str, place: str, told: str) -> None:
    """A part that hangs is no part that is well; what else there is is shown."""
    page = open_page({"q": "service:shop level:error"})
    expect(rows(page).first).to_be_visible()
    page.clock.install()
    page.route(silent, lambda _: None)
    with page.expect_request(silent):
        page.keyboard.press(view)
    for _ in range(3):
        page.clock.run_for(4000)
    expect(page.locator(place)).to_contain_text(told)
    if view == "7":
        expect(page.locator(".verdict")).to_have_text("Something needs looking at")
        expect(page.get_by_role("region", name="Coming in")).to_be_visible()
