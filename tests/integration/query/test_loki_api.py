"""Loki's paths: the requests that Grafana's data source makes, the shape of each answer, what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from query.app import create_app
from query.limits import Limits
from query.logql import ast
from query.logql.parse import parse
from storage.hot import Hot
from storage.native.block import SealedBlock, seal
from tests.conftest import encode
from tests.unit.query.test_logql_roundtrip import log_queries, metrics

from .conftest import serving
from .test_query_wrong import INSIDE

S = 1_000_000_000
T0 = 1_769_860_800 * S
RANGE = {"start": str(T0), "end": str(T0 + 600 * S)}
CATEGORIZE = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
TABLE = Path(__file__).with_name("wrong_logql.tsv")
EVENTS: list[dict[str, Any]] = [
    {
        "timestamp": T0 + n * 60 * S, "service": "shop" if n % 2 else "pay", "host": f"h{n % 2}",
        "fingerprint": n % 2 + 1,
        "level": "error" if n % 3 == 0 else "info", "message": f"request n={n}", "trace_id": f"{n:032x}",
        "tags": {"k8s.pod.name": f"pod-{n % 2}", "took": f"{n}ms", "size": str(n * 10)},
    }
    for n in range(10)
]  # fmt: skip


NAMESPACE = "loki_api"


@pytest.fixture(scope="module")
def api(hot: Hot) -> Iterator[httpx.Client]:
    """A client of the API over these events, for the whole module."""
    hot.create_namespace(NAMESPACE)
    block = SealedBlock.parse(
        seal(encode(EVENTS), agent_id="loki", sequence=1, namespace=NAMESPACE, sources=(), rules_version=1)
    )
    hot.insert_blocks(NAMESPACE, [block], hot.current_epoch(NAMESPACE), block.header.block_id.hex())
    with (
        serving(create_app(hot, default_namespace=NAMESPACE)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=240) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def loki(api: httpx.Client) -> Callable[..., Any]:
    """Ask a path; its JSON, or the text of an error."""

    def ask(path: str, method: str = "GET", headers: dict[str, str] | None = None, **parameters: Any) -> Any:
        given = {"params": parameters} if method == "GET" else {"data": parameters}
        answer = api.request(method, f"/loki/api/v1/{path}", headers=headers, **given)  # type: ignore[arg-type]
        return answer.json() if answer.status_code == 200 else (answer.status_code, answer.text.rstrip("\n"))

    return ask


# --- lines -----------------------------------------------------------------------------------------------


def test_lines_as_grafana_asks_for_them(loki: Callable[..., Any]) -> None:
    asked = {
        "query": '{service_name="shop"} |= "n=9" | logfmt',
        "direction": "backward",
        "limit": "1000",
        "step": "2000ms",
    }
    data = loki("query_range", headers=CATEGORIZE, **asked, **RANGE)["data"]
    assert (data["resultType"], data["encodingFlags"]) == ("streams", ["categorize-labels"])
    metadata = {
        "detected_level": "error",
        "k8s_pod_name": "pod-1",
        "size": "90",
        "took": "9ms",
        "trace_id": f"{9:032x}",
    }
    assert data["result"] == [
        {
            "stream": {"host": "h1", "level": "error", "service_name": "shop"},
            "values": [
                [str(T0 + 540 * S), "request n=9", {"structuredMetadata": metadata, "parsed": {"n": "9"}}]
            ],
        }
    ]
    assert data["stats"]["summary"]["totalLinesProcessed"] > 0
    assert data["stats"]["summary"]["totalEntriesReturned"] == 1


@pytest.mark.parametrize(
    ("template", "made"),
    [
        (r'{{ __line__ | replace "\n" "-" }}', "request n=9"),
        (r'{{ __line__ | replace " " "\t" }}', "request\tn=9"),
        (r'{{ "\x41\u0042\\" }}{{ .took }}', "AB\\9ms"),
        ('{{ __line__ | replace "n=" "\\"" }}', 'request "9'),
    ],
)
def test_escapes_in_texts_of_templates(loki: Callable[..., Any], template: str, made: str) -> None:
    asked = f'{{service_name="shop"}} |= "n=9" | line_format `{template}`'
    [stream] = loki("query_range", query=asked, **RANGE)["data"]["result"]
    assert [line for _, line in stream["values"]] == [made]


def test_without_the_flag_all_labels_are_of_the_stream(loki: Callable[..., Any]) -> None:
    data = loki("query_range", query='{host="h1"} |= "n=9"', **RANGE)["data"]
    assert "encodingFlags" not in data
    [stream] = data["result"]
    assert stream["values"] == [[str(T0 + 540 * S), "request n=9"]]
    assert stream["stream"]["took"] == "9ms"


@pytest.mark.parametrize(
    ("parameters", "numbers"),
    [
        ({"limit": 3}, [9, 8, 7]),
        ({"limit": 3, "direction": "forward"}, [0, 1, 2]),
        ({"start": T0 + 120 * S, "end": T0 + 240 * S}, [3, 2]),  # the end is not in it
        ({"start": T0 // S + 120, "end": f"{T0 // S + 240}.5"}, [4, 3, 2]),
        ({"start": "2026-01-31T12:02:00Z", "end": "2026-01-31T13:03:00.000000001+01:00"}, [3, 2]),
        ({"start": "", "end": T0 + 500 * S, "since": "3m"}, [8, 7, 6]),
        ({"interval": "150"}, [9, 6, 3, 0]),
        ({"interval": "3m", "limit": 2, "direction": "FORWARD"}, [0, 3]),
    ],
)
def test_range_order_and_limit(
    loki: Callable[..., Any], parameters: dict[str, Any], numbers: list[int]
) -> None:
    asked: dict[str, Any] = {**RANGE, **parameters}
    result = loki("query_range", query="{}", **{name: value for name, value in asked.items() if value != ""})[
        "data"
    ]["result"]
    times = [(int(value[0]) - T0) // (60 * S) for stream in result for value in stream["values"]]
    backward = parameters.get("direction", "").lower() != "forward"
    assert sorted(times, reverse=backward) == numbers


def test_post_is_as_get(loki: Callable[..., Any]) -> None:
    one, other = (loki("query_range", method, query="{}", limit=4, **RANGE) for method in ("GET", "POST"))
    assert one["data"]["result"] == other["data"]["result"] != []


# --- numbers ---------------------------------------------------------------------------------------------


def test_health_check(loki: Callable[..., Any]) -> None:
    data = loki("query", query="vector(1)+vector(1)", time=str(T0), direction="backward")["data"]
    assert (data["resultType"], data["result"]) == ("vector", [{"metric": {}, "value": [T0 // S, "2"]}])
    data = loki("query", query="0.5 + 1", time=str(T0 + 500_000_000))["data"]
    assert (data["resultType"], data["result"]) == ("scalar", [T0 / S + 0.5, "1.5"])


def test_volume_of_logs_as_grafana_asks_for_it(loki: Callable[..., Any]) -> None:
    query = 'sum by (level, detected_level) (count_over_time({host=~"h.+"} | drop __error__[5m]))'
    data = loki("query_range", query=query, step="300000ms", **RANGE)["data"]
    assert data["resultType"] == "matrix"
    assert data["result"] == [
        {
            "metric": {"detected_level": level, "level": level},
            "values": [[T0 // S + at, count] for at, count in values],
        }
        for level, values in {
            "error": [(0, "1"), (300, "1"), (600, "2")],
            "info": [(300, "4"), (600, "2")],
        }.items()
    ]


def test_steps_and_windows(loki: Callable[..., Any]) -> None:
    """A window has its end and not its beginning, whatever steps and windows have in common."""
    for width, step in ((60, 60), (90, 60), (300, 60), (61, 7), (1, 60)):
        data = loki("query_range", query=f"sum(count_over_time({{}}[{width}s]))", step=step, **RANGE)["data"]
        got = {at: int(value) for at, value in data["result"][0]["values"]}
        times = range(T0 // S, T0 // S + 601, step)
        expected = {at: sum(at - width < T0 // S + n * 60 <= at for n in range(10)) for at in times}
        assert got == {at: count for at, count in expected.items() if count}, (width, step)


# --- labels and overviews --------------------------------------------------------------------------------


def test_labels_and_series(loki: Callable[..., Any]) -> None:
    names = ["host", "k8s_pod_name", "level", "service_name", "size", "took", "trace_id"]
    assert loki("labels", **RANGE) == {"status": "success", "data": names}
    assert loki("label", **RANGE)["data"] == names
    assert loki("label/service_name/values", **RANGE)["data"] == ["pay", "shop"]
    assert loki("label/k8s_pod_name/values", query='{service="shop"}', **RANGE)["data"] == ["pod-1"]
    assert loki("label/none/values", **RANGE)["data"] == []
    found = loki(
        "series", **{"match[]": ['{k8s_pod_name="pod-0"}', '{service_name="shop", level="error"}']}, **RANGE
    )["data"]
    assert found == [
        {"host": "h0", "k8s_pod_name": "pod-0", "level": "error", "service_name": "pay"},
        {"host": "h0", "k8s_pod_name": "pod-0", "level": "info", "service_name": "pay"},
        {"host": "h1", "level": "error", "service_name": "shop"},
    ]
    assert loki("detected_labels", **RANGE) == {
        "detectedLabels": [{"label": name, "cardinality": 2} for name in ("service_name", "host", "level")]
    }


def test_statistics_and_volumes(loki: Callable[..., Any]) -> None:
    assert loki("index/stats", query='{host="h1"}', **RANGE) == {
        "streams": 2,
        "chunks": 2,
        "bytes": 55,
        "entries": 5,
    }
    volume = loki("index/volume", query='{service_name=~".+"}', limit=1, **RANGE)["data"]
    assert volume["resultType"] == "vector"
    assert volume["result"] == [{"metric": {"service_name": "pay"}, "value": [T0 // S + 600, "55"]}]
    volume = loki(
        "index/volume", query='{host="h1"}', targetLabels="level,k8s_pod_name", aggregateBy="labels", **RANGE
    )
    assert [one["metric"] for one in volume["data"]["result"]] == [
        {"k8s_pod_name": "k8s_pod_name"},
        {"level": "level"},
    ]
    volume = loki("index/volume_range", query='{host="h1"}', step="5m", **RANGE)["data"]["result"]
    assert volume == [{"metric": {"host": "h1"}, "values": [[T0 // S + 300, "33"], [T0 // S + 600, "22"]]}]


def test_fields_and_patterns(loki: Callable[..., Any]) -> None:
    fields = {
        one["label"]: one
        for one in loki("detected_fields", query='{host="h1"} | logfmt', line_limit=100, **RANGE)["fields"]
    }
    assert fields["took"] == {"label": "took", "type": "duration", "cardinality": 5, "parsers": None}
    assert (fields["size"]["type"], fields["k8s_pod_name"]["type"]) == ("int", "string")
    assert fields["n"]["parsers"] == ["logfmt"]
    assert loki("detected_field/took/values", query='{host="h1"}', limit=2, **RANGE)["values"] == [
        "1ms",
        "3ms",
    ]
    assert loki("patterns", query='{host="h1"}', step="1m", **RANGE)["status"] == "success"


def test_formats_and_versions(loki: Callable[..., Any]) -> None:
    assert (
        loki("format_query", query='sum(rate({a="b"}[5m]))by(c)')["data"] == 'sum by (c) (rate({a="b"} [5m]))'
    )
    assert loki("status/buildinfo")["version"].split(".")[0] == "3"


def test_a_namespace_is_a_tenant(api: httpx.Client) -> None:
    asked = {"query": "{}", **RANGE}
    found = api.get("/loki/api/v1/query_range", params=asked, headers={"X-Scope-OrgID": NAMESPACE})
    assert found.json()["data"]["result"] != []
    none = api.get("/loki/api/v1/query_range", params=asked, headers={"X-Scope-OrgID": "nobody"})
    assert (none.status_code, none.text) == (
        404,
        "cannot find namespace: nobody; ship something to it first\n",
    )
    for name in ("a|b", "x'; DROP TABLE events; --", "../x"):
        wrong = api.get("/loki/api/v1/labels", headers={"X-Scope-OrgID": name})
        assert (wrong.status_code, wrong.headers["content-type"]) == (400, "text/plain; charset=utf-8")


# --- errors ----------------------------------------------------------------------------------------------


def wrong_queries() -> list[tuple[str, str]]:
    """Query, and what is said of it."""
    rows = []
    for row in TABLE.read_text(encoding="utf-8").split("\n"):
        if row and not row.startswith("#"):
            line, column, message, query = row.split("\t")
            rows.append((query.replace("⏎", "\n"), f"parse error at line {line}, col {column}: {message}"))
    return rows


def test_a_wrong_query_is_told_where_and_why(loki: Callable[..., Any]) -> None:
    wrong = []
    for query, message in wrong_queries():
        said = loki("query_range", query=query, **RANGE)
        if said != (400, message):
            wrong.append((query, message, said))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize(
    "path", ["query", "labels", "index/stats", "index/volume", "patterns", "detected_fields", "format_query"]
)
def test_no_error_shows_the_inside(loki: Callable[..., Any], path: str) -> None:
    leaks = []
    for query, _ in wrong_queries():
        said = loki(path, query=query, **RANGE)
        if isinstance(said, tuple) and (said[0] != 400 or INSIDE.search(said[1].replace(query, ""))):
            leaks.append((query, said))
    assert not leaks, "\n".join(map(str, leaks))


@pytest.mark.parametrize(
    ("path", "parameters", "message"),
    [
        ("query_range", {"query": "{}", "limit": "0"}, "limit must be a positive value"),
        ("query_range", {"query": "{}", "limit": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
        (
            "query_range", {"query": "{}", "limit": "10001"},
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (10001 > 10000)",
        ),
        ("query_range", {"query": "{}", "direction": "up"}, "invalid direction 'up'"),
        ("query_range", {"query": "{}", "start": "x"}, "could not parse 'start' parameter: x"),
        (
            "query_range", {"query": "{}", "start": "20", "end": "10"},
            "end timestamp must not be before or equal to start time",
        ),
        ("query_range", {"query": "rate({}[1m])", "step": "x"}, 'cannot parse "x" to a valid duration'),
        (
            "query_range", {"query": "rate({}[1m])", "step": "-5"},
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query_range", {"query": "rate({}[1m])", "step": "1ms"},
            "exceeded maximum resolution of 11,000 points per time series. "
            "Try increasing the value of the step parameter",
        ),
        ("query_range", {"query": "{}", "interval": "-1s"}, "interval must be >= 0"),
        (
            "query", {"query": "{}"},
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ),
        ("detected_fields", {"query": "rate({}[1m])"}, "parse error at line 1, col 1: only log selector is supported"),
        ("index/stats", {"query": '{} |= "x"'}, "parse error at line 1, col 1: only label matchers are supported"),
        ("index/volume", {"query": "{}", "aggregateBy": "x"}, "invalid aggregation option; use series or labels"),
        ("query", {"query": 'sum_over_time({host="h1"} | unwrap took [10m])', "time": RANGE["end"]}, None),
    ],
)  # fmt: skip
def test_what_is_said_of_wrong_parameters(
    loki: Callable[..., Any], path: str, parameters: dict[str, str], message: str | None
) -> None:
    status, text = loki(path, **{**RANGE, **parameters})
    assert status == 400
    if message is None:
        assert text.startswith("pipeline error: 'SampleExtractionErr' for series: '{host=\"h1\", level=")
    else:
        assert text == message


@given(query=st.one_of(log_queries, metrics))
@example(query=parse("{}" + " | json | a_b=`c`" * 40))
@example(query=parse("{}" + " | label_format a=b | label_format b=a" * 20))
@example(
    query=parse(
        '{} | json | line_format "'
        + "{{__line__}}" * 20
        + '"'
        + ' | line_format "{{__line__}}{{__line__}}"' * 9
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_query_is_answered_or_refused(api: httpx.Client, query: ast.Query) -> None:
    text = str(query)
    answer = api.post("/loki/api/v1/query_range", data={"query": text, "step": "60", **RANGE})
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 200 or not INSIDE.search(answer.text.replace(text, "")), answer.text


def test_a_number_that_lacks_something_is_an_error(api: httpx.Client, hot: Hot) -> None:
    asked = {"query": "sum(count_over_time({}[10m]))", "time": RANGE["end"]}
    assert api.get("/loki/api/v1/query", params=asked).status_code == 200
    app = create_app(hot, default_namespace=NAMESPACE, limits=Limits(rows_read=3))
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=240) as small:
        answer = small.get("/loki/api/v1/query", params=asked)
        assert answer.status_code >= 400
        assert "limit" in answer.text
