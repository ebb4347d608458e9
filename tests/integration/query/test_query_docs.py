"""Every example of docs/query.md and docs/coming-from.md, run against the events that the first shows: filters
find the events whose numbers stand there, queries with pipes give the rows that stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from query import ast
from query.parse import parse
from query.times import parse_instant

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "query.md").read_text(encoding="utf-8")
OTHERS = (DOCS / "coming-from.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| (filter|query) \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
EXAMPLE = re.compile(r"^\| `(.+?)` \| (.*?) \|(?: |$)", re.MULTILINE)
EXAMPLES = [
    (query.replace(r"\|", "|"), expected.replace(r"\|", "|"))
    for _, table in TABLE.findall(PAGE + OTHERS)
    for query, expected in EXAMPLE.findall(table)
]


def page_events() -> list[dict[str, Any]]:
    """The events of the page's JSON block, as the block maker takes them."""
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    events = [json.loads(line) for line in block[1].splitlines()]
    for event in events:
        event["timestamp"] = parse_instant(event["timestamp"], 0)
        event["fingerprint"] = int(event.get("fingerprint", "1"), 16)
    return events


EVENTS = page_events()


def shown(answer: dict[str, Any]) -> str:
    """An answer as the page writes it."""
    if "rows" in answer:
        return ", ".join(f"`{json.dumps(row, ensure_ascii=False)}`" for row in answer["rows"]) or "none"
    numbers = sorted(int(event["id"].split("-")[1]) + 1 for event in answer["events"])
    return "all" if len(numbers) == len(EVENTS) else ", ".join(map(str, numbers)) or "none"


def test_every_table_of_examples_is_read() -> None:
    rows = sum(table.count("\n") for _, table in TABLE.findall(PAGE + OTHERS))
    assert len(EXAMPLES) == rows > 120


def test_every_example_gives_what_the_page_says(api: httpx.Client, store: Callable[..., object]) -> None:
    store(EVENTS)
    wrong = []
    for query, expected in EXAMPLES:
        answer = api.get("/api/v1/search", params={"q": query}).json()
        if "error" in answer or not answer["stats"]["complete"] or shown(answer) != expected:
            wrong.append((query, expected, answer.get("error") or shown(answer)))
    assert not wrong, "\n".join(map(str, wrong))


def node_types(node: Any) -> set[type]:
    """The classes of a tree's nodes."""
    if isinstance(node, tuple):
        return set().union(*map(node_types, node))
    if not hasattr(node, "__dataclass_fields__"):
        return set()
    return {type(node)}.union(*(node_types(getattr(node, name)) for name in node.__dataclass_fields__))


@pytest.mark.parametrize("form", [*ast.Pipe.__args__, *ast.Filter.__args__, *ast.Test.__args__])
def test_every_form_has_an_example(form: type) -> None:
    assert any(form in node_types(parse(query)) for query, _ in EXAMPLES)


FUNCTIONS = ["count", "sum", "avg", "min", "max", "p50", "quantile", "rate", "uniq", "any", "first", "last"]


@pytest.mark.parametrize("word", [*(f"{name}(" for name in FUNCTIONS), "bin(", "rare", " desc", "from path"])
def test_every_function_has_an_example(word: str) -> None:
    assert any(word in query for query, _ in EXAMPLES)
