"""What the tests of the page look at: a shop that breaks and hostile lines, beside Loghub's; and how they look."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from playwright.sync_api import Locator, Page

from bench.server import Server
from tests.e2e.guarded import patiently

from .watched import WAIT_MS

NAMESPACE = "page"
MINUTE = 60 * 10**9
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
HOSTILE = {
    "markup": SCRIPT,
    "bidi": "user \u202egnp.exe\u202c logged in\u200b",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 nul",
    "long": "start " + "x" * 1_000_000 + " end",
    "lines": "first\n  second\nthird",
}


@cache
def now() -> int:
    """When the tests here began, which is long after they were collected; ns, a whole minute."""
    return time.time_ns() // MINUTE * MINUTE


def shop(minute: int, i: int, **more: Any) -> dict[str, Any]:
    """An order, so many minutes ago."""
    return {
        "timestamp": now() - minute * MINUTE + i * 1_000_000,
        "level": "info",
        "service": "shop",
        "host": f"web-{i % 3}",
        "message": f"order {i} was paid in {i % 90} ms",
        "version": "1.0" if i % 2 else "2.0",
        "note": 'say "hi"',
        **more,
    }


def made() -> list[dict[str, Any]]:
    """Two hours of a shop: in the second it fails for those of one version, and no longer greets."""
    events = [shop(115 - i % 100, i) for i in range(11_000)]
    events += [shop(110 - i % 40, i, message=f"hello {i} from the cache", level="debug") for i in range(200)]
    failed = {"level": "error", "version": "2.0", "message": "cannot reach db-3: connection refused"}
    events += [shop(40 - i % 30, i, **failed, trace_id=TRACE if i < 5 else f"{i:032x}") for i in range(150)]
    events += [
        {**shop(5, i), "service": "hostile", "host": "h<1>", "message": message, "kind": kind, "<b>": SCRIPT}
        for i, (kind, message) in enumerate(HOSTILE.items())
    ]
    return events


def ingest(server: Server, data: bytes, **parameters: str) -> None:
    kind = "application/x-ndjson" if data.startswith(b"{") else "text/plain"

    def taken() -> bool | None:  # not while a server that has just begun has no answer about the namespace
        answer = server.client.post(
            "/api/v1/ingest",
            params={"namespace": NAMESPACE, **parameters},
            content=data,
            headers={"content-type": kind},
        )
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200 or None

    patiently(taken)


def lines(events: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, events)).encode()


def search(server: Server, query: str, **parameters: Any) -> dict[str, Any]:
    return server.search(query, namespace=NAMESPACE, **parameters)


def count(server: Server, query: str = "*", **parameters: Any) -> int:
    answer = server.client.get(
        "/api/v1/search", params={"q": f"{query} | stats count()", "namespace": NAMESPACE, **parameters}
    )
    return int(answer.json()["rows"][0][0]) if answer.status_code == 200 else 0


# --- on the page -------------------------------------------------------------------------------------------

Open = Callable[..., Page]


def summary(page: Page) -> Locator:
    return page.locator(".summary strong").first


def rows(page: Page) -> Locator:
    return page.locator(".events .row")


def offered(page: Page, name: str = "") -> Locator:
    return page.get_by_role("listbox", name="Suggestions").get_by_role("option", name=name)


def copied(page: Page, button: Locator) -> str:
    """What a button puts on the clipboard."""
    page.evaluate("navigator.clipboard.writeText('')")
    button.click()
    deadline = time.monotonic() + WAIT_MS / 1000
    while not (text := page.evaluate("navigator.clipboard.readText()")):
        assert time.monotonic() < deadline, "nothing was copied"
        page.wait_for_timeout(20)
    return str(text)


def ask(page: Page, query: str) -> None:
    page.get_by_role("combobox", name="Query").fill(query)
    page.keyboard.press("Enter")
