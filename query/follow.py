"""`neve tail` and `neve search --follow`: what arrives, over any number of connections."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from query.client import AnsweredError, Client, Told, Unreachable

PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts to come back
SOON = (429, 503)  # what a server says that is starting, or full
SPOOLED = "spooled"  # the cursor that asks for what is not stored yet


def follow(client: Client, params: Mapping[str, Any]) -> Iterator[Told]:
    """What a tail is told, for ever: a connection that is lost is made anew, after the last event of the one before.

    Raises AnsweredError, Unreachable where the first cannot be made.
    """
    last_id, begun, failures = "", False, 0
    while True:
        try:
            for told in client.tail(params if not last_id else {**params, "cursor": None}, last_id):
                begun, failures = True, 0
                last_id = told.id or last_id
                yield told
        except (AnsweredError, Unreachable) as error:
            if not begun or (isinstance(error, AnsweredError) and error.status not in SOON):
                raise
            if not failures:
                print(f"neve: {error.message}; trying to come back", file=sys.stderr)
        time.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        failures += 1


def followed(
    client: Client,
    watched: Mapping[str, Any],
    searched: Mapping[str, Any],
    judge: Callable[[dict[str, Any]], object],
) -> Iterator[dict[str, Any]]:
    """The events of a search, oldest first, then what arrives, each once. The parameters of both; `judge` is given the
    search's statistics, which say what it lacks."""
    told = follow(client, {**watched, "cursor": SPOOLED})
    waiting = []
    # Up to the first place without an event it is what is not stored yet; all else can be found by now.
    for one in told:
        if not one.kind:
            break
        waiting.append(one)
    answer = client.get("/api/v1/search", searched)
    judge(answer["stats"])
    page = answer["events"][::-1]
    shown = {event["id"] for event in page}
    yield from page
    for one in _both(waiting, told):
        if (event := event_of(one)) is not None and event["id"] not in shown:
            yield event


def _both(first: list[Told], then: Iterator[Told]) -> Iterator[Told]:
    yield from first
    yield from then


def event_of(told: Told) -> dict[str, Any] | None:
    """The event that was told; a gap is said on stderr."""
    if told.kind == "log":
        event: dict[str, Any] = json.loads(told.data)
        return event
    if told.kind == "gap":
        print(f"neve: {gap_text(json.loads(told.data))}", file=sys.stderr)
    return None


def gap_text(gap: Mapping[str, Any]) -> str:
    """A gap in words."""
    least = gap.get("at_least")
    if gap.get("skipped") is not None:
        what = f"{gap['skipped']:,} events were skipped"
    else:
        what = f"{least:,} events or more were skipped" if least else "events may be missing"
    return f"{what}: {gap.get('reason', '')}"
