"""Pictures of the page for README.md and docs/page.md, over a made-up shop of which a part broke twenty minutes ago.

python -m bench.screenshots [FOLDER]
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.browser import browsing
from bench.server import Server

MINUTE = 60 * 10**9
HOURS = 2
BROKE = 20  # minutes ago
SERVICES = ("cart", "checkout", "payments", "search", "web", "mailer")
CALM = (
    ("info", "GET /api/v1/{thing}/{n} 200 in {ms} ms"),
    ("info", "GET /api/v1/{thing}/{n} 304 in {ms} ms"),
    ("info", "order {n} was paid with card ending {four}"),
    ("debug", "cache hit for {thing}:{n}, ttl {ms} s"),
    ("debug", "pool has {four} free connections of 40"),
    ("notice", "user u{n} signed in from 10.{a}.{b}.7"),
    ("warn", "slow query on orders: {ms}0 ms for {n} rows"),
)
BROKEN = (
    ("error", "cannot charge order {n}: connection to pay-gw-{a}:8443 refused"),
    ("error", "retry {a} of 5 for order {n} failed: upstream answered 503"),
    ("critical", "circuit to payments is open after {four} failures"),
)
SHOTS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("explore", {"q": "level:>=warn", "from": "now-1h"}, "dark"),
    ("patterns", {"view": "patterns", "from": "now-25m"}, "light"),
    ("fields", {"view": "fields", "q": "level:>=error", "from": "now-1h"}, "light"),
    ("alerts", {"view": "alerts"}, "light"),
)
ALERTS: tuple[dict[str, Any], ...] = (
    {
        "name": "Charging fails",
        "query": "level:>=error charge",
        "by": "service",
        "threshold": 50,
        "window": "30m",
    },
    {"name": "Nothing is paid", "query": '"was paid"', "kind": "silence", "window": "15m"},
    {"name": "New in payments", "query": "service:payments", "kind": "new_pattern", "window": "25m"},
    {"name": "Sign-ins", "query": '"signed in"', "op": "<", "threshold": 10, "window": "30m", "for": "5m"},
)


def events(now: int) -> Iterator[dict[str, Any]]:
    """Two hours of logs, oldest first."""
    draw = random.Random(11)
    for minute in range(HOURS * 60, 0, -1):
        broken = minute <= BROKE
        for at in sorted(draw.randrange(MINUTE) for _ in range(draw.randrange(220, 260))):
            failing = broken and draw.random() < 0.16
            level, shape = draw.choice(BROKEN) if failing else draw.choice(CALM)
            if broken and "paid with card" in shape:  # nothing is paid any more
                continue
            version = "4.2.0" if failing or (broken and draw.random() < 0.3) else "4.1.7"
            service = "payments" if failing and draw.random() < 0.8 else draw.choice(SERVICES)
            yield {
                "timestamp": now - minute * MINUTE + at,
                "level": level,
                "service": service,
                "host": f"node-{draw.randrange(3) if failing else draw.randrange(12)}",
                "message": _filled(shape, draw),
                "version": version,
                "region": draw.choice(("eu-west", "us-east")),
                "trace_id": f"{draw.getrandbits(128):032x}",
            }


def _filled(shape: str, draw: random.Random) -> str:
    return shape.format(
        thing=draw.choice(("items", "carts", "users")),
        n=draw.randrange(10_000, 99_999),
        ms=draw.randrange(2, 90),
        four=draw.randrange(1000, 9999),
        a=draw.randrange(1, 5),
        b=draw.randrange(255),
    )


def watched(server: Server) -> str:
    """Make the alerts and wait until each was looked at; the id of the first."""
    for alert in ALERTS:
        server.client.post("/api/v1/alerts", json={**alert, "every": "10s", "delay": "0s"}).raise_for_status()
    while True:
        found = server.client.get("/api/v1/alerts").json()["alerts"]
        if all(one["state"]["evaluated_at"] for one in found):
            return next(str(one["id"]) for one in found if one["name"] == ALERTS[0]["name"])
        time.sleep(0.5)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screens")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="neve-screens-") as name, Server(Path(name)) as server:
        made = list(events(time.time_ns()))
        server.client.post("/api/v1/ingest", content="\n".join(map(json.dumps, made))).raise_for_status()
        server.wait_for("*", len(made))
        opened = watched(server)
        with browsing() as browser:
            for shot, state, scheme in SHOTS:
                page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)  # type: ignore[arg-type]
                more = {"open": opened} if shot == "alerts" else {}
                page.goto(f"{server.url}/?{urlencode({**state, **more, 'utc': '1'})}")
                page.locator(".row, .pattern, .differences tr, .alert tr").first.wait_for()
                page.locator(".asking").wait_for(state="detached")
                if shot == "explore":
                    page.locator(".chart path").first.wait_for()
                    page.locator(".values .pick").first.wait_for()
                    page.locator(".row").nth(2).click()
                page.screenshot(path=folder / f"{shot}.png")
                print(f"{folder / shot}.png: {(folder / f'{shot}.png').stat().st_size:,} bytes")
                page.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
