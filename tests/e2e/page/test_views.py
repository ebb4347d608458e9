"""Patterns, Fields, Live and Health say what is."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from bench.browser import CHROMIUM
from bench.server import Server
from query.times import to_rfc3339

from .shop import MINUTE, NAMESPACE, Open, ingest, lines, now, rows, shop, summary
from .watched import said

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]


def test_patterns_say_what_broke(open_page: Open) -> None:
    hour = {"from": to_rfc3339(now() - 60 * MINUTE), "to": to_rfc3339(now())}
    page = open_page({"q": "service:shop", "view": "patterns", **hour})
    shown = page.locator(".pattern")
    expect(shown.first).to_be_visible()
    kinds = {kind: shown.filter(has=page.locator(f".badge.{kind}")) for kind in ("new", "gone")}
    expect(kinds["new"]).to_contain_text("refused")
    expect(kinds["new"].locator(".count")).to_have_text("0 → 150")
    expect(kinds["gone"]).to_contain_text("hello")
    expect(kinds["gone"].locator(".count")).to_have_text("200 → 0")
    assert kinds["new"].locator("svg.sparkline path.now").get_attribute("d")
    page.get_by_role("button", name="never before").click()
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("refused")
    page.get_by_role("button", name="gone").click()
    expect(shown).to_contain_text("hello")
    shown.locator("a.template").click()
    expect(summary(page)).to_have_text("200 events")
    assert "view" not in said(page)


def test_any_two_ranges_are_compared(open_page: Open) -> None:
    """The hour in which the shop greeted, as one that is typed; the patterns are gone through by keys."""
    page = open_page({"q": "service:shop", "view": "patterns", "from": "now-1h"})
    page.get_by_label("Compare with").select_option("range")
    page.get_by_label("from: 2026").fill("now-6h")
    page.get_by_label("from: 2026").press("Enter")
    page.get_by_label("to: 2026").fill(to_rfc3339(now() - 60 * MINUTE))
    page.get_by_label("to: 2026").press("Enter")
    gone = page.locator(".pattern", has=page.locator(".badge.gone"))
    expect(gone.locator(".count")).to_have_text("200 → 0")
    page.locator("#view").focus()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".pattern").nth(1)).to_have_class("pattern current")
    expect(page.locator("a.template").nth(1)).to_be_focused()
    page.reload()
    expect(gone.locator(".count")).to_have_text("200 → 0")


def test_patterns_of_all_logs_count_every_event(open_page: Open, filled: Server) -> None:
    page = open_page({"view": "patterns", "from": "all", "q": "-service:hostile"})
    expect(summary(page)).to_contain_text(f"{16_000 + 11_350:,} events")
    asked = {"namespace": NAMESPACE, "q": "-service:hostile", "limit": 1}
    (largest,) = filled.client.get("/api/v1/patterns", params=asked).json()["patterns"]
    expect(page.locator("a.template").first).to_have_text(largest["template"])
    page.locator(".pattern").first.get_by_role("button", name="All but this pattern").click()
    expect(summary(page)).to_contain_text(f"{16_000 + 11_350 - largest['count']:,} events")


def test_fields_tell_errors_from_the_rest(open_page: Open) -> None:
    page = open_page({"q": "service:shop level:error", "view": "fields"})
    first = page.locator(".differences tbody tr").first
    expect(first.locator("th")).to_have_text("version")
    expect(first.locator(".value")).to_have_text("2.0")
    expect(first.locator(".measure").first).to_have_text("100%")
    expect(page.locator(".allfields li", has_text="trace_id")).to_contain_text("150 · 100%")
    page.get_by_label("Compare the events of the query with").select_option("query")
    page.get_by_label("The other query").fill("service:shop level:debug")
    page.get_by_label("The other query").press("Enter")
    expect(summary(page)).to_have_text("150 events against 200")


def test_live_shows_pauses_marks_and_tells_gaps(open_page: Open, filled: Server) -> None:
    page = open_page({"q": "service:live | stats count()", "view": "live", "mark": "two"})
    expect(page.locator(".live .status")).to_have_text("live, without the pipes")
    told = [{**shop(0, i), "service": "live", "message": f"number {n}"} for i, n in enumerate(("one", "two"))]
    ingest(filled, lines(told))
    expect(rows(page)).to_have_count(2)
    expect(page.locator("mark")).to_have_text("two")
    page.keyboard.press("p")
    ingest(filled, lines([{**told[0], "message": f"while paused {i}"} for i in range(11_000)]))
    expect(page.get_by_role("button", name="Go on")).to_have_text("Go on (11,000)")
    expect(page.locator(".live .rate")).to_contain_text("11,002 events")
    expect(rows(page)).to_have_count(2)
    page.keyboard.press("p")
    gap = page.locator(".gaps li")
    expect(gap).to_contain_text("events left out")
    expect(rows(page).last).to_contain_text("while paused 10999")
    assert page.locator(".events").get_attribute("aria-rowcount") == "5001"
    rows(page).last.click()
    expect(page.locator(".details")).to_contain_text("web-0")


def test_live_begins_with_what_was_before(open_page: Open, filled: Server) -> None:
    earlier = [{**shop(0, i), "service": "before", "message": f"number {i}"} for i in range(60)]
    ingest(filled, lines(earlier))
    page = open_page({"q": "service:before", "view": "live"})
    expect(rows(page).last).to_contain_text("number 59")
    ingest(filled, lines([{**shop(0, 60), "service": "before", "message": "number 60"}]))
    expect(rows(page).last).to_contain_text("number 60")
    grid = page.locator(".events")
    assert int(grid.get_attribute("aria-rowcount") or 0) - 1 >= 51, "the last fifty, and what came"
    grid.press("Home")
    shown = [int(text.split()[-1]) for text in rows(page).locator(".message").all_inner_texts()]
    assert shown == list(range(shown[0], shown[0] + len(shown))), "each once, in order"


def test_live_says_why_it_was_refused(open_page: Open) -> None:
    page = open_page({"q": "service:(", "view": "live"})
    expect(page.locator("#fault")).to_contain_text("line 1")
    expect(page.locator(".live .status")).to_have_text("not connected")


def test_health_says_what_is_kept_where(open_page: Open, filled: Server) -> None:
    while filled.client.get("/gateway/status").json()["spool"]["depth"]:  # of the tests before
        time.sleep(0.05)
    page = open_page({"view": "health"})
    expect(page.locator(".verdict")).to_have_text("All is well")
    sizes = filled.client.get("/gateway/storage").json()["namespaces"]
    (size,) = (one for one in sizes if one["namespace"] == NAMESPACE)
    row = page.locator("tr", has=page.get_by_role("rowheader", name=NAMESPACE, exact=True))
    expect(row).to_contain_text(f"{size['events']:,}")
    expect(row).to_contain_text("after 24 h")
    expect(row).to_contain_text("for ever")
    expect(page.get_by_role("region", name="Coming in")).to_contain_text("events/s")
