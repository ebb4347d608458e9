"""Every example of docs/loki.md, against the lines that the page shows: first hot, then cold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from query.logql import ast
from query.logql.build import NEEDS_UNWRAP
from query.logql.parse import parse
from query.times import parse_instant
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.hot import Hot

FILE = Path(__file__).parents[3] / "docs" / "loki.md"
PAGE = FILE.read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^\| `(.+?)` \| (.*?) \|$", re.MULTILINE)
TABLE = re.compile(r"^\| query \| answer \|\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
EXAMPLES = [
    (query.replace(r"\|", "|"), expected.replace(r"\|", "|"))
    for table in TABLE.findall(PAGE)
    for query, expected in EXAMPLE.findall(table)
]
AT = parse_instant("2026-01-31T12:10:00Z", 0)


def page_events() -> list[dict[str, Any]]:
    block = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert block
    events = [json.loads(line) for line in block[1].splitlines()]
    return [{**event, "timestamp": parse_instant(event["timestamp"], 0)} for event in events]


EVENTS = page_events()
NUMBERS = {event["timestamp"]: number for number, event in enumerate(EVENTS, 1)}


def shown(api: httpx.Client, query: str) -> str:
    """An answer as the page writes it."""
    if isinstance(parse(query), ast.LogQuery):
        asked = {"query": query, "start": "2026-01-31T12:00:00Z", "end": AT, "direction": "forward"}
        answer = api.get("/loki/api/v1/query_range", params=asked)
        if answer.status_code != 200:
            return answer.text
        found = sorted(
            (int(at), line) for one in answer.json()["data"]["result"] for at, line in one["values"]
        )
        numbers = (
            "all" if len(found) == len(EVENTS) else ", ".join(str(NUMBERS[at]) for at, _ in found) or "none"
        )
        new = "line_format" in query and found
        return f"{numbers}: `{found[0][1]}`" if new else numbers
    answer = api.get("/loki/api/v1/query", params={"query": query, "time": AT})
    if answer.status_code != 200:
        return answer.text
    result = answer.json()["data"]["result"]
    if answer.json()["data"]["resultType"] == "scalar":
        return f"`{result[1]}`"
    return ", ".join(f"`{_labels(one['metric'])} {one['value'][1]}`" for one in result) or "none"


def _labels(metric: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in metric.items()) + "}"


def wrong(api: httpx.Client) -> str:
    found = [(query, expected, shown(api, query)) for query, expected in EXAMPLES]
    return "\n".join(map(str, (one for one in found if one[1] != one[2])))


def test_every_table_of_examples_is_read() -> None:
    assert len(EXAMPLES) == sum(table.count("\n") for table in TABLE.findall(PAGE)) > 70


def test_every_example_gives_what_the_page_says(
    hot: Hot,
    clickhouse: EmbeddedServer,
    namespace: str,
    serve: Callable[..., str],
    store: Callable[..., object],
) -> None:
    cold = ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))
    store(EVENTS)
    with httpx.Client(base_url=serve(cold=cold), trust_env=False, timeout=240) as api:
        assert not (found := wrong(api)), found
        assert Ager(hot, clickhouse.config, ColdTier(cold)).age(namespace, Wish(now=True, grace=0))
        assert not (found := wrong(api)), found


def test_every_form_has_an_example() -> None:
    text = " ".join(query for query, _ in EXAMPLES)
    words = [
        *sorted(NEEDS_UNWRAP), "rate(", "count_over_time(", "bytes_over_time(", "bytes_rate(", "absent_over_time(",
        "sum(", "avg(", "min(", "max ", "count(", "stddev(", "stdvar(", "topk(", "bottomk(", "sort(", "sort_desc(",
        "label_replace(", "vector(", "offset", "bool", "on (", "ignoring (", "group_left", "unless", " and ", " or ",
        "| json", "| logfmt", "| regexp", "| pattern", "| unpack", "| line_format", "| label_format", "| drop",
        "| keep",
        "| decolorize", "|=", "!=", "|~", "!~", "|>", "!>", "=~", "without (", "duration(", "bytes(",
    ]  # fmt: skip
    assert [word for word in words if word not in text] == []
