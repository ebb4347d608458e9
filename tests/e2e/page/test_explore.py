"""Explore: what a query finds, asked for, looked at, narrowed, kept."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Route, expect

from bench.browser import CHROMIUM
from bench.server import Server
from query.times import to_rfc3339
from tests.e2e.guarded import patiently

from .shop import (
    HOSTILE,
    MINUTE,
    NAMESPACE,
    TRACE,
    Open,
    ask,
    copied,
    count,
    ingest,
    lines,
    now,
    offered,
    rows,
    search,
    shop,
    summary,
)
from .watched import said, says

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]


def test_every_event_of_a_query_is_counted(open_page: Open, filled: Server) -> None:
    page = open_page({"from": "all"})
    for query in (
        "service:OpenStack 404",
        "service:BGL level:>=error",
        'service:Spark "Registered signal"',
        "paid",
    ):
        ask(page, query)
        found = count(filled, query)
        expect(summary(page)).to_have_text(f"{found:,} event{'' if found == 1 else 's'}")
        newest = search(filled, query, limit=1)["events"][0]
        expect(rows(page).first).to_contain_text(newest["message"][:40])
        says(page, {"q": query})


def test_names_and_values_are_completed(open_page: Open) -> None:
    page = open_page({"from": "all"})
    box = page.get_by_role("combobox", name="Query")
    box.press_sequentially("serv")
    expect(offered(page, "service")).to_be_visible()
    box.press("Tab")
    expect(box).to_have_value("service:")
    expect(offered(page, "OpenStack")).to_be_visible()
    box.press_sequentially("Open")
    expect(offered(page)).to_have_count(1)
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "suggestion-0")
    box.press("Enter")
    expect(box).to_have_value("service:OpenStack ")
    box.press_sequentially("| sta")
    expect(offered(page, "stats count() by")).to_be_visible()
    box.press("Escape")
    expect(offered(page)).to_have_count(0)
    expect(page.locator("#colours .field")).to_have_text("service:")
    expect(page.locator("#colours .pipe")).to_have_text("|")


def test_an_error_is_underlined_where_it_is(open_page: Open) -> None:
    page = open_page()
    ask(page, "service:shop level:>=loud")
    expect(page.locator("#fault")).to_contain_text("column 14")
    expect(page.locator("#colours .wrong")).to_have_text(["level:", ">=", "loud"])
    page.get_by_role("combobox", name="Query").press_sequentially("x")
    expect(page.locator("#fault")).to_be_hidden()
    ask(page, "level:error")
    expect(summary(page)).to_have_text("150 events")


def test_earlier_queries_come_back(open_page: Open) -> None:
    page = open_page()
    for query in ("refused", "paid"):
        ask(page, query)
        expect(page.locator("mark").first).to_have_text(query)
    box = page.get_by_role("combobox", name="Query")
    box.press("Alt+ArrowUp")
    box.press("Alt+ArrowUp")
    expect(box).to_have_value("refused")
    box.fill("")
    box.press("ArrowDown")
    expect(offered(page)).to_have_text(["paid", "refused"])
    page.go_back()
    expect(box).to_have_value("refused")


def test_ranges_are_chosen_typed_dragged_and_left(open_page: Open, filled: Server) -> None:
    page = open_page({"q": "service:shop", "from": "now-2h"})
    page.locator("#range").click()
    page.get_by_role("button", name="Last 6 hours").click()
    expect(summary(page)).to_have_text("11,350 events")
    says(page, {"from": "now-6h"})
    page.locator("#range").click()
    page.get_by_label("From", exact=True).fill("yesterday")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert").filter(has_text="Give 2026-11-29 10:00")).to_be_visible()
    page.get_by_label("From", exact=True).fill(to_rfc3339(now() - 120 * MINUTE))
    page.get_by_label("To", exact=True).fill(to_rfc3339(now()))
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#ranges")).to_be_hidden()
    chart = page.locator(".chart")
    expect(page.locator(".readout")).to_have_text("a bar is 2 m")
    whole = page.url
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    page.mouse.up()
    page.wait_for_url(lambda url: url != whole)
    state = said(page)
    found = count(filled, "service:shop", **{"from": state["from"], "to": state["to"]})
    assert 0 < found < 11_350
    expect(summary(page)).to_have_text(f"{found:,} events")
    page.get_by_role("button", name="Twice the range").click()
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["from"][0] < state["from"])
    page.go_back()
    page.go_back()
    page.wait_for_url(whole)
    expect(summary(page)).to_have_text("11,350 events")
    chart.focus()
    for key in ("ArrowRight", "Shift+ArrowRight", "Enter"):
        chart.press(key)
    page.wait_for_url(lambda url: url != whole)


def test_a_row_opens_to_everything_there_is(open_page: Open, filled: Server) -> None:
    page = open_page({"q": f"trace_id:{TRACE}"})
    expect(rows(page)).to_have_count(5)
    rows(page).first.click()
    (newest,) = search(filled, f"trace_id:{TRACE}", limit=1)["events"]
    details = page.locator(".details")
    for name, value in {"service": "shop", "trace_id": TRACE, "note": 'say "hi"', "id": newest["id"]}.items():
        expect(details.locator("dt", has_text=name).first).to_be_visible()
        expect(details.locator("dd .value", has_text=value).first).to_be_visible()
    says(page, {"open": newest["id"]})
    details.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(details.locator("pre").inner_text()) == newest
    details.get_by_role("button", name="Trace", exact=True).click()
    expect(details.locator(".lines li")).to_have_count(5)
    details.get_by_role("button", name="Lines around", exact=True).click()
    around = filled.client.get(
        "/api/v1/context", params={"id": newest["id"], "before": 10, "after": 10, "namespace": NAMESPACE}
    ).json()
    expect(details.locator(".lines li")).to_have_count(len(around["events"]))
    expect(details.locator(".lines .this")).to_contain_text("connection refused")
    details.get_by_role("button", name="Fields", exact=True).click()
    assert copied(page, details.get_by_role("button", name="Copy note as query")) == 'note:"say \\"hi\\""'
    query = copied(page, details.get_by_role("button", name="Copy as query", exact=True))
    assert count(filled, query) == 50, "those of one host"
    link = copied(page, details.get_by_role("button", name="Link", exact=True))
    other = page.context.new_page()
    other.goto(link)
    expect(other.locator(".details .value", has_text=newest["id"])).to_be_visible()


def test_a_value_is_asked_for_and_against(open_page: Open) -> None:
    page = open_page({"q": "refused"})
    rows(page).first.click()
    page.get_by_role("button", name="Only events with this version").click()
    expect(page.get_by_role("combobox", name="Query")).to_have_value("refused version:2.0")
    expect(page.locator(".details")).to_have_count(0)
    expect(summary(page)).to_have_text("150 events")
    rows(page).first.click()
    host = page.locator(".details dd", has=page.get_by_role("button", name="No events with this host"))
    value = host.locator(".value").inner_text()
    host.get_by_role("button", name="No events with this host").click()
    expect(summary(page)).to_have_text("100 events")
    says(page, {"q": f"refused version:2.0 -host:{value}"})


def test_fields_on_the_side_count_and_filter(open_page: Open, filled: Server) -> None:
    page = open_page({"q": "service:shop"})
    side = page.get_by_role("complementary", name="Fields")
    expect(side.locator(".values li", has_text="error")).to_contain_text("150")
    side.get_by_role("button", name="version").click()
    asked = {"q": "service:shop", "namespace": NAMESPACE, "from": "now-3h"}
    values = filled.client.get("/api/v1/fields/version/values", params=asked).json()["values"]
    picks = side.locator("li", has=page.get_by_role("button", name="version")).locator(".pick .text")
    expect(picks).to_have_text([one["value"] for one in values])
    side.get_by_role("button", name="No events with level info").click()
    says(page, {"q": "service:shop -level:info"})
    expect(summary(page)).to_have_text("350 events")
    side.locator(".values li", has_text="debug").locator(".pick").click()
    expect(summary(page)).to_have_text("200 events")


def test_the_address_is_the_whole_state(open_page: Open) -> None:
    page = open_page({"q": "service:hostile"})
    rows(page).first.click()
    page.get_by_role("button", name="Show or hide the column kind").click()
    expect(page.locator(".events .head")).to_contain_text("kind")
    page.keyboard.press("w")
    page.keyboard.press("u")
    page.keyboard.press("s")
    expect(page.locator(".events .head")).to_contain_text("time (UTC)")
    expect(page.locator(".events")).to_have_class("events wrap")
    expect(page.get_by_role("complementary")).to_be_hidden()
    expect(page.locator(".details")).to_contain_text("version")  # a tag, which comes when it is opened
    for kind in HOSTILE:  # the column's, which come when it is
        expect(page.locator(".events")).to_contain_text(kind)
    before = page.locator(".events").inner_text()
    page.reload()
    expect(page.locator(".events")).to_have_text(before, use_inner_text=True)
    page.get_by_role("button", name="Remove the column kind").click()
    expect(page.locator(".events .head")).not_to_contain_text("kind")
    page.keyboard.press("r")
    expect(page.locator(".events .head")).to_be_hidden()


def test_what_was_found_is_saved_whole(open_page: Open, filled: Server) -> None:
    page = open_page({"q": "service:shop level:>=error"})
    expect(summary(page)).to_have_text("150 events")
    texts = {}
    for name in ("NDJSON", "CSV"):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as begun:
            page.get_by_role("link", name=name).click()
        assert begun.value.suggested_filename == f"neve.{name.lower()}"
        texts[name] = Path(begun.value.path()).read_text()
    events = [json.loads(line) for line in texts["NDJSON"].splitlines()]
    assert events.pop()["stats"]["complete"]
    assert events == search(filled, "service:shop level:>=error", limit=1000)["events"]
    read = list(csv.DictReader(io.StringIO(texts["CSV"])))
    assert [one["id"] for one in read] == [one["id"] for one in events]


def test_ten_thousand_rows_are_a_few_elements(open_page: Open) -> None:
    page = open_page({"q": "service:shop", "order": "oldest"})
    expect(summary(page)).to_have_text("11,350 events")
    grid = page.get_by_role("treegrid", name="Events")
    grid.focus()
    while int(grid.get_attribute("aria-rowcount") or 0) <= 10_000:
        before = grid.get_attribute("aria-rowcount")
        grid.press("End")
        page.wait_for_function(
            "before => document.querySelector('.events').getAttribute('aria-rowcount') !== before", arg=before
        )
        assert rows(page).count() < 100
    grid.press("End")
    expect(page.locator(".row.current")).to_have_attribute("aria-rowindex", "10001")
    for key in ("Home", "j", "ArrowDown", "k", "Enter"):
        grid.press(key)
    expect(page.locator(".row.current")).to_have_attribute("aria-rowindex", "3")
    expect(page.locator(".row.current .details")).to_be_visible()
    grid.press("ArrowLeft")
    expect(page.locator(".details")).to_have_count(0)
    grid.press("c")
    expect(page.locator(".row.current")).to_have_count(1)


def test_a_table_of_a_query_with_pipes(open_page: Open, filled: Server) -> None:
    query = "service:shop | stats count() as n by version, level | sort -n"
    page = open_page({"q": query})
    found = search(filled, query)["rows"]
    cells = page.locator(".table tbody tr").first.locator("td")
    expect(cells).to_have_text([*found[0][:2], f"{found[0][2]:,}"])
    expect(summary(page)).to_have_text(f"{len(found)} rows")
    page.get_by_role("button", name="version").click()
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("version")
    expect(page.locator(".chart svg")).to_be_hidden()
    ask(page, "service:shop | histogram(5m) by level")
    expect(page.locator(".legend")).to_contain_text("error150")
    page.locator(".chart").press("ArrowRight")
    found = search(filled, "service:shop | histogram(5m) by level")["rows"]
    first = sum(n for start, _, n in found if start == found[0][0])
    expect(page.locator(".readout")).to_contain_text(f"· count {first:,}")


def test_a_group_of_the_histogram_is_counted_and_asked_for(open_page: Open, filled: Server) -> None:
    page = open_page({"q": "service:shop"})
    legend = page.get_by_role("list", name="Colours").get_by_role("link")
    error = legend.filter(has_text="error")
    expect(error.locator(".n")).to_have_text("150")
    page.locator(".chart").press("ArrowRight")
    expect(error.locator(".n")).to_have_text("0")
    page.locator(".chart").press("Escape")
    error.click()
    expect(summary(page)).to_have_text("150 events")
    says(page, {"q": "service:shop level:error"})
    page.get_by_label("Colours of the histogram").select_option("service")
    expect(legend).to_have_text(["shop150"])
    page = open_page({"q": "refused OR 404", "from": "all", "by": "version"})
    without = page.get_by_role("list", name="Colours").get_by_role("link", name="no version")
    without.click()
    expect(summary(page)).to_have_text(f"{count(filled, '404 -refused -version:*'):,} events")
    says(page, {"q": "(refused OR 404) -version:*"})


def test_what_any_answer_lacks_is_said(open_page: Open) -> None:
    """The events of a page may all be there, and not all be counted, nor be on the next one."""

    def cut(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        found["stats"] |= {"complete": False, "limits_hit": [limits[urlsplit(route.request.url).path]]}
        route.fulfill(response=answer, json=found)

    page = open_page()
    limits = {"/api/v1/histogram": "time", "/api/v1/context": "cold", "/api/v1/search": "rows"}
    page.route("**/api/v1/histogram*", cut)
    page.route("**/api/v1/context*", cut)
    page.route("**/api/v1/search*cursor=*", cut)
    ask(page, "service:shop level:error")
    expect(summary(page)).to_have_text("at least 150 events")
    lacking = page.locator(".summary .fault")
    expect(lacking).to_have_text("incomplete: limit on time; narrow the range")
    rows(page).first.click()
    page.get_by_role("button", name="Lines around").click()
    expect(page.locator(".details .fault")).to_have_text("incomplete: limit on cold")
    ask(page, "service:shop")
    expect(summary(page)).to_have_text("at least 11,350 events")
    expect(page.locator(".asking")).to_have_count(0)  # the events are there, too
    page.locator(".events").press("End")
    expect(lacking).to_have_text("incomplete: limit on time, rows; narrow the range")
    page.unroute_all()
    ask(page, "service:shop level:error")
    expect(summary(page)).to_have_text("150 events")
    expect(lacking).to_have_count(0)


def test_a_table_keeps_its_order_and_leads_to_events(open_page: Open) -> None:
    page = open_page({"q": "service:shop | stats count() as n by version, level"})
    page.get_by_role("button", name="level").click()
    first = page.locator(".table tbody tr").first
    expect(first.locator("td").nth(1)).to_have_text("debug")
    page.reload()
    expect(first.locator("td").nth(1)).to_have_text("debug")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("level")
    page.get_by_role("link", name="error").click()
    expect(summary(page)).to_have_text("150 events")
    says(page, {"q": "service:shop level:error"})


def test_names_that_every_object_of_the_page_has(open_page: Open, filled: Server) -> None:
    here = "builtins"
    ingest(
        filled, lines([shop(5, i, service="constructor", host="__proto__") for i in range(3)]), namespace=here
    )
    patiently(lambda: count(filled, namespace=here) == 3 or None)
    page = open_page({"namespace": here, "by": "service"})
    legend = page.get_by_role("list", name="Colours").get_by_role("link")
    expect(legend).to_have_text(["constructor3"])
    page.get_by_label("Colours of the histogram").select_option("host")
    expect(legend).to_have_text(["__proto__3"])
    page = open_page({"namespace": here, "columns": "service,constructor"})
    expect(rows(page).first).to_contain_text("order")
    expect(rows(page).first).not_to_contain_text("native code")


def test_numbers_close_to_nothing_are_not_nothing(open_page: Open) -> None:
    century = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    page = open_page({"q": "service:shop level:error | stats rate() as r", **century})
    expect(page.locator(".table td")).to_have_text(re.compile(r"^4\.\d+e-8$"))


def test_what_is_shown_of_an_event_is_in_the_address(open_page: Open) -> None:
    page = open_page({"q": f"trace_id:{TRACE}"})
    rows(page).first.click()
    page.keyboard.press("T")
    expect(page.locator(".details .lines li")).to_have_count(5)
    page.reload()
    expect(page.locator(".details .lines li")).to_have_count(5)
    expect(page.get_by_role("button", name="Trace", exact=True)).to_have_attribute("aria-pressed", "true")
    rows(page).nth(1).click()
    expect(page.locator(".details")).to_have_count(2)
    assert "tab" not in said(page)


def test_nothing_found_says_what_to_do(open_page: Open) -> None:
    page = open_page({"q": "service:OpenStack"})
    page.get_by_role("link", name="look at all time").click()
    expect(summary(page)).to_have_text("2,000 events")


def test_a_field_as_others_write_it_is_no_dead_end(open_page: Open) -> None:
    page = open_page({"q": "service=OpenStack", "from": "all"})
    page.get_by_role("link", name="service:OpenStack").click()
    expect(summary(page)).to_have_text("2,000 events")
