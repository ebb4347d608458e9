"""What must never happen on a page of ours."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page

WAIT_MS = 20_000  # at most: what is waited for comes as soon as it is there


class Watched:
    """What a page did that it must not: faults, words on the console, requests of another's, dialogs."""

    def __init__(self, page: Page, url: str) -> None:
        self.wrong: list[str] = []
        page.set_default_timeout(WAIT_MS)
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


def said(page: Page) -> dict[str, str]:
    """What the address of a page says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
