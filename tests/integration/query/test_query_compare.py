"""What changed, and what tells events apart: equal to what counting the rows says."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from query import differing
from query.limits import Limits

START = 1_767_225_600 * 10**9  # 2026-01-01
MINUTE = 60 * 10**9
NOW_RANGE = {"from": "2026-01-01T01:00:00Z", "to": "2026-01-01T02:00:00Z"}
Event = dict[str, Any]
Store = Callable[[list[Event]], Any]


def event(minute: float, shape: int, **more: Any) -> Event:
    at = START + int(minute * MINUTE)
    return {"timestamp": at, "message": f"shape {shape}", "fingerprint": shape, "service": "api", **more}


def spread(low: int, high: int, count: int, shape: int) -> list[Event]:
    """Events of a shape, evenly over some minutes."""
    return [event(low + (high - low) * i / count, shape) for i in range(count)]


def get(api: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    answer = api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def shapes(found: dict[str, Any]) -> dict[int, str]:
    return {int(one["fingerprint"], 16): one["change"] for one in found["patterns"]}


# --- patterns ----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(store: Store) -> None:
    """Two hours; in the second one shape is new, one gone, one grown, one shrunk, one a little more, one as before."""
    events = [*spread(60, 120, 40, 1), *spread(0, 60, 30, 2), *spread(0, 60, 20, 3), *spread(60, 120, 90, 3)]
    events += [*spread(0, 60, 80, 4), *spread(60, 120, 10, 4), *spread(0, 60, 50, 5), *spread(60, 120, 55, 5)]
    store([*events, *spread(0, 120, 60, 6)])


@pytest.mark.usefixtures("broken")
def test_what_changed_against_the_hour_before(api: httpx.Client) -> None:
    found = get(api, "/api/v1/patterns/compare", **NOW_RANGE)
    assert shapes(found) == {1: "new", 2: "gone", 3: "grown", 4: "shrunk", 5: "same", 6: "same"}
    assert [one["change"] for one in found["patterns"]][4:] == ["same", "same"]
    assert found["counts"] == {"new": 1, "gone": 1, "grown": 1, "shrunk": 1, "same": 2}
    assert (found["total_events"], found["previous_total_events"]) == (225, 210)
    gone = next(one for one in found["patterns"] if one["change"] == "gone")
    assert (gone["count"], gone["previous_count"], gone["sample"]) == (0, 30, "shape 2")
    assert gone["last_seen"].startswith("2026-01-01T00:58")
    grown = next(one for one in found["patterns"] if one["change"] == "grown")
    assert (grown["share"], grown["previous_share"]) == (90 / 225, 20 / 210)


@pytest.mark.usefixtures("broken")
def test_one_kind_of_change(api: httpx.Client) -> None:
    found = get(api, "/api/v1/patterns/compare", change="gone", **NOW_RANGE)
    assert shapes(found) == {2: "gone"}
    assert found["counts"]["same"] == 2, "the counts are of all"
    wrong = api.get("/api/v1/patterns/compare", params={"change": "newer", **NOW_RANGE})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["hint"] == "give one of new, gone, grown, shrunk, same"


@pytest.mark.usefixtures("broken")
def test_a_longer_range_is_compared_in_proportion(api: httpx.Client) -> None:
    found = get(
        api,
        "/api/v1/patterns/compare",
        **{"from": "2026-01-01T01:45:00Z", "to": "2026-01-01T02:00:00Z"},
        compare_from="2026-01-01T00:45:00Z",
        compare_to="2026-01-01T01:45:00Z",
    )
    assert shapes(found)[6] == "same", "7 in a quarter of an hour are as many as 30 in an hour"
    assert shapes(found)[3] == "same"


@pytest.mark.usefixtures("broken")
def test_two_queries_of_one_range(api: httpx.Client) -> None:
    found = get(api, "/api/v1/patterns/compare", q="1 OR 3", compare_q="3 OR 4", **NOW_RANGE)
    assert shapes(found) == {1: "new", 4: "gone", 3: "same"}


def test_without_a_range_there_is_nothing_before(api: httpx.Client) -> None:
    answer = api.get("/api/v1/patterns/compare", params={"q": "x"})
    assert answer.status_code == 400
    assert "'from' is missing" in answer.json()["error"]["message"]


def test_nothing_stored_is_no_change(api: httpx.Client) -> None:
    found = get(api, "/api/v1/patterns/compare", **NOW_RANGE)
    assert (found["patterns"], found["total_events"], found["counts"]["new"]) == ([], 0, 0)


@pytest.mark.parametrize("seconds", [60, 7])
def test_sparklines_count_every_event(api: httpx.Client, store: Store, seconds: int) -> None:
    """Of whole minutes, and of less, for which the events themselves are counted."""
    draw = random.Random(seconds)
    span = 30 * seconds
    events = [event(draw.randrange(span) / 60, draw.randrange(1, 4)) for _ in range(300)]
    store(events)
    end = f"2026-01-01T00:{span // 60:02}:{span % 60:02}Z"
    found = get(api, "/api/v1/patterns", sparkline=30, **{"from": "2026-01-01T00:00:00Z", "to": end})
    width = int(found["sparkline"]["interval_ms"]) * 10**6
    for pattern in found["patterns"]:
        shape = int(pattern["fingerprint"], 16)
        counts = Counter((e["timestamp"] - START) // width for e in events if e["fingerprint"] == shape)
        assert pattern["sparkline"] == [counts[i] for i in range(len(pattern["sparkline"]))]
        assert sum(pattern["sparkline"]) == pattern["count"]


# --- fields ------------------------------------------------------------------------------------------------


def tagged(count: int) -> list[Event]:
    """Events of which those of one version fail more often."""
    draw = random.Random(9)
    found = []
    for i in range(count):
        version = draw.choice(["1.0", "1.1", "2.0"])
        failed = draw.random() < (0.6 if version == "2.0" else 0.05)
        tags = {"version": version, "region": draw.choice(["eu", "us"]), "request_id": f"r{i}"}
        tags |= {"reason": "<script>"} if failed else {}
        found.append(event(i / 100, 1, level="error" if failed else "info", tags=tags, host=f"h{i % 3}"))
    return found


def expected(events: list[Event], wanted: Callable[[Event], bool]) -> dict[tuple[str, str], tuple[int, int]]:
    """Of every field and value: how many of the wanted events have it, and how many of the others."""
    sides: tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]] = (Counter(), Counter())
    for one in events:
        pairs = [*one["tags"].items(), *((name, one[name]) for name in ("level", "service", "host"))]
        sides[not wanted(one)].update(pairs)
    return {pair: (sides[0][pair], sides[1][pair]) for pair in sides[0]}


@pytest.mark.parametrize("sample", [differing.SAMPLE, 100])
def test_what_errors_have_more_often(
    api: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    """The counts are of all events, also where the values were chosen from a sample."""
    monkeypatch.setattr(differing, "SAMPLE", sample)
    events = tagged(900)
    store(events)
    found = get(api, "/api/v1/fields/compare", q="level:error")
    failed = [e for e in events if e["level"] == "error"]
    assert (found["total_events"], found["other_events"]) == (len(failed), 900 - len(failed))
    counts = expected(events, lambda one: one["level"] == "error")
    for one in found["differences"]:
        assert (one["count"], one["other_count"]) == counts[one["field"], one["value"]]
        assert one["share"] == one["count"] / len(failed) > one["other_share"]
    first = [(one["field"], one["value"]) for one in found["differences"][:3]]
    assert set(first[:2]) == {("level", "error"), ("reason", "<script>")}
    assert first[2] == ("version", "2.0")
    assert not any(one["field"] == "request_id" for one in found["differences"])


def test_two_ranges_are_told_apart(api: httpx.Client, store: Store) -> None:
    before = [event(i, 1, tags={"zone": "a"}) for i in range(50)]
    after = [event(60 + i, 1, tags={"zone": "b" if i % 2 else "a"}) for i in range(50)]
    store([*before, *after])
    found = get(
        api,
        "/api/v1/fields/compare",
        **NOW_RANGE,
        compare_from="2026-01-01T00:00:00Z",
        compare_to="2026-01-01T01:00:00Z",
    )
    (only,) = found["differences"]
    assert (only["field"], only["value"], only["count"], only["other_count"]) == ("zone", "b", 25, 0)


def test_what_was_extracted_tells_apart_too(api: httpx.Client, store: Store) -> None:
    store([event(i, 1, message=f"took {i % 2} from {'disk' if i < 20 else 'net'}") for i in range(40)])
    found = get(
        api,
        "/api/v1/fields/compare",
        q='* | extract "from <source>" | where source = disk',
        compare_q='* | extract "from <source>"',
    )
    assert [(one["field"], one["value"]) for one in found["differences"]] == [("source", "disk")]


def test_what_was_extracted_is_looked_for_in_the_rest_too(api: httpx.Client, store: Store) -> None:
    store(
        [
            event(
                i,
                1,
                level="error" if i < 40 else "info",
                message=f"took {i % 2} from {'disk' if i % 50 else 'net'}",
            )
            for i in range(100)
        ]
    )
    query = 'level:error | extract "took <odd> from <source>" | where odd = 1'
    found = get(api, "/api/v1/fields/compare", q=query)
    assert (found["total_events"], found["other_events"]) == (20, 80)
    counts = {
        (one["field"], one["value"]): (one["count"], one["other_count"]) for one in found["differences"]
    }
    assert counts == {("level", "error"): (20, 20), ("odd", "1"): (20, 30)}


@pytest.mark.parametrize("query", ["*", "nothing"])
def test_nothing_on_one_side(api: httpx.Client, store: Store, query: str) -> None:
    store(tagged(20))
    found = get(api, "/api/v1/fields/compare", q=query)
    assert found["differences"] == []
    assert found["total_events"] + found["other_events"] == 20


# --- CSV ---------------------------------------------------------------------------------------------------


def test_events_as_csv_are_those_of_the_page(api: httpx.Client, store: Store) -> None:
    events = tagged(250)
    events[7] |= {"message": 'say "hi",\r\nnext', "tags": {"a,b": '"\n'}}
    events[8] |= {"message": b"\xff raw"}
    store(events)
    page = get(api, "/api/v1/search", limit=1000)["events"]
    answer = api.get("/api/v1/search", headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert len(rows) == 250
    for one, row in zip(page, rows, strict=True):
        read = dict(zip(head, row, strict=True))
        assert json.loads(read.pop("tags")) == one["tags"]
        assert read == {name: one[name] for name in read}


def test_a_table_as_csv_to_keep(api: httpx.Client, store: Store) -> None:
    store(tagged(60))
    query = "* | stats count() as n, max(none) as m by host | sort host"
    answer = api.get("/api/v1/search", params={"q": query, "format": "csv"})
    assert answer.headers["content-disposition"] == 'attachment; filename="neve.csv"'
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["host", "n", "m"],
        ["h0", "20", ""],
        ["h1", "20", ""],
        ["h2", "20", ""],
    ]
    lines = api.get("/api/v1/search", params={"q": query, "format": "ndjson"}).text.splitlines()
    assert json.loads(lines[1]) == ["h0", 20, None]
    assert "stats" in json.loads(lines[-1])


def test_csv_says_where_it_was_cut(serve: Callable[..., str], store: Store) -> None:
    store(tagged(100))
    url = serve(Limits(rows_read=10))
    text = httpx.get(f"{url}/api/v1/search", params={"format": "csv"}, trust_env=False, timeout=240).text
    assert text.splitlines()[-1].startswith("# incomplete: limit on rows") or '"# incomplete' in text


def test_a_wrong_query_is_an_error_and_no_file(api: httpx.Client) -> None:
    answer = api.get("/api/v1/search", params={"q": "level:", "format": "csv"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "query_invalid"
    assert "content-disposition" not in answer.headers
    assert api.get("/api/v1/search", params={"format": "xml"}).status_code == 400
