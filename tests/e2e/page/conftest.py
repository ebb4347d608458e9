"""One server with real logs and one browser for all tests of the page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from bench.browser import browsing
from bench.server import Server

from .shop import NAMESPACE, Open, count, ingest, lines, made
from .watched import WAIT_MS, Watched


@pytest.fixture(scope="package")
def filled(server: Server, loghub: Path) -> Server:
    """A server whose namespace `page` has Loghub's lines and the shop's."""
    for log in sorted(loghub.glob("*/*.log")):
        ingest(server, log.read_bytes(), service=log.parent.name, host="loghub")
    ingest(server, lines(made()))
    while count(server) < 16_000 + len(made()):
        time.sleep(0.05)
    return server


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_MS)
    with browsing() as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Nothing remembered from another test."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as made:
        made.grant_permissions(["clipboard-read", "clipboard-write"])
        yield made


@pytest.fixture
def open_page(filled: Server, context: BrowserContext) -> Iterator[Open]:
    """Open the page at a state; at the end nothing was wrong on any."""
    watched: list[Watched] = []

    def open_(state: dict[str, str] | None = None, **more: Any) -> Page:
        page = context.new_page()
        watched.append(Watched(page, filled.url))
        asked = {"namespace": NAMESPACE, "from": "now-6h", **(state or {}), **more}
        page.goto(f"{filled.url}/?{urlencode(asked)}")
        return page

    yield open_
    assert [wrong for one in watched for wrong in one.wrong] == []
