"""Alerts on the page: made of what is looked at, and looked after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from bench.browser import CHROMIUM
from bench.server import Server

from .shop import NAMESPACE, Open, rows, summary
from .watched import says, shuts_nobody_out

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]


@pytest.fixture(autouse=True)
def nothing_kept(filled: Server) -> Iterator[None]:
    """What a test makes goes with it."""
    yield
    for kind in ("alerts", "saved"):
        for one in filled.client.get(f"/api/v1/{kind}", params={"namespace": NAMESPACE}).json()[kind]:
            filled.client.delete(f"/api/v1/{kind}/{one['id']}").raise_for_status()


def alert(page: Page) -> Locator:
    return (
        page.get_by_role("list", name="Alerts")
        .get_by_role("listitem")
        .filter(has=page.locator("button.name"))
    )


def form(page: Page) -> Locator:
    return page.get_by_role("form")


def test_an_alert_is_made_of_the_query_and_looked_after(open_page: Open) -> None:
    page = open_page({"q": "service:shop level:error"})
    expect(rows(page).first).to_be_visible()
    page.get_by_role("link", name="Alert", exact=True).click()
    new = form(page)
    expect(new.get_by_label("Name")).to_be_focused()
    new.get_by_label("Name").fill("<b>shop</b> fails")
    expect(new.get_by_label("Query")).to_have_value("service:shop level:error")
    new.get_by_label("Threshold").fill("20")
    new.get_by_label("Window").fill("2h")
    new.get_by_label("By field").fill("version")
    expect(new).to_contain_text("In the last 2h: 150 of 2.0")
    new.get_by_text("More", exact=True).click()
    new.get_by_label("Looks every").fill("10s")
    new.get_by_label("Delay").fill("0s")
    new.get_by_role("button", name="Make").click()
    expect(new).to_have_count(0)
    made = alert(page)
    expect(made.locator(".line .state").first).to_have_text("firing")
    expect(made.locator(".value")).to_have_text("150 > 20 2.0")
    expect(made).to_contain_text("more than 20 events of one version in 2h · service:shop level:error")
    expect(made.get_by_role("button", name="<b>shop</b> fails", exact=True)).to_have_attribute(
        "aria-expanded", "true"
    )
    expect(made.get_by_role("region", name="Groups").locator("tbody tr")).to_contain_text(
        ["2.0firing150 > 20"]
    )
    expect(made).to_contain_text("It has no webhooks")
    shuts_nobody_out(page)
    made.get_by_role("button", name="Test", exact=True).click()
    expect(made).to_contain_text("Tested: it would be firing.")
    made.get_by_label("Mute for").select_option("1h")
    made.get_by_label("Why it is muted").fill("it is known")
    made.get_by_label("Why it is muted").press("Enter")
    expect(made).to_contain_text("muted until")
    made.get_by_role("button", name="Unmute").click()
    expect(made).not_to_contain_text("muted until")
    made.get_by_role("link", name="Events of its window").click()
    expect(summary(page)).to_have_text("150 events")
    page.go_back()
    made.get_by_role("button", name="Pause").click()
    expect(made.locator(".line .state").first).to_have_text("paused")
    page.get_by_role("button", name="firing").click()
    expect(page.locator("#view")).to_contain_text("No alert is firing.")
    page.get_by_role("button", name="paused").click()
    made.get_by_role("button", name="Delete", exact=True).click()
    made.get_by_role("button", name="Delete for good?").click()
    expect(page.locator("#view")).to_contain_text("There are no alerts in this namespace.")


def test_an_alert_is_changed_and_says_what_webhooks_answered(open_page: Open, filled: Server) -> None:
    asked = {
        "name": "new shapes", "namespace": NAMESPACE, "query": "service:shop", "kind": "count", "every": "1h",
        "repeat": "3h", "threshold": 1e6, "webhooks": [{"url": "http://127.0.0.1:9/secret", "secret": "s"}],
    }  # fmt: skip
    filled.client.post("/api/v1/alerts", json=asked).raise_for_status()
    page = open_page({"view": "alerts"})
    made = alert(page)
    expect(made).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    made.get_by_role("button", name="Test", exact=True).click()
    expect(made.get_by_role("region", name="Deliveries")).to_contain_text(
        "failed, nothing is sent to 127.0.0.1"
    )
    expect(made).not_to_contain_text("secret")
    made.get_by_role("link", name="Edit").click()
    expect(form(page).get_by_label("Address of the webhook")).to_have_value("http://127.0.0.1:9/\u2026")
    form(page).get_by_label("It waits for").select_option("silence")
    expect(form(page).get_by_label("Threshold")).to_be_hidden()
    form(page).get_by_label("Window").fill("a while")
    form(page).get_by_role("button", name="Change").click()
    expect(form(page).get_by_role("alert")).to_contain_text("cannot use 'window'")
    form(page).get_by_role("button", name="Change").hover()
    shuts_nobody_out(page)
    form(page).get_by_label("Window").fill("10m")
    form(page).get_by_label("Labels").fill("severity=page, team=shop, till, door")
    form(page).get_by_label("Looks every").fill("")
    form(page).get_by_label("Tells again after").fill("")
    form(page).get_by_role("button", name="Change").click()
    expect(made).to_contain_text("no event for 10m · service:shop")
    (kept,) = filled.client.get("/api/v1/alerts", params={"namespace": NAMESPACE}).json()["alerts"]
    assert kept["labels"] == {"severity": "page", "team": "shop, till, door"}
    assert (kept["every"], kept["repeat"]) == ("1m", "4h")
    assert kept["webhooks"][0]["signed"]
    says(page, {"open": kept["id"]})


def test_an_alert_stands_on_a_saved_search(open_page: Open, filled: Server) -> None:
    asked = {"namespace": NAMESPACE, "name": "Refused", "query": "refused", "from": "now-2h"}
    filled.client.post("/api/v1/saved", json=asked).raise_for_status()
    page = open_page({"view": "saved"})
    page.get_by_role("link", name="Alert", exact=True).click()
    expect(form(page).get_by_label("Name")).to_have_value("Refused")
    expect(form(page).get_by_label("Query")).to_be_hidden()
    form(page).get_by_label("It waits for").select_option("new_pattern")
    form(page).get_by_role("button", name="Make").click()
    expect(alert(page)).to_contain_text("a pattern that never was before, in the last 5m · refused")
    page.keyboard.press("5")
    expect(page.get_by_role("link", name="1 alert")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good?").click()
    expect(page.get_by_role("alert").filter(has_text="alerts stand on it")).to_be_visible()
    page.get_by_role("link", name="1 alert").click()
    expect(alert(page)).to_have_count(1)
