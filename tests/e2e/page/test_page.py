"""The page in a real browser, over real logs, hostile ones among them. One server and one browser for all."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from bench.browser import CHROMIUM
from bench.server import Server
from query import ast
from query.parse import parse
from query.times import to_rfc3339

from .shop import (
    HOSTILE,
    MINUTE,
    NAMESPACE,
    SCRIPT,
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
from .watched import said

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]

AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = ("explore", "patterns", "live", "fields", "saved", "alerts", "health")


# --- served ------------------------------------------------------------------------------------------------


def test_the_page_is_small_strict_and_of_our_own(server: Server) -> None:
    """What is loaded at once; a view that not everybody looks at comes when it is."""
    index = server.client.get("/")
    names = {part.split('"')[0] for part in index.text.split('"/pages/')[1:]}
    answers = {name: server.client.get(f"/pages/{name}") for name in names}
    assert {"main.js", "explore.js", "virtual.js", "base.css"} < names
    assert "health.js" not in names
    assert all(answer.status_code == 200 for answer in answers.values())
    assert len(index.content) + sum(len(answer.content) for answer in answers.values()) < 150_000
    for answer in (index, *answers.values()):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert "://" not in policy


def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    first = server.client.get("/pages/main.js")
    again = server.client.get("/pages/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"


def test_other_files_are_not_served(server: Server) -> None:
    for path in ("/pages/nothing.js", "/pages/..%2fapp.py", "/pages/index.html", "/pages/types.d.ts"):
        answer = server.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


# --- explore -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["service:OpenStack 404", "service:BGL level:>=error", 'service:Spark "Registered signal"', "paid"],
)
def test_every_event_of_a_query_is_counted(open_page: Open, filled: Server, query: str) -> None:
    page = open_page({"from": "all"})
    ask(page, query)
    found = count(filled, query)
    expect(summary(page)).to_have_text(f"{found:,} event{'' if found == 1 else 's'}")
    newest = search(filled, query, limit=1)["events"][0]
    expect(rows(page).first).to_contain_text(newest["message"][:40])
    assert said(page)["q"] == query


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
    page = open_page({"q": "service:shop"})
    page.locator("#range").click()
    page.get_by_role("button", name="Last 6 hours").click()
    expect(summary(page)).to_have_text("11,350 events")
    assert said(page)["from"] == "now-6h"
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
    assert page.url == whole
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
    assert said(page)["open"] == newest["id"]
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
    details.get_by_role("button", name="Copy note as query").click()
    assert copied(page) == 'note:"say \\"hi\\""'
    details.get_by_role("button", name="Copy as query", exact=True).click()
    assert count(filled, copied(page)) == 50, "those of one host"
    details.get_by_role("button", name="Link", exact=True).click()
    other = page.context.new_page()
    other.goto(copied(page))
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
    assert said(page)["q"] == f"refused version:2.0 -host:{value}"


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
    assert said(page)["q"] == "service:shop -level:info"
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
    before = page.locator(".events").inner_text()
    page.reload()
    expect(page.locator(".details")).to_be_visible()
    assert page.locator(".events").inner_text() == before
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
    assert page.locator(".row.current").count() == 1


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


def test_nothing_found_says_what_to_do(open_page: Open) -> None:
    page = open_page({"q": "service:OpenStack"})
    page.get_by_role("link", name="look at all time").click()
    expect(summary(page)).to_have_text("2,000 events")


def test_a_filter_that_the_page_writes_means_just_that(open_page: Open) -> None:
    """Every value that a click asks for is read by the server as that value, whatever is in it."""
    draw = random.Random(3)
    alphabet = [*"ab0 \t\n\"'\\:|()[]{}*/-<>=!~@#,.ü登\u202e\x1b😀", "OR", "AND", "NOT", "TO"]
    texts = ["".join(draw.choices(alphabet, k=draw.randrange(1, 9))) for _ in range(300)]
    names = ["service", "user_id", "a b", 'q"', "städte", "x.y/z", "0", "<b>", "by"]
    cases = [(draw.choice(names), text) for text in texts]
    page = open_page({"view": "health"})
    written = page.evaluate(
        """async (cases) => {
          const { term, tokenize } = await import("/pages/language.js");
          return cases.map(([name, value]) => [term(name, value), tokenize(value).map((one) => one.text).join("")]);
        }""",
        cases,
    )
    for (name, value), (text, joined) in zip(cases, written, strict=True):
        assert parse(text).filter == ast.Match(name, ast.Text(value)), text
        assert joined == value, "tokens are all of a text"


QUERIES = [
    "",
    "*",
    "a",
    "a OR b",
    "a b",
    'x:(1 OR 2) "a | b"',
    "NOT a (b OR c)",
    "/a|b/ c",
    "x:[1 TO 2] -y:z",
]


@pytest.mark.parametrize("pipes", ["", " | stats count() by host", ' | extract "a | <b>"'])
def test_a_filter_is_added_to_any_query(open_page: Open, pipes: str) -> None:
    page = open_page({"view": "health"})
    written = page.evaluate(
        """async (queries) => {
          const { withTerm } = await import("/pages/language.js");
          return queries.map((query) => {
            const once = withTerm(query, "k:v");
            return [once, withTerm(once, "k:v"), withTerm(once, "k:v", true)];
          });
        }""",
        [query + pipes for query in QUERIES],
    )
    for query, (once, twice, against) in zip(QUERIES, written, strict=True):
        first = "" if query in ("", "*") else f"({query}) " if " OR b" in query else f"{query} "
        assert parse(once) == parse(f"{first}k:v{pipes}")
        assert twice == once
        assert parse(against) == parse(f"{first}-k:v{pipes}")


# --- hostile lines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["explore", "patterns", "fields", "live"])
def test_log_lines_never_become_markup(open_page: Open, filled: Server, view: str) -> None:
    page = open_page({"q": "service:hostile", "view": view, "wrap": "1"})
    if view == "live":
        expect(page.locator(".live")).to_have_class("explore live connected")
        ingest(filled, lines([{**shop(0, 0), "service": "hostile", "message": SCRIPT, SCRIPT: SCRIPT}]))
    expect(page.locator("#view")).to_contain_text("onerror=alert(1)>")
    assert page.locator("main :is(script, img, b:not(.template b))").count() == 0
    assert page.title() != "owned"
    hints = page.evaluate(
        "[...document.querySelectorAll('[title], [aria-label]')].map((one) => one.title + one.ariaLabel)"
    )
    assert not any(sign in hint for hint in hints for sign in ("\u202e", "\x1b", "\x07"))


def test_what_would_steer_the_screen_is_shown(open_page: Open) -> None:
    page = open_page({"q": "service:hostile", "order": "oldest", "to": to_rfc3339(now() - 4 * MINUTE)})
    expect(rows(page)).to_have_count(len(HOSTILE))
    bidi, ansi, long, multi = (rows(page).nth(i) for i in range(1, 5))
    expect(bidi.locator(".message")).to_have_text("user U+202Egnp.exeU+202C logged inU+200B")
    assert bidi.locator(".message").evaluate("node => getComputedStyle(node).unicodeBidi") == "isolate"
    expect(ansi.locator(".message")).to_have_text("ESCredESC ESC]0;titleBEL NUL nul")
    assert len(long.locator(".message").inner_text()) < 2000
    expect(long.locator(".message")).to_contain_text("1.0 million characters in all")
    expect(multi.locator(".message")).to_have_text("first↵  second↵third")
    long.click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#said")).to_have_text("message copied")
    assert copied(page) == HOSTILE["long"]
    multi.click()
    expect(page.locator(".whole").last).to_have_text("first\n  second\nthird", use_inner_text=True)


# --- patterns, fields --------------------------------------------------------------------------------------


def test_patterns_say_what_broke(open_page: Open) -> None:
    page = open_page({"q": "service:shop", "view": "patterns", "from": "now-1h"})
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
    assert said(page).get("view", "explore") == "explore"


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


# --- live, health ------------------------------------------------------------------------------------------


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


def test_live_says_why_it_was_refused(open_page: Open) -> None:
    page = open_page({"q": "service:(", "view": "live"})
    expect(page.locator("#fault")).to_contain_text("line 1")
    expect(page.locator(".live .status")).to_have_text("not connected")


def test_health_says_what_is_kept_where(open_page: Open, filled: Server) -> None:
    page = open_page({"view": "health"})
    expect(page.locator(".verdict")).to_have_text("All is well")
    sizes = filled.client.get("/gateway/storage").json()["namespaces"]
    (size,) = (one for one in sizes if one["namespace"] == NAMESPACE)
    row = page.locator("tr", has=page.get_by_role("rowheader", name=NAMESPACE, exact=True))
    expect(row).to_contain_text(f"{size['events']:,}")
    expect(row).to_contain_text("after 24 h")
    expect(row).to_contain_text("for ever")
    expect(page.get_by_role("region", name="Coming in")).to_contain_text("events/s")


def test_who_is_not_signed_in_is_told_so(open_page: Open) -> None:
    page = open_page()
    refused = {"error": {"code": "unauthorized", "message": "no key", "hint": ""}}
    page.route("**/api/v1/**", lambda route: route.fulfill(status=401, json=refused))
    ask(page, "level:error")
    expect(page.locator("#fault")).to_contain_text("you are not signed in")


# --- for everybody -----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_shut_out(open_page: Open, view: str) -> None:
    """axe finds no serious fault, wide in light and narrow in dark; at 360 px nothing is wider than the screen."""
    if not AXE.is_file():
        pytest.skip("needs axe-core: npm ci")
    page = open_page({"q": "service:shop level:>=error", "view": view, "from": "now-1h"})
    expect(page.locator("#view > *")).to_have_count(1)
    expect(page.locator(".asking")).to_have_count(0)
    if view == "explore":
        rows(page).first.click()
        expect(page.locator(".details")).to_be_visible()
    page.evaluate(AXE.read_text())
    for width, scheme in ((1280, "light"), (360, "dark")):
        page.set_viewport_size({"width": width, "height": 740})
        page.evaluate("scheme => { document.documentElement.dataset.theme = scheme }", scheme)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        faults = [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in serious]
        assert faults == [], f"{width} {scheme}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
