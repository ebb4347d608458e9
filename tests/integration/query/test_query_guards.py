"""Roles with a filter, over the API: what their filter does not find does not exist for them, whatever they ask.

Every path is asked by somebody whose role has a filter, and by somebody who may see all and asks with that filter: the
answers are the same. A path that nobody thought of here fails a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest

from query.app import create_app
from query.guards import check_filter
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.paths import Need, needs
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer, saved_config
from storage.embedded_files import SEARCHER
from storage.hot import Hot
from tests.routes import paths_of

from .conftest import serving

MINUTE = 60 * 10**9
START = 1_760_000_000 * 10**9 // MINUTE * MINUTE
FILTER = "service:shop"
HIDDEN = ("hidden", "bank", "vault", "9f9f9f9f9f9f9f9f")
"""Words that only events have which the filter does not find."""
EVENTS: list[dict[str, Any]] = [
    *(
        {"timestamp": START + n * MINUTE, "service": "shop", "host": "h", "level": "info", "message": f"sold {n}",
         "fingerprint": 0xAB01, "tags": {"item": f"i{n % 3}"}}
        for n in range(30)
    ),
    *(
        {"timestamp": START + n * MINUTE + 7, "service": "bank", "host": "h", "level": "error",
         "message": f"hidden {n}", "fingerprint": 0x9F9F9F9F9F9F9F9F, "tags": {"vault": f"v{n}"}}
        for n in range(40)
    ),
    *(
        {"timestamp": START + n * MINUTE + 9, "service": "", "host": "h", "level": "warn", "message": "hidden too",
         "fingerprint": 0xAB01, "tags": {}}
        for n in range(5)
    ),
]  # fmt: skip
ASKED: dict[str, list[dict[str, Any]]] = {
    "/api/v1/search": [
        {"q": ""},
        {"q": "hidden OR sold"},
        {"q": "-sold"},
        {"q": "NOT service:shop"},
        {"q": "service:*"},
        {"q": "fingerprint:000000000000ab01"},
        {"q": "vault:*"},
        {"q": "/hid+en/"},
        {"q": "", "order": "oldest", "limit": 3},
        {"q": "", "from": str(START // 10**9), "to": str(START // 10**9 + 600)},
        {"q": "| stats count() as n, min(timestamp) as first by service"},
        {"q": "| top 10 host"},
        {"q": "| patterns"},
        {"q": "| histogram(5m) by level"},
        {"q": "| uniq service"},
        {"q": '| extract "<word:word> <n:number>" | stats sum(n) as s'},
    ],
    "/api/v1/histogram": [
        {},
        {"by": "level"},
        {"q": "level:error"},
        {"by": "service", "buckets": 5},
        {"q": "hidden"},
    ],
    "/api/v1/patterns": [
        {},
        {"q": "hidden"},
        {"new_since": str(START // 10**9 + 600)},
        {"new_since": "1000000000"},
    ],
    "/api/v1/patterns/compare": [
        {"from": str(START // 10**9 + 600), "to": str(START // 10**9 + 1200), "sparkline": 5},
        {"compare_q": "hidden"},
        {"q": "item:i1", "compare_q": "*"},
        {"q": "hidden", "compare_q": "sold", "change": "gone"},
    ],
    "/api/v1/fields": [{}, {"q": "hidden OR sold"}],
    "/api/v1/fields/compare": [
        {"q": "item:i1", "compare_q": "hidden"},
        {"q": "item:i1", "compare_q": "item:*"},
        {"q": "hidden", "compare_q": "*"},
    ],
    "/api/v1/fields/{name:path}/values": [
        {"name": n} for n in ("service", "vault", "level", "fingerprint", "item")
    ],
    "/api/v1/context": [],  # by ids, below
    "/api/v1/explain": [{"q": "sold"}],
    "/api/v1/tail": [],  # tests/e2e/test_access.py
}
LINES = ("{}", '{service_name=~".*"}', '{} |= "hidden"', '{} |= "sold"', '{host="h"} != "sold"', '{level="error"}',
         '{vault=~".+"}', "{} | logfmt", '{} | pattern "<service> <n>" | service != ""',
         '{} | label_format service="shop"',
         '{} | line_format "{{.service_name}} {{.vault}}"', '{} | service_name="bank"')  # fmt: skip
SELECTORS = ("{}", '{host="h"}', '{vault=~".+"}', '{level="error"}', '{service_name="bank"}')
NUMBERS = ("sum(count_over_time({}[10m]))", "sum by (service_name) (count_over_time({}[5m]))",
           'sum by (vault) (bytes_over_time({vault=~".*"}[1h]))', "topk(5, sum by (level) (rate({}[1m])))",
           'sum by (w) (count_over_time({} | pattern "<w> <n>" [10m]))',
           "sum by (service) (count_over_time({} | logfmt [1h]))",
           'sum by (service_name) (count_over_time({} | label_format service_name="shop" [1h]))',
           "absent_over_time({vault=~\".+\"}[1h])")  # fmt: skip
LOKI: dict[str, list[dict[str, str]]] = {
    "query": [{"query": one} for one in NUMBERS],
    "query_range": [{"query": one, "step": "300"} for one in (*NUMBERS, *LINES)],
    "labels": [{}, *({"query": one} for one in SELECTORS)],
    "label": [{}],
    "label/{name}/values": [
        {"name": name, "query": one}
        for name in ("service_name", "level", "vault", "item", "host")
        for one in SELECTORS
    ],
    "series": [{"match[]": one} for one in SELECTORS],
    "detected_labels": [{"query": one} for one in SELECTORS],
    "index/stats": [{"query": one} for one in SELECTORS],
    "index/volume": [{"query": one} for one in SELECTORS],
    "index/volume_range": [{"query": one, "step": "300"} for one in SELECTORS],
    "patterns": [{"query": one, "step": "300"} for one in SELECTORS],
    "detected_fields": [{"query": one} for one in LINES],
    "detected_field/{name}/values": [
        {"name": name, "query": one} for name in ("vault", "item", "service_name") for one in LINES
    ],
    "format_query": [],  # says what was asked
    "status/buildinfo": [],
    "tail": [],  # tests/e2e/test_access.py
}
WITHOUT = ("elapsed_ms", "rows_read", "bytes_read")
Client = Callable[[str], httpx.Client]


@pytest.fixture
def filter_(hot: Hot, namespace: str, store: Callable[[Sequence[Mapping[str, Any]]], Any]) -> str:
    store(EVENTS)
    # What is known of patterns is of all events: `sold` is shown as what an event that is hidden made of it.
    hot.add_templates(namespace, [(0xAB01, "sold <*>"), (0x9F9F9F9F9F9F9F9F, "hidden <*>")])
    return FILTER


@pytest.fixture
def config(clickhouse: EmbeddedServer, namespace: str) -> ColdConfig:
    return ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))


@pytest.fixture
def clients(
    hot: Hot, clickhouse: EmbeddedServer, namespace: str, filter_: str, config: ColdConfig
) -> Iterator[Client]:
    """Clients by role: `seller` has the filter, "" none. Queries run as the user of ClickHouse who may only read."""
    book = Book(hot)
    access = Access(AuthConfig(enabled=True), book)
    admin = Administration(hot, check_filter=check_filter, changed=book.refresh)
    admin.set_role("seller", {"filter": filter_})
    opened: list[httpx.Client] = []
    reader = Hot(saved_config(clickhouse.data_dir, SEARCHER))
    app = create_app(reader, default_namespace=namespace, access=access, owner=hot, cold=config)
    with reader, serving(app) as url:

        def client(role: str) -> httpx.Client:
            key = admin.create_key({"scopes": ["search"], "namespaces": [namespace], "role": role})["key"]
            headers = {"Authorization": f"Bearer {key}"}
            opened.append(httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=240))
            return opened[-1]

        yield client
        for one in opened:
            one.close()


def stripped(answer: dict[str, Any]) -> dict[str, Any]:
    stats = {name: value for name, value in answer["stats"].items() if name not in WITHOUT}
    return {**answer, "stats": stats, "next_cursor": None}


def get(client: httpx.Client, path: str, asked: Mapping[str, Any]) -> httpx.Response:
    asked = dict(asked)
    return client.get(path.replace("{name:path}", str(asked.pop("name", ""))), params=asked)


def test_every_path_that_reads_is_asked_here(hot: Hot) -> None:
    need = needs("api")
    paths = paths_of(create_app(hot))
    asked = {*ASKED, *(f"/loki/api/v1/{path}" for path in LOKI)}
    # No events, or only what somebody's alert found, which test_alerts.py looks at.
    kept = {path for path in paths if path.startswith(("/api/v1/saved", "/api/v1/links", "/api/v1/alerts"))}
    assert {path for path in paths if need(path) is Need.SEARCH} - kept == asked


def test_hidden_events_do_not_exist(clients: Client) -> None:
    seller, other = clients("seller"), clients("")
    for path, all_asked in ASKED.items():
        for asked in all_asked if "explain" not in path else ():
            query = str(asked.get("q", ""))
            filter_, pipe, pipes = query.partition("|")
            there = f"({filter_}) {FILTER}" if filter_.strip() else FILTER
            if "compare_q" in asked:
                asked = {"from": str(START // 10**9), "to": str(START // 10**9 + 7200), **asked}
            narrowed = {**asked, "q": f"{there} {pipe}{pipes}"}
            if path.endswith("/compare"):
                narrowed["compare_q"] = f"({asked.get('compare_q', '*')}) {FILTER}"
            seen, same = get(seller, path, asked), get(other, path, narrowed)
            assert seen.status_code == same.status_code == 200, (path, asked, seen.text, same.text)
            said = {**seen.json(), "field": ""}  # what was asked may be said again
            assert not [word for word in HIDDEN if word in json.dumps(said)], (path, asked)
            assert seen.json()["stats"]["rows_read"] is None
            if (
                "new_since" not in asked and "atterns" not in f"{path}{query}"
            ):  # those have a test of their own
                assert stripped(seen.json()) == stripped(same.json()), (path, asked)


def narrowed(query: str) -> str:
    """The same with the filter of the role in every selector."""
    return re.sub(r"(?<!{){(?!{)", '{service_name="shop",', query).replace(",}", "}")


def loki(client: httpx.Client, path: str, asked: Mapping[str, str]) -> httpx.Response:
    asked = {
        "start": str(START - MINUTE),
        "end": str(START + 100 * MINUTE),
        "time": str(START + 45 * MINUTE),
        **asked,
    }
    path = path.replace("{name}", asked.pop("name", ""))
    return client.get(f"/loki/api/v1/{path}", params=asked)


def test_nor_in_what_clients_of_loki_ask(clients: Client) -> None:
    seller, other = clients("seller"), clients("")
    for path, all_asked in LOKI.items():
        for asked in all_asked or []:
            there = {**asked}
            name = "match[]" if path == "series" else "query"
            there[name] = narrowed(asked.get(name, "{}"))
            if path in ("index/volume", "index/volume_range"):
                asked, there = ({**one, "targetLabels": "service_name,host"} for one in (asked, there))
            seen, same = loki(seller, path, asked), loki(other, path, there)
            assert seen.status_code == same.status_code == 200, (path, asked, seen.text, same.text)
            assert not [word for word in HIDDEN if word in seen.text], (path, asked, seen.text)
            if path == "patterns" or "absent" in there[name]:
                continue  # named by their first event each; labels are of what was asked
            assert shown(seen) == shown(same), (path, asked)


def shown(answer: httpx.Response) -> Any:
    said = answer.json()
    if isinstance(said.get("data"), dict):
        said["data"].pop("stats", None)
    said.pop("stats", None)
    return said


def test_loki_counts_what_is_seen(clients: Client) -> None:
    seller = clients("seller")
    total = loki(
        seller, "query", {"query": "sum(count_over_time({}[2h]))", "time": str(START + 100 * MINUTE)}
    )
    assert [one["value"][1] for one in total.json()["data"]["result"]] == ["30"]
    assert loki(seller, "index/stats", {"query": "{}"}).json()["entries"] == 30
    found = loki(seller, "patterns", {"query": "{}", "step": "60"}).json()["data"]
    assert [sum(count for _, count in one["samples"]) for one in found] == [30]
    stats = loki(seller, "query_range", {"query": "{}"}).json()["data"]["stats"]["summary"]
    assert (stats["totalBytesProcessed"], stats["totalLinesProcessed"]) == (0, 0)


def test_the_rest_is_of_what_is_seen(clients: Client) -> None:
    """Without another query, events are compared with the others of their range."""
    found = clients("seller").get("/api/v1/fields/compare", params={"q": "item:i1"}).json()
    assert (found["total_events"], found["other_events"]) == (10, 20)
    asked = {"from": str((START + 10 * MINUTE) // 10**9), "to": str((START + 20 * MINUTE) // 10**9)}
    found = clients("seller").get("/api/v1/patterns/compare", params={**asked, "sparkline": 5}).json()
    assert (found["total_events"], found["previous_total_events"]) == (10, 10)
    assert [sum(one["sparkline"]) for one in found["patterns"]] == [10]


def test_a_file_of_commas_shows_the_same(clients: Client) -> None:
    for query in ("", "| stats count() as n by service"):
        found = clients("seller").get("/api/v1/search", params={"q": query, "format": "csv"})
        assert found.status_code == 200
        assert "shop" in found.text
        assert not [word for word in HIDDEN if word in found.text]


def test_nor_when_they_are_cold(
    hot: Hot, clickhouse: EmbeddedServer, config: ColdConfig, namespace: str, clients: Client
) -> None:
    Ager(hot, clickhouse.config, ColdTier(config), lambda _step: None).age(namespace, Wish(now=True, grace=0))
    seller = clients("seller")
    found = loki(seller, "query_range", {"query": "{}", "limit": "1000"})
    assert sum(len(one["values"]) for one in found.json()["data"]["result"]) == 30
    assert not [word for word in HIDDEN if word in found.text]
    for path in ("/api/v1/search", "/api/v1/histogram", "/api/v1/patterns", "/api/v1/fields"):
        found = seller.get(path, params={"q": "hidden OR sold OR *"})
        assert found.json()["stats"]["tiers"] == ["cold"], path
        assert not [word for word in HIDDEN if word in found.text], path
    assert seller.get("/api/v1/search", params={"q": "| stats count() as n"}).json()["rows"] == [[30]]
    new = {"new_since": str(START // 10**9 + 600)}
    assert seller.get("/api/v1/patterns", params=new).json()["patterns"] == []
    event = seller.get("/api/v1/search", params={"limit": 1}).json()["events"][0]
    around = seller.get("/api/v1/context", params={"id": event["id"], "before": 500}).json()["events"]
    assert len(around) == 30
    assert seller.post("/api/v1/explain", json={"q": "*"}).json()["plan"]["snapshot"] is None


def test_ndjson_shows_the_same(clients: Client) -> None:
    accept = {"Accept": "application/x-ndjson"}
    for query in ("", "| stats count() as n by service"):
        lines = clients("seller").get("/api/v1/search", params={"q": query}, headers=accept).text
        assert not [word for word in HIDDEN if word in lines]
    assert len(clients("seller").get("/api/v1/search", headers=accept).text.splitlines()) == 31


def test_patterns_are_counted_and_dated_by_what_is_seen(clients: Client) -> None:
    found = clients("seller").get("/api/v1/patterns").json()
    [one] = found["patterns"]
    assert (one["count"], one["services"], found["total_events"]) == (30, ["shop"], 30)
    assert one["sample"] == "sold 29"
    # One of that shape that is hidden came before: it makes nothing older.
    later = {"new_since": str(START // 10**9 + 60), "q": "item:*"}
    assert clients("seller").get("/api/v1/patterns", params=later).json()["patterns"] == []
    new = {"new_since": str(START // 10**9)}
    assert [p["count"] for p in clients("seller").get("/api/v1/patterns", params=new).json()["patterns"]] == [
        30
    ]


def test_the_lines_around_one(clients: Client) -> None:
    everything = clients("").get("/api/v1/search", params={"limit": 1000}).json()["events"]
    seller = clients("seller")
    for event in everything[:12]:
        found = seller.get("/api/v1/context", params={"id": event["id"], "before": 3, "after": 3})
        if event["service"] != "shop":
            nothing = seller.get("/api/v1/context", params={"id": f"{'0' * 32}-1"})
            assert found.status_code == nothing.status_code == 404
            assert found.json()["error"]["hint"] == nothing.json()["error"]["hint"]
        else:
            assert {one["service"] for one in found.json()["events"]} == {"shop"}


def test_a_cursor_of_somebody_else_opens_nothing(clients: Client) -> None:
    cursor = clients("").get("/api/v1/search", params={"limit": 5}).json()["next_cursor"]
    found = clients("seller").get("/api/v1/search", params={"limit": 100, "cursor": cursor})
    assert {one["service"] for one in found.json()["events"]} == {"shop"}


def test_explain_does_not_tell_the_filter(clients: Client) -> None:
    found = clients("seller").post("/api/v1/explain", json={"q": "sold"})
    assert found.status_code == 200
    assert '"shop"' not in json.dumps(found.json()["plan"]["condition"])
    assert '"shop"' not in json.dumps(found.json()["sql"])
    assert found.json()["plan"]["snapshot"] is None


def test_errors_do_not_tell_the_filter(clients: Client) -> None:
    for query in ("(", "a | nonsense", "/(/", "level:>=nothing"):
        found = clients("seller").get("/api/v1/search", params={"q": query})
        assert found.status_code == 400
        assert "shop" not in found.text


@pytest.mark.parametrize("given", ["a | limit 1", "(", "", "/(?=x)/", "*"])
def test_what_is_no_filter_is_refused(hot: Hot, given: str) -> None:
    admin = Administration(hot, check_filter=check_filter)
    if not given:
        assert admin.set_role("open", {"filter": given})["filter"] == ""
        return
    with pytest.raises(Exception, match="cannot|expected|line 1"):
        admin.set_role("broken", {"filter": given})


def test_that_a_key_was_revoked_is_kept_as_long_as_what_made_it(hot: Hot) -> None:
    """A row that is forgotten earlier than one before it would let that one hold again."""
    admin = Administration(hot, check_filter=check_filter)
    for expires in ("", "1h"):
        made = admin.create_key({"scopes": ["search"], "namespaces": ["default"], "expires": expires})
        admin.revoke(made["id"])
        rows = hot.query(
            "SELECT JSONExtractInt(said, 'revoked_at') > 0 AS gone, toUInt32(until) AS until FROM neve.keys "
            "WHERE name = {id:String}",
            {"id": made["id"]},
        ).rows
        until = {bool(gone): kept for gone, kept in rows}
        assert until.get(False, 0) <= until[True]
