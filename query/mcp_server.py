"""`neve mcp`: the search API as tools of the Model Context Protocol, over standard input and output.

Each tool is one question to the HTTP API and answers with its JSON. Nothing can be changed through them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any
from urllib.parse import quote

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from query.client import Client
from query.parse import has_pipes
from storage.address import address
from storage.errors import NeveError

EVENTS = 20
MAX_EVENTS = 200
"""Of one answer: more fills a reader's context, and a narrower question is better."""
READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
INSTRUCTIONS = """Logs of the Neve server at {url}.

Start with `patterns` (the shapes of messages, most common first) or `fields` (what events have), then narrow with
`search`. After an incident, `compare` two ranges: new and grown patterns come first.

The query language: words and "phrases" of the message; field:value, level:>=warn, status:>=500, took:>250ms,
host:web-*, region:(eu OR us), user_id:* (is there), /regex/; beside one another terms must all hold, OR, NOT or -, ( ).
Pipes make tables: | stats count() as n, p95(latency_ms) by service, bin(5m) | where n > 10 | sort -n | limit 20;
also | top 10 host. Times: RFC 3339, Unix, or relative (15m, now-1h).
An answer whose stats.complete is false lacks something: say so."""

Query = Annotated[str, Field(description="In Neve's query language; empty finds every event")]
From = Annotated[
    str, Field(description="From this time on: 15m, now-1h, 2026-01-31T12:00:00Z; empty: from the first")
]
To = Annotated[str, Field(description="Before this time; empty: until now")]
Namespace = Annotated[str, Field(description="Empty: the default one")]


def make_server(client: Client, url: str) -> MCPServer:
    """The tools over one Neve server."""
    server = MCPServer(
        "neve", version=version("neve"), instructions=INSTRUCTIONS.format(url=url), log_level="WARNING"
    )
    ask = _asking(client)

    @server.tool(annotations=READ_ONLY)
    def search(
        query: Query = "",
        from_time: From = "",
        to_time: To = "",
        limit: Annotated[
            int | None,
            Field(
                ge=1,
                le=MAX_EVENTS,
                description=f"How many events ({EVENTS}), or rows of a table ({MAX_EVENTS})",
            ),
        ] = None,
        order: Annotated[str, Field(description="newest or oldest first")] = "newest",
        cursor: Annotated[str, Field(description="next_cursor of the page before")] = "",
        namespace: Namespace = "",
    ) -> dict[str, Any]:
        """Find events, newest first; with pipes, a table of columns and rows."""
        is_table = has_pipes(query)
        most = limit or (MAX_EVENTS if is_table else EVENTS)
        found = ask(
            "/api/v1/search", q=query, to=to_time, limit=most + is_table, order=order, cursor=cursor,
            namespace=namespace, **{"from": from_time},
        )  # fmt: skip
        return _cut(found, most) if is_table else found

    @server.tool(annotations=READ_ONLY)
    def patterns(
        query: Query = "", from_time: From = "", to_time: To = "", limit: int = 30, namespace: Namespace = ""
    ) -> dict[str, Any]:
        """The shapes of the messages that a query finds, counted over all of them, most common first."""
        return ask(
            "/api/v1/patterns", q=query, to=to_time, limit=limit, namespace=namespace, **{"from": from_time}
        )

    @server.tool(annotations=READ_ONLY)
    def compare(
        from_time: Annotated[str, Field(description="Start of the range to explain, such as the incident's")],
        to_time: Annotated[str, Field(description="Its end")],
        compare_from: Annotated[
            str, Field(description="Start of the range to compare with, such as the hour before")
        ],
        compare_to: Annotated[str, Field(description="Its end")],
        query: Query = "",
        limit: int = 30,
        namespace: Namespace = "",
    ) -> dict[str, Any]:
        """What changed between two ranges: patterns that are new, gone, grown or shrunk, most surprising first."""
        return ask(
            "/api/v1/patterns/compare", q=query, to=to_time, compare_from=compare_from, compare_to=compare_to,
            limit=limit, namespace=namespace, **{"from": from_time},
        )  # fmt: skip

    @server.tool(annotations=READ_ONLY)
    def fields(
        query: Query = "",
        from_time: From = "",
        to_time: To = "",
        name: Annotated[
            str, Field(description="A field, to have its most common values; empty: all fields")
        ] = "",
        limit: int = 50,
        namespace: Namespace = "",
    ) -> dict[str, Any]:
        """The fields that events have, with kind and count; or the values of one."""
        path = f"/api/v1/fields/{quote(name, safe='')}/values" if name else "/api/v1/fields"
        return ask(path, q=query, to=to_time, limit=limit, namespace=namespace, **{"from": from_time})

    @server.tool(annotations=READ_ONLY)
    def context(
        id: Annotated[str, Field(description="An event's id, from search")],
        before: int = 10,
        after: int = 10,
        namespace: Namespace = "",
    ) -> dict[str, Any]:
        """The lines around one event, of the same service and host."""
        return ask("/api/v1/context", id=id, before=before, after=after, namespace=namespace)

    return server


def _cut(table: dict[str, Any], most: int) -> dict[str, Any]:
    """So many rows of a table, which says so where there are more: it has no cursor that would."""
    rows, stats = table["rows"], table["stats"]
    if len(rows) <= most:
        return table
    stats = {**stats, "complete": False, "limits_hit": [*stats["limits_hit"], "result_rows"]}
    return {**table, "rows": rows[:most], "stats": stats}


def _asking(client: Client) -> Callable[..., dict[str, Any]]:
    def ask(path: str, **params: Any) -> dict[str, Any]:
        try:
            return client.get(path, params)
        except NeveError as error:
            raise ToolError(f"{error.message}; {error.hint}" if error.hint else error.message) from None

    return ask


def run(args: argparse.Namespace) -> int:
    """Serve until standard input ends."""
    url = address(args.url)
    client = Client(url)
    try:
        make_server(client, url).run("stdio")
    except KeyboardInterrupt:
        pass
    finally:
        client.close()
    return 0


def main() -> int:
    """`python -m query.mcp_server`, for who configures it by module."""
    return run(argparse.Namespace(url=None))


if __name__ == "__main__":
    sys.exit(main())
