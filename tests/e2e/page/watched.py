"""What must never happen on a page of ours."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

AXE = Path(__file__).parents[3] / "node_modules" / "axe-core" / "axe.min.js"
WAIT_MS = 90_000  # at most: what is waited for comes as soon as it is there

# A slow machine, at will: every answer comes up to so much later, and the page is slower. A test must pass as well.
LATE_MS = int(os.environ.get("PAGE_LATE_MS", "0"))
SLOWER = 3
COME_LATE = """{
  const fetch = window.fetch;
  window.fetch = async (...asked) => {
    await new Promise((go) => setTimeout(go, Math.random() * LATE_MS));
    return fetch(...asked);
  };
}"""


class Watched:
    """What a page did that it must not: faults, words on the console, requests of another's, dialogs."""

    def __init__(self, page: Page, url: str) -> None:
        self.wrong: list[str] = []
        page.set_default_timeout(WAIT_MS)
        if LATE_MS:
            page.add_init_script(COME_LATE.replace("LATE_MS", str(LATE_MS)))
            page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        page.on("pageerror", lambda error: self.wrong.append(f"fault: {error}"))
        page.on("console", lambda said: self._said(said.text))
        page.on("request", lambda asked: self._asked(asked.url, url))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _said(self, text: str) -> None:
        if not text.startswith("Failed to load resource"):  # the browser's own word on an answer like 400
            self.wrong.append(f"console: {text}")

    def _asked(self, asked: str, url: str) -> None:
        if not asked.startswith((url, "data:", "blob:")):
            self.wrong.append(f"request to {asked}")


def says(page: Page, state: dict[str, str]) -> None:
    """Wait until the address of a page says so."""
    page.wait_for_url(lambda url: state.items() <= _state(url).items())


def said(page: Page) -> dict[str, str]:
    """What the address of a page says. The browser tells it late: `says` waits for what a click brings about."""
    return _state(page.url)


def _state(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def shuts_nobody_out(page: Page) -> None:
    """axe finds no serious fault, wide in light and narrow in dark; at 360 px nothing is wider than the screen."""
    if not AXE.is_file():
        pytest.skip("needs axe-core: npm ci")
    page.emulate_media(reduced_motion="reduce")  # what fades in or out has too little contrast meanwhile
    expect(page.locator(".asking")).to_have_count(0)
    page.evaluate(AXE.read_text())
    for width, scheme in ((1280, "light"), (360, "dark")):
        page.set_viewport_size({"width": width, "height": 740})
        page.evaluate("scheme => { document.documentElement.dataset.theme = scheme }", scheme)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        faults = [(one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in serious]
        assert faults == [], f"{width} {scheme}: {faults}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
