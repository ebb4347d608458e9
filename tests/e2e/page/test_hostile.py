"""What is served is of our own and strict; log lines stay text; a click asks for just what it says."""

from __future__ import annotations

import random

import pytest
from playwright.sync_api import expect

from bench.browser import CHROMIUM
from bench.server import Server
from query import ast
from query.parse import parse
from query.times import to_rfc3339

from .shop import HOSTILE, MINUTE, SCRIPT, Open, copied, ingest, lines, now, rows, shop

pytestmark = [
    pytest.mark.loghub,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium"),
]


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
    assert copied(page, page.get_by_role("button", name="Copy", exact=True)) == HOSTILE["long"]
    expect(page.locator("#said")).to_have_text("message copied")
    multi.click()
    expect(page.locator(".whole").last).to_have_text("first\n  second\nthird", use_inner_text=True)


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


PIPES = ("", " | stats count() by host", ' | extract "a | <b>"')


def test_a_filter_is_added_to_any_query(open_page: Open) -> None:
    page = open_page({"view": "health"})
    cases = [(query, pipes) for pipes in PIPES for query in QUERIES]
    written = page.evaluate(
        """async (queries) => {
          const { withTerm } = await import("/pages/language.js");
          return queries.map((query) => {
            const once = withTerm(query, "k:v");
            return [once, withTerm(once, "k:v"), withTerm(once, "k:v", true)];
          });
        }""",
        ["".join(case) for case in cases],
    )
    for (query, pipes), (once, twice, against) in zip(cases, written, strict=True):
        first = "" if query in ("", "*") else f"({query}) " if " OR b" in query else f"{query} "
        assert parse(once) == parse(f"{first}k:v{pipes}")
        assert twice == once
        assert parse(against) == parse(f"{first}-k:v{pipes}")


def test_what_asked_for_the_contrary_goes_where_it_stands_alone(open_page: Open) -> None:
    page = open_page({"view": "health"})
    cases = [
        ("k:v OR b", "k:v", True, "(k:v OR b) -k:v"),
        ("k:v AND b", "k:v", True, "b -k:v"),
        ("-k:v AND b", "k:v", False, "b k:v"),
        ("NOT k:v b", "k:v", False, "b k:v"),
        ("NOT k:v AND b", "k:v", True, "NOT k:v b -k:v"),
        ("* OR b", "k:v", False, "(* OR b) k:v"),
    ]
    written = page.evaluate(
        """async (cases) => {
          const { withTerm } = await import("/pages/language.js");
          return cases.map(([query, wanted, against]) => withTerm(query, wanted, against));
        }""",
        [case[:3] for case in cases],
    )
    assert written == [expected for *_, expected in cases]
    for query in written:
        parse(query)
