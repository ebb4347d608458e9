"""Answers as CSV (RFC 4180): a head with the names of the columns, then a line for each event or row.

Where a limit of the query cut it short the last line says so: `# incomplete: …`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from query.events import EVENT_FIELDS
from query.running import Running

MEDIA_TYPE = "text/csv"


def of_events(lists: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    """Lists of events; tags are one column, as a JSON object."""
    yield _lines([list(EVENT_FIELDS)])
    for events in lists:
        yield _lines([_cell(event[name]) for name in EVENT_FIELDS] for event in events)


def of_rows(names: list[str], pieces: Iterable[list[list[Any]]]) -> Iterator[bytes]:
    """Rows of a table."""
    yield _lines([names])
    for rows in pieces:
        yield _lines(list(map(_cell, row)) for row in rows)


def ending(running: Running) -> bytes:
    """What is said where rows are missing; nothing where they are all there."""
    if not running.lacking:
        return b""
    return _lines([[f"# incomplete: limit on {', '.join(running.lacking)}"]])


def _lines(rows: Iterable[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Nothing is an empty cell; what is no single value is JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
