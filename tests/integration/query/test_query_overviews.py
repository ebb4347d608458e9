"""Pictures of events: what pipes they take, and what is new since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from storage.hot import Hot

NOW = 1_769_860_800 * 10**9  # 2026-01-31T12:00:00Z
SECOND = 10**9
EVENTS = [
    {"timestamp": NOW + i * SECOND, "service": "api", "level": "info", "host": f"h{i % 2}",
     "message": f"took {i}ms path=/{'ab'[i % 2]}", "fingerprint": 1 + i % 3}
    for i in range(60)
]  # fmt: skip
Store = Callable[..., object]


@pytest.fixture
def ask(api: httpx.Client, store: Store) -> Callable[..., dict[str, Any]]:
    store(EVENTS)

    def get(path: str, **params: Any) -> dict[str, Any]:
        answer = api.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return get


def test_a_histogram_counts_what_the_pipes_leave(ask: Callable[..., Any]) -> None:
    found = ask("histogram", q="* | where host = h1", buckets=4)
    assert sum(bucket["count"] for bucket in found["buckets"]) == 30
    found = ask("histogram", q='* | extract "took <ms:int>ms" | where ms >= 20', by="ms", buckets=1)
    counted: Counter[str] = Counter()
    for bucket in found["buckets"]:
        counted.update(bucket["groups"])
    assert counted["20"] == 1
    assert counted.total() == 40
    found = ask("histogram", q="* | unpack logfmt | where path = /a", by="path", buckets=1)
    assert [bucket["groups"] for bucket in found["buckets"] if bucket["count"]] == [{"/a": 30}]


def test_patterns_count_what_the_pipes_leave(ask: Callable[..., Any]) -> None:
    found = ask("patterns", q='* | extract "took <ms:int>ms" | where ms < 10')
    assert sorted(pattern["count"] for pattern in found["patterns"]) == [3, 3, 4]
    assert {p["sample"] for p in found["patterns"]} == {EVENTS[i]["message"] for i in (7, 8, 9)}


def test_fields_are_also_what_pipes_took_out(ask: Callable[..., Any]) -> None:
    found = {f["name"]: f for f in ask("fields", q='* | extract "took <ms:int>ms" | where ms < 10')["fields"]}
    assert found["ms"] == {"name": "ms", "kind": "tag", "type": "string", "count": 10}
    assert found["service"]["count"] == 10
    values = ask("fields/path/values", q="* | unpack logfmt | where host = h0")
    assert values["values"] == [{"value": "/a", "count": 30}]


def test_tags_are_counted_map_by_map_as_they_are_at_once(api: httpx.Client, store: Store) -> None:
    rows = [
        {
            "timestamp": NOW + i,
            "service": "api" if i % 2 else "web",
            "message": "took",
            "tags": {f"key{n}": str(i) for n in range(i % 40)} | ({"ключ": "x"} if i % 3 else {}),
        }
        for i in range(90)
    ]
    store(rows)
    expected = Counter(key for row in rows if row["service"] == "api" for key in row["tags"])  # type: ignore[attr-defined]
    for filter_ in ("service:api", "service:api took"):  # the second one reads messages: once for all maps
        found = api.get("/api/v1/fields", params={"q": filter_}).json()["fields"]
        assert {f["name"]: f["count"] for f in found if f["kind"] == "tag"} == expected
    first = api.get("/api/v1/fields", params={"limit": 2}).json()["fields"]
    assert [f["name"] for f in first if f["kind"] == "tag"] == ["key0", "key1"]


@pytest.mark.parametrize("path", ["histogram", "patterns", "fields", "fields/host/values"])
@pytest.mark.parametrize("pipe", ["stats count()", "top 5 host", "limit 5", "sort host", "fields host", "patterns",
                                  "histogram(1m)", "uniq host", "where n > 1 | stats count()"])  # fmt: skip
def test_a_pipe_that_leaves_no_events_is_refused(empty_api: httpx.Client, path: str, pipe: str) -> None:
    answer = empty_api.get(f"/api/v1/{path}", params={"q": f"error | {pipe}"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    name = pipe.rpartition("| ")[2].split()[0].split("(")[0]
    assert f"cannot use | {name} here" in error["message"]
    assert "/api/v1/search" in error["hint"]
    assert error["position"]["column"] > len("error ")


def test_a_pattern_is_new_if_no_event_of_it_is_older(
    api: httpx.Client, store: Store, hot: Hot, namespace: str
) -> None:
    hour = 3600 * SECOND
    store([{"timestamp": NOW - 5 * hour, "service": "old", "message": "a 1", "fingerprint": 1}])
    store(
        [
            {"timestamp": NOW + i, "service": "new", "message": f"{'abc'[i]} 2", "fingerprint": 1 + i}
            for i in range(3)
        ]
    )

    def found(**params: str) -> list[str]:
        answer = api.get("/api/v1/patterns", params=params).json()
        assert answer["total_patterns"] == 3
        return sorted(pattern["sample"] for pattern in answer["patterns"])

    since = {"new_since": "2026-01-31T11:00:00Z"}
    assert found(q="service:new") == ["a 2", "b 2", "c 2"]
    assert found(q="service:new", **since) == ["b 2", "c 2"], (
        "the other was seen before, if not by this filter"
    )
    assert found(q="service:new", new_since="2026-01-31T12:00:01Z") == []
    hot.drop_epoch(namespace, hot.current_epoch(namespace))
    store(
        [
            {"timestamp": NOW + i, "service": "new", "message": f"{'abc'[i]} 2", "fingerprint": 1 + i}
            for i in range(3)
        ]
    )
    assert found(q="service:new", **since) == ["b 2", "c 2"], "what is gone was seen all the same"
    answer = api.get("/api/v1/patterns", params={"new_since": "never"})
    assert answer.status_code == 400
    assert "new_since" in answer.json()["error"]["message"]
