"""The API over real HTTP: pages, streams, overviews, labels of incomplete answers, errors, and cancellation."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bench.server import free_port
from query.limits import Limits
from storage.config import ClickHouseConfig
from storage.hot import Hot

NOW = 1_769_860_800_000_000_000
Store = Callable[..., object]


def some(count: int, **more: object) -> list[dict[str, object]]:
    return [
        {"timestamp": NOW + i // 3, "message": f"line {i}", "service": "s", "host": "h", **more}
        for i in range(count)
    ]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_pages_give_every_event_once_and_in_order_while_others_arrive(
    api: httpx.Client, store: Store, order: str
) -> None:
    store(some(50))
    cursor, ids, times = "", [], []
    while cursor is not None:
        page = api.get(
            "/api/v1/search", params={"q": "line", "limit": 7, "order": order, "cursor": cursor}
        ).json()
        ids += [event["id"] for event in page["events"]]
        times += [event["timestamp"] for event in page["events"]]
        cursor = page["next_cursor"]
        if len(ids) == 14:
            late = NOW + 10**9 if order == "newest" else NOW - 10**9
            store([{"timestamp": late, "message": "line late"}])
    assert len(ids) == len(set(ids)) == 50
    assert times == sorted(times, reverse=order == "newest")


def test_only_the_tags_that_are_asked_for(api: httpx.Client, store: Store) -> None:
    tags = {f"key{number}": f"value{number}" for number in range(40)}
    store([{"timestamp": NOW, "message": "m", "tags": tags}, {"timestamp": NOW + 1, "message": "without"}])

    def shown(**more: str) -> list[dict[str, str]]:
        answer = api.get("/api/v1/search", params={"q": "*", **more})
        assert answer.status_code == 200, answer.text
        return [event["tags"] for event in answer.json()["events"]]

    assert shown() == [{}, tags]
    assert shown(tags="") == [{}, {}]
    assert shown(tags="key3,key17,nowhere") == [{}, {"key3": "value3", "key17": "value17"}]
    answer = api.get(
        "/api/v1/search", params={"q": "*", "tags": "key5"}, headers={"Accept": "application/x-ndjson"}
    )
    assert [json.loads(line).get("tags") for line in answer.text.splitlines()] == [
        {},
        {"key5": "value5"},
        None,
    ]


def test_a_cursor_of_another_query_is_refused(api: httpx.Client, store: Store) -> None:
    store(some(5))
    cursor = api.get("/api/v1/search", params={"q": "line", "limit": 2}).json()["next_cursor"]
    answer = api.get("/api/v1/search", params={"q": "other", "cursor": cursor})
    assert answer.status_code == 400
    assert "another query" in answer.json()["error"]["message"]


def test_a_stream_is_one_event_a_line_and_stats_last(api: httpx.Client, store: Store) -> None:
    store(some(30))
    answer = api.get("/api/v1/search", params={"q": "*"}, headers={"Accept": "application/x-ndjson"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == 31
    assert lines[-1]["stats"]["complete"]
    assert [line["timestamp"] for line in lines[:-1]] == sorted(
        (line["timestamp"] for line in lines[:-1]), reverse=True
    )


def test_a_table_is_streamed_with_its_columns_first(serve: Callable[..., str], store: Store) -> None:
    store([{"timestamp": NOW, "message": "m", "host": f"h{i:05d}"} for i in range(15_000)])
    api = httpx.Client(base_url=serve(Limits(result_rows=100)), trust_env=False, timeout=240)

    def lines(q: str, **params: object) -> list[Any]:
        headers = {"Accept": "application/x-ndjson"}
        answer = api.get("/api/v1/search", params={"q": q, **params}, headers=headers)
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        return [json.loads(line) for line in answer.text.splitlines()]

    first, *rows, last = lines("* | uniq host | sort host")
    assert [column["name"] for column in first["columns"]] == ["host", "count"]
    assert rows == [[f"h{i:05d}", 1] for i in range(15_000)], "more than a page holds"
    assert last["stats"]["complete"]
    assert lines("* | uniq host | sort host", limit=2)[1:3] == [["h00000", 1], ["h00001", 1]]
    assert len(lines("* | uniq host", limit=2)) == 4
    assert [type(line) for line in lines("nothing | uniq host")] == [dict, dict]
    whole = lines("* | where host = h00007")
    assert [column["name"] for column in whole[0]["columns"]][:2] == ["id", "timestamp"]
    assert len(whole) == 3
    wrong = api.get("/api/v1/search", params={"q": "* | top 0x"}, headers={"Accept": "application/x-ndjson"})
    assert wrong.status_code == 400
    api.close()


def test_an_event_has_nine_digits_and_its_very_bytes(api: httpx.Client, store: Store) -> None:
    store([{"timestamp": NOW + 7, "message": b"bad \xff byte", "tags": {"k": b"\xfe"}}])
    (event,) = api.get("/api/v1/search", params={"q": "byte"}).json()["events"]
    assert event["timestamp"] == "2026-01-31T12:00:00.000000007Z"
    assert event["message"] == "bad \ufffd byte"
    assert base64.b64decode(event["message_base64"]) == b"bad \xff byte"
    assert event["tags"] == {"k": "\ufffd"}
    assert event["tier"] == "hot"


def test_overviews_count_the_same(api: httpx.Client, store: Store) -> None:
    store([*some(30, fingerprint=5), {"timestamp": NOW + 60 * 10**9, "message": "other", "fingerprint": 6}])
    histogram = api.get("/api/v1/histogram", params={"buckets": 10, "by": "service"}).json()
    assert sum(bucket["count"] for bucket in histogram["buckets"]) == 31
    patterns = api.get("/api/v1/patterns", params={"compare_to": "2026-01-31T12:00:01Z"}).json()["patterns"]
    assert [(p["count"], p["previous_count"], p["fingerprint"]) for p in patterns] == [
        (30, 30, f"{5:016x}"), (1, 0, f"{6:016x}"),
    ]  # fmt: skip
    fields = {f["name"]: f["count"] for f in api.get("/api/v1/fields").json()["fields"]}
    assert fields == {"timestamp": 31, "fingerprint": 31, "message": 31, "service": 30, "host": 30}
    values = api.get("/api/v1/fields/service/values").json()["values"]
    assert values == [{"value": "s", "count": 30}]


def test_context_is_the_lines_around_of_the_same_service_and_host(api: httpx.Client, store: Store) -> None:
    store([*some(20), *({"timestamp": NOW, "message": "alien", "service": "x"} for _ in range(5))])
    (event,) = api.get("/api/v1/search", params={"q": '"line 10"'}).json()["events"]
    around = api.get("/api/v1/context", params={"id": event["id"], "before": 3, "after": 2}).json()
    assert [e["message"] for e in around["events"]] == [f"line {i}" for i in range(7, 13)]
    assert around["index"] == 3


def test_a_limit_labels_the_answer(serve: Callable[..., str], store: Store) -> None:
    store([{"timestamp": NOW, "message": "m", "host": f"h{i}"} for i in range(50)])
    url = serve(Limits(result_rows=20))
    answer = httpx.get(
        f"{url}/api/v1/search", params={"q": "* | uniq host"}, trust_env=False, timeout=240
    ).json()
    assert len(answer["rows"]) == 20
    assert answer["stats"]["limits_hit"] == ["result_rows"]
    assert not answer["stats"]["complete"]


def test_a_search_out_of_time_is_labelled(serve: Callable[..., str], store: Store) -> None:
    store(some(5))
    url = serve(Limits(seconds=0.0))
    stats = httpx.get(f"{url}/api/v1/search", params={"q": "line"}, trust_env=False, timeout=240).json()[
        "stats"
    ]
    assert stats["limits_hit"] == ["time"]
    assert not stats["complete"]


WRONG = [
    ("GET", "/nope", 404),
    ("DELETE", "/api/v1/search", 405),
    ("GET", "/api/v1/search?q=status:", 400),
    ("GET", "/api/v1/search?q=/a(/", 400),
    ("GET", "/api/v1/search?limit=x", 400),
    ("GET", "/api/v1/search?limit=10001", 400),
    ("GET", "/api/v1/search?frm=1", 400),
    ("GET", "/api/v1/search?from=then", 400),
    ("GET", "/api/v1/search?cursor=x", 400),
    ("GET", "/api/v1/search?order=x", 400),
    ("GET", "/api/v1/search?namespace=A;", 400),
    ("GET", "/api/v1/search?namespace=gone", 404),
    ("GET", "/api/v1/context?id=x", 400),
    ("GET", f"/api/v1/context?id={'0' * 32}-1", 404),
    ("GET", "/api/v1/search?q='+OR+1=1+--", 400),
    ("GET", "/api/v1/fields/timestamp/values", 400),
    ("GET", "/api/v1/search?q=/(?=a)/", 400),
    ("GET", "/api/v1/search?from=now&to=1d", 400),
]


@pytest.mark.parametrize(
    "path",
    ["search?q=/li[n]e/", "search?q=/li[n]e/|stats+count()", "histogram?q=/li[n]e/", "patterns?q=level:error+/x/",
     "patterns", "histogram", "fields?q=/x/", "fields/level/values"],
)  # fmt: skip
def test_no_time_for_what_comes_first_is_a_partial_answer_too(
    serve: Callable[..., str], store: Store, path: str
) -> None:
    store(some(5))
    answer = httpx.get(f"{serve(Limits(seconds=0.0))}/api/v1/{path}", trust_env=False, timeout=240)
    assert answer.status_code == 200, answer.text
    assert answer.json()["stats"]["limits_hit"] == ["time"]


@pytest.mark.parametrize(("method", "path", "status"), WRONG)
def test_errors_have_one_shape_and_show_no_inside(
    empty_api: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = empty_api.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) <= {"code", "message", "hint", "position"}
    assert {"code", "message", "hint"} <= set(error)
    assert not any(sign in answer.text for sign in ("SELECT", "Traceback", ".py", "DB::", "neve_", "{p0"))


def test_a_number_that_is_approximate_says_so_at_every_step(empty_api: httpx.Client) -> None:
    query = "* | stats uniq(user) as users, count() as n by service"
    for more in ("", " | where n > 1 | sort users", " | fields users, n"):
        columns = empty_api.get("/api/v1/search", params={"q": query + more}).json()["columns"]
        said = {column["name"]: column.get("approximate", False) for column in columns}
        assert {name: said[name] for name in ("users", "n")} == {"users": True, "n": False}


@pytest.mark.parametrize(
    "asked",
    [
        {"q": "\ud800"},
        {"q": "_time:\ud800"},
        {"q": '* | stats count() as "\ud800"'},
        {"from": "\ud800"},
        {"tags": "\ud800"},
    ],
)
def test_half_a_character_is_refused(empty_api: httpx.Client, asked: dict[str, str]) -> None:
    """JSON can say it, and nothing can be done with it."""
    for path in ("search", "explain"):
        answer = empty_api.post(f"/api/v1/{path}", content=json.dumps(asked))
        assert answer.status_code == 400
        (name,) = asked
        assert answer.json()["error"]["message"] == f"cannot use '{name}': it has half a character"


def test_ready_only_while_clickhouse_answers(api: httpx.Client, serve: Callable[..., str]) -> None:
    assert api.get("/healthz").status_code == 200
    assert api.get("/readyz").status_code == 200
    with Hot(ClickHouseConfig(port=free_port(), connect_timeout=1)) as away:
        url = serve(tier=away)
        for path in ("/readyz", "/api/v1/search"):
            answer = httpx.get(url + path, trust_env=False, timeout=240)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=240).status_code == 200


def test_too_many_at_once_is_429(serve: Callable[..., str]) -> None:
    url = serve(Limits(concurrent=0, waiting=0))
    answer = httpx.get(f"{url}/api/v1/search", trust_env=False, timeout=240)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]


def test_zero_is_one_number_whatever_its_sign(api: httpx.Client, store: Store) -> None:
    store([{"timestamp": NOW + i, "tags": {"n": text}} for i, text in enumerate(["0", "-0", "-0.0", "-0ms"])])
    asked = {"q": "* | stats max(n) as n by _time | stats count() as rows by n"}
    assert api.get("/api/v1/search", params=asked).json()["rows"] == [[0, 4]]
