"""Searches that are saved, and short links, by whoever uses the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from bench.browser import CHROMIUM
from bench.server import Server

from .shop import NAMESPACE, Open, copied, rows, summary
from .watched import said, says

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]
STATE = {"q": "service:shop level:error", "view": "patterns", "from": "now-6h", "compare": "1d"}


@pytest.fixture
def nothing_saved(filled: Server) -> Iterator[Server]:
    """The server; what a test saves there goes with it."""
    yield filled
    for one in filled.client.get("/api/v1/saved", params={"namespace": NAMESPACE}).json()["saved"]:
        filled.client.delete(f"/api/v1/saved/{one['id']}").raise_for_status()


def save(page: Page, name: str) -> None:
    page.get_by_role("button", name="Save this search").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.usefixtures("nothing_saved")
def test_a_search_is_saved_opened_renamed_and_deleted(open_page: Open) -> None:
    page = open_page(STATE)
    expect(page.locator(".pattern").first).to_be_visible()
    save(page, "<b>Errors</b> of the shop")
    page.keyboard.press("5")
    row = page.get_by_role("list", name="Saved searches").get_by_role("listitem")
    expect(row).to_contain_text("service:shop level:error")
    expect(row).to_contain_text("patterns · last 6 hours")
    name = row.locator("a.name")
    expect(name).to_have_text("<b>Errors</b> of the shop")
    page.keyboard.press("j")
    expect(name).to_be_focused()
    page.keyboard.press("Enter")
    says(page, {**STATE, "namespace": NAMESPACE})
    expect(page.locator(".pattern").first).to_be_visible()
    page.keyboard.press("5")
    row.get_by_role("button", name="Rename").click()
    row.get_by_label("New name").fill("Shop")
    row.get_by_label("New name").press("Enter")
    expect(name).to_have_text("Shop")
    page.get_by_label("Find a saved search").fill("nothing of this")
    expect(row).to_have_text("No such search.")
    page.get_by_label("Find a saved search").fill("SHOP")
    row.get_by_role("button", name="Delete").click()
    row.get_by_role("button", name="Delete for good?").click()
    expect(page.locator("#view")).to_contain_text("No search is saved in this namespace")


def test_a_saved_search_is_changed_and_faults_are_told(open_page: Open, nothing_saved: Server) -> None:
    page = open_page({"q": "refused"})
    expect(rows(page).first).to_be_visible()
    save(page, "Refused")
    page.get_by_role("combobox", name="Query").fill("level:error")
    page.keyboard.press("Enter")
    expect(summary(page)).to_have_text("150 events")
    page.get_by_role("button", name="Save this search").click()
    dialog = page.get_by_role("dialog", name="Save this search")
    dialog.get_by_role("button", name="Change Refused").click()
    expect(dialog).to_have_count(0)
    (saved,) = nothing_saved.client.get("/api/v1/saved", params={"namespace": NAMESPACE}).json()["saved"]
    assert (saved["name"], saved["query"], saved["from"]) == ("Refused", "level:error", "now-6h")
    page.get_by_role("combobox", name="Query").fill("level:>=loud")
    page.keyboard.press("Enter")
    expect(page.locator("#fault")).to_be_visible()
    page.get_by_role("button", name="Save this search").click()
    dialog.get_by_label("Name", exact=True).fill("Loud")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("there is no level 'loud'")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_short_link_leads_to_the_same_state(open_page: Open) -> None:
    page = open_page({"q": "service:shop level:error", "from": "now-6h", "wrap": "1"})
    expect(summary(page)).to_have_text("150 events")
    rows(page).nth(1).click()
    page.get_by_role("button", name="JSON", exact=True).click()
    page.locator("#share").focus()
    page.keyboard.press("Enter")
    menu = page.get_by_role("dialog", name="Share a short link")
    moving = copied(page, menu.get_by_role("button", name="Link that moves on: last 6 hours"))
    expect(page.locator("#said")).to_have_text("short link copied")
    expect(menu.get_by_label("The link")).to_have_value(moving)
    menu.get_by_label("keep for good").check()
    expect(menu).to_contain_text("does not end")
    fixed = copied(page, menu.get_by_role("button", name="Link to the range as it is now"))
    expect(menu.get_by_label("The link")).to_have_value(fixed)
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(page.locator("#share")).to_be_focused()
    for link in (moving, fixed):
        assert len(link.rsplit("/s/", 1)[1]) == 10
        other = page.context.new_page()
        other.goto(link)
        expect(other.locator(".details pre")).to_contain_text('"level": "error"')
        expect(summary(other)).to_have_text("150 events")
        state = said(other)
        assert (state["q"], state["wrap"], state["open"]) == (
            "service:shop level:error",
            "1",
            said(page)["open"],
        )
        assert (state["from"] == "now-6h") == (link == moving)
        other.close()


def test_a_short_link_that_is_unknown_says_so(open_page: Open, filled: Server) -> None:
    page = open_page()
    page.goto(f"{filled.url}/s/aaaaaaaaaa")
    expect(page.locator("#view")).to_contain_text("This short link is unknown, or has ended.")
    page.get_by_role("link", name="Begin anew").click()
    expect(page.locator("#view")).not_to_contain_text("unknown")
