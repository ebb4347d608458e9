"""`neve mcp` with the protocol's own client, as an assistant starts it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from bench.server import Server

LINES = b"".join(
    b'{"timestamp":"2026-01-31T12:%02d:00Z","level":"%s","service":"till","message":"%s %d"}\n'
    % (minute, level, text, minute)
    for minute, level, text in [
        *((minute, b"info", b"paid in ms") for minute in range(20)),
        *((minute, b"error", b"card reader lost its line") for minute in range(10, 20)),
    ]
)
RANGES = {"from_time": "2026-01-31T12:10:00Z", "to_time": "2026-01-31T12:20:00Z"}


@pytest.fixture(scope="module")
def shipped(server: Server) -> Server:
    reply = server.client.post(
        "/api/v1/ingest", content=LINES, headers={"content-type": "application/x-ndjson"}
    )
    assert reply.json()["accepted"] == 30
    server.wait_for("service:till", 30)
    return server


def talk(url: str, work: Callable[[Client], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        program = StdioServerParameters(
            command=sys.executable, args=["-m", "neve", "mcp", "--url", url], cwd=Path(__file__).parents[2]
        )
        async with Client(program) as client:
            return await work(client)

    return asyncio.run(asyncio.wait_for(session(), 240))


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool answers; its text where it is an error."""
    answer = await client.call_tool(tool, arguments)
    text = "".join(part.text for part in answer.content)
    if answer.is_error:
        return {"error": text}
    found: dict[str, Any] = json.loads(text)
    return found


def test_tools_are_described_and_read_only(shipped: Server) -> None:
    tools = talk(shipped.url, lambda client: client.list_tools()).tools
    assert {tool.name for tool in tools} == {"search", "patterns", "compare", "fields", "context"}
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint


def test_search_and_the_lines_around_an_event(shipped: Server) -> None:
    async def work(client: Client) -> None:
        found = await ask(client, "search", query="service:till level:error", limit=3)
        assert [event["message"] for event in found["events"]] == [
            f"card reader lost its line {minute}" for minute in (19, 18, 17)
        ]
        assert found["stats"]["complete"]
        around = await ask(client, "context", id=found["events"][0]["id"], before=2, after=2)
        assert found["events"][0]["id"] in [event["id"] for event in around["events"]]
        table = await ask(client, "search", query="service:till | stats count() as n by level | sort -n")
        assert table["rows"] == [["info", 20], ["error", 10]]
        table = await ask(client, "search", query="service:till | stats count() by message")
        assert (len(table["rows"]), table["stats"]["complete"]) == (30, True)
        table = await ask(client, "search", query="service:till | stats count() by message", limit=29)
        assert (len(table["rows"]), table["stats"]["limits_hit"]) == (29, ["result_rows"])

    talk(shipped.url, work)


def test_what_changed_between_two_ranges(shipped: Server) -> None:
    before = {"compare_from": "2026-01-31T12:00:00Z", "compare_to": "2026-01-31T12:10:00Z"}
    there = {"from_time": before["compare_from"], "to_time": before["compare_to"]}
    back = {"compare_from": RANGES["from_time"], "compare_to": RANGES["to_time"]}

    async def work(client: Client) -> None:
        found = (await ask(client, "compare", query="service:till", **RANGES, **before))["patterns"]
        assert [(one["change"], one["count"]) for one in found] == [("new", 10), ("same", 10)]
        assert "card reader" in found[0]["template"]
        found = (await ask(client, "compare", query="service:till", **there, **back))["patterns"]
        assert [(one["change"], one["count"]) for one in found] == [("gone", 0), ("same", 10)]

    talk(shipped.url, work)


def test_fields_and_their_values(shipped: Server) -> None:
    async def work(client: Client) -> None:
        fields = (await ask(client, "fields", query="service:till"))["fields"]
        assert {"level", "service", "message"} <= {one["name"] for one in fields}
        values = (await ask(client, "fields", query="service:till", name="level"))["values"]
        assert [(one["value"], one["count"]) for one in values] == [("info", 20), ("error", 10)]
        assert "expected" in (await ask(client, "search", query="service:("))["error"]

    talk(shipped.url, work)


def test_a_server_that_is_away_is_said() -> None:
    said = talk("http://127.0.0.1:9", lambda client: ask(client, "search"))
    assert "neve serve" in said["error"]
