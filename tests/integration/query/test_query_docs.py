"""Every example of docs/query.md, run against the events that the page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from query.times import parse_instant

PAGE = (Path(__file__).parents[3] / "docs" / "query.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^\| `(.+?)` \| (\d+) \|", re.MULTILINE)


def page_events() -> list[dict[str, Any]]:
    """The events of the page's JSON block, as the block maker takes them."""
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    events = [json.loads(line) for line in block[1].splitlines()]
    for event in events:
        event["timestamp"] = parse_instant(event["timestamp"], 0)
        event["fingerprint"] = int(event.get("fingerprint", "1"), 16)
    return events


EXAMPLES = [(query.replace(r"\|", "|"), int(count)) for query, count in EXAMPLE.findall(PAGE)]


def test_the_page_has_examples_of_every_kind() -> None:
    assert len(EXAMPLES) > 80


def test_every_example_gives_what_the_page_says(api: httpx.Client, store: Callable[..., object]) -> None:
    store(page_events())
    wrong = []
    for query, expected in EXAMPLES:
        answer = api.get("/api/v1/search", params={"q": query}).json()
        found = len(answer.get("events", answer.get("rows", [])))
        if found != expected or "error" in answer or not answer["stats"]["complete"]:
            wrong.append((query, expected, found, answer.get("error")))
    assert not wrong, "\n".join(map(str, wrong))
