"""LogQL over HTTP against a plain reading of the same events: hot, cold, and some here and some there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from query.logql import ast
from query.logql.parse import parse
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.hot import Hot

from . import logql_reference as plain

S = 1_000_000_000
T0 = 1_769_860_800 * S
SPAN = 1200
LEVELS = ("info", "error", "warn", "", "info")


def event(n: int) -> dict[str, Any]:
    """One of many: lines of text, of logfmt and of JSON, some on whole minutes, which is where ranges end."""
    form, took = n % 3, f"{n % 7}.5ms"
    user, path = f"u{n % 4}", f"/a/{n % 5}"
    if form == 0:
        message = f"GET {path} {200 + n % 3 * 100} took {took} by \x1b[1m{user}\x1b[0m"
    elif form == 1:
        message = f'level=debug msg="user {user} came" path={path} took={took} size={n}kB n={n} req.id=r{n}'
    else:
        message = (
            f'{{"path": "{path}", "took": "{took}", "n": {n}, "http": {{"code": {n % 3}, '
            f'"user_agent": "curl/{n % 2}"}}, '
            f'"list": [{n}, "x"], "none": null, "host": "inner", "ok": true}}'
        )
    if n % 31 == 2:
        message = '{"path": broken'
    tags = {
        "k8s.pod.name": f"pod-{n % 3}",
        "status": str(200 + n % 3 * 100),
        "took": took,
        "odd": "a b" if n % 4 else "7",
    }
    where = {
        "service": ("shop", "pay", "web")[n % 3 if n % 5 else 0],
        "host": f"h{n % 2}",
        "level": LEVELS[n % 5],
    }
    return {
        "timestamp": T0 + n * 9 * S + n % 3,
        "message": message,
        **where,
        "tags": tags,
        "trace_id": f"{n:032x}" if n % 2 else "",
    }


EVENTS = [event(n) for n in range(120)]

LOG_QUERIES = r"""
{}
{service_name="shop"}
{service="shop", host!="h0"}
{level="warning"}
{level=~"warn|err.*", service_name!~"pay"}
{level=""}
{detected_level!="error"} |= "took"
{k8s_pod_name="pod-1"} |= "GET" or "user"
{k8s_pod_name=~"pod-[02]", status!="200"}
{nothing="", host=~"h.*"}
{nothing=~".+"}
{nothing=~".*", k8s_pod_name!=""}
{service_name="web"} != "GET"
{} |~ "took [0-4]\\.5" !~ "/a/[12]"
{} |~ `(?i)get /A/3`
{} |> "GET <_> took <_>"
{} |> "<_> came\" path=<_>"
{} !> "GET <_>" |= "path"
{} | host="h0" and level="info" or k8s_pod_name="pod-2" | status!~"2.."
{} | status >= 300
{} | status > 200 and status < 400
{} | status = 200 or took > 5ms
{} | took >= 2500us, took < 4ms
{} | odd > 5
{} | odd > 5 | __error__=""
{} | odd > 5 | __error__="LabelFilterErr"
{} | json
{} | json | path="/a/3"
{} | json | http_code=1
{} | json | http_user_agent=~"curl.*" | n>50
{} | json | host_extracted="inner"
{} | json | host="h0" | ok="true"
{} | json | __error__=""
{} | json | __error__!=""
{} | json code="http.code", first="list[0]", all="list" | code>=1
{} | logfmt
{} | logfmt | msg="user u1 came"
{} | logfmt | size > 50kB
{} | logfmt | req_id="r31"
{} | logfmt | level_extracted="debug" | level="info"
{} | logfmt m="msg", p="path" | m=~"user.*" | p!=""
{} | regexp "took (?P<t>[0-9.]+)ms" | t>=3.5
{} | regexp "(GET) (?P<p>\\S+) (?P<code>\\d+)" | code=400 or p="/a/0"
{} | pattern "<method> <p> <code> took <t> by <_>" | method="GET" | code>200
{} | pattern "GET <p> <code> took <t> to <who>"
{} | decolorize |= "by u1"
{} | line_format "{{.service_name}}:{{.path}}" |= "shop:"
{} | json | line_format "{{.path}} {{ .n }} {{__line__}}" |~ "^/a/1 \\d+ "
{} | json | label_format p=path, q="<{{.path | ToUpper}}>" | p="/a/2"
{} | label_format svc=service_name, level="x{{.host}}" | level="xh0"
{} | drop took, status, k8s_pod_name, odd, trace_id
{} | json | drop path, host, __error__
{} | drop level="error", odd
{} | keep host, status
{} | json | keep path, level, n
{service_name="shop"} | logfmt | path!="" | json | n<60 | line_format "{{.n}}"
""".strip().split("\n")

METRIC_QUERIES = r"""
count_over_time({service_name="shop"}[1m])
count_over_time({}[100s])
sum(count_over_time({}[90s]))
sum by (level) (count_over_time({} | drop __error__ [1m]))
sum by (level, detected_level) (count_over_time({service_name="shop"} |= "took" [2m]))
sum by (k8s_pod_name) (rate({}[45s]))
sum without (host, level) (rate({}[3m]))
rate({service_name="pay"}[7m] offset 2m)
bytes_over_time({service_name="web"}[2m])
sum(bytes_rate({} | line_format "{{.host}}" [5m]))
count_over_time({} | json | __error__="" | keep path [4m])
sum by (path) (count_over_time({} | json | __error__="" [4m]))
sum by (http_user_agent) (count_over_time({} |= "http" | json [10m]))
sum_over_time({} | unwrap status [2m])
sum by (host) (sum_over_time({} | unwrap status [2m]))
avg_over_time({service_name="shop"} | unwrap duration(took) [5m]) by (host)
min_over_time({} | unwrap status [5m]) by (k8s_pod_name)
max by (host) (max_over_time({} | unwrap status [5m]))
max_over_time({} | logfmt | unwrap bytes(size) [5m]) without (level)
quantile_over_time(0.9, {} | unwrap duration(took) [6m]) by (service_name)
quantile_over_time(0, {} | unwrap status [6m]) by (host)
stddev_over_time({} | unwrap status [6m]) by ()
stdvar_over_time({} | unwrap status [6m]) by (host)
first_over_time({} | unwrap status [3m]) by (host)
last_over_time({} | unwrap duration(took) [3m]) by (k8s_pod_name)
rate({} | unwrap status [2m])
sum_over_time({} | unwrap odd | __error__="" [5m])
absent_over_time({service_name="nobody", host!="h1"}[1m])
absent_over_time({service_name="pay"} |= "/a/1" [40s])
avg by (host) (count_over_time({}[2m]))
min(count_over_time({}[2m]))
count by (k8s_pod_name) (rate({}[2m]))
stddev(count_over_time({}[2m]))
topk(2, sum by (service, host) (count_over_time({}[3m])))
bottomk(1, sum by (service_name, host) (count_over_time({}[3m]))) by (host)
topk by (level) (1, count_over_time({}[3m]))
sum(rate({level="error"}[5m])) / sum(rate({}[5m])) * 100
sum by (host) (count_over_time({level="error"}[5m])) / sum by (host) (count_over_time({}[5m]))
sum by (host) (count_over_time({}[2m])) > 5
sum by (host) (count_over_time({}[2m])) > bool 5
10 - sum by (host) (count_over_time({}[2m])) % 4
sum by (host) (count_over_time({}[2m])) ^ 2 + 1
sum by (host, level) (count_over_time({}[5m])) / on (host) group_left sum by (host) (count_over_time({}[5m]))
sum by (host) (count_over_time({}[5m])) * ignoring (level) sum by (host) (count_over_time({level="info"}[5m]))
sum by (host) (count_over_time({}[1m])) and sum by (host) (count_over_time({level="error"}[1m]))
sum by (host) (count_over_time({}[1m])) unless sum by (host) (count_over_time({level="error"}[1m]))
sum by (level) (count_over_time({level="error"}[1m])) or sum by (level) (count_over_time({level="info"}[1m]))
sum(count_over_time({level="fatal"}[1m])) or vector(0)
vector(3) * 2
1 + 2 * 3
count_over_time({} | json [5m])
avg_over_time({} | unwrap odd [5m])
""".strip().split("\n")
STEPS = [(60, 0), (100, 7)]  # seconds, and at which one past the first event to begin


def shown_lines(answer: dict[str, Any]) -> list[tuple[int, str, Any]]:
    """What there is of each line: time, text, labels."""
    found = [
        (int(at), line, tuple(sorted(stream["stream"].items())))
        for stream in answer["data"]["result"]
        for at, line in stream["values"]
    ]
    return sorted(found)


def check_lines(api: httpx.Client, query: str) -> str:
    node = parse(query)
    assert isinstance(node, ast.LogQuery)
    expected = sorted(
        (line.time, line.text, tuple(sorted(line.shown().items())))
        for line in plain.lines(node, EVENTS, T0 - 1, T0 + SPAN * S)
    )
    answer = api.get(
        "/loki/api/v1/query_range", params={"query": query, "start": T0, "end": T0 + SPAN * S, "limit": 5000}
    )
    if answer.status_code != 200:
        return f"{query}: {answer.text}"
    got = shown_lines(answer.json())
    return (
        ""
        if got == expected
        else f"{query}: {len(got)} for {len(expected)}; {set(got) ^ set(expected)!s:.600}"
    )


def check_metric(api: httpx.Client, query: str, step: int, start: int) -> str:
    node = parse(query)
    assert not isinstance(node, ast.LogQuery)
    times = list(range(T0 + start * S, T0 + SPAN * S + 1, step * S))
    asked = {"query": query, "start": times[0], "end": T0 + SPAN * S, "step": step}
    answer = api.get("/loki/api/v1/query_range", params=asked)
    try:
        made = plain.metric(node, EVENTS, times)
    except plain.Failed as error:
        failed = answer.status_code == 400 and answer.text.startswith(f"pipeline error: '{error}' for series")
        return "" if failed else f"{query}: {answer.status_code} {answer.text[:200]}"
    if isinstance(made, float):
        made = {(): dict.fromkeys(range(len(times)), made)}
    if answer.status_code != 200:
        return f"{query}: {answer.text}"
    got = {
        tuple(sorted(one["metric"].items())): {
            round((at * S - times[0]) / (step * S)): float(v) for at, v in one["values"]
        }
        for one in answer.json()["data"]["result"]
    }
    return (
        ""
        if near(got, {k: v for k, v in made.items() if v})
        else f"{query} step {step}:\n  {got!s:.900}\n  {made!s:.900}"
    )


def near(got: plain.Series, expected: plain.Series) -> bool:
    """The same series and steps, and numbers that only rounding tells apart."""
    if got.keys() != expected.keys() or any(got[labels].keys() != expected[labels].keys() for labels in got):
        return False
    pairs = ((got[labels][step], expected[labels][step]) for labels in got for step in got[labels])
    return all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b)) for a, b in pairs
    )


def wrong(api: httpx.Client, every: int = 1) -> str:
    found = [check_lines(api, query) for query in LOG_QUERIES[::every]]
    found += [check_metric(api, query, *STEPS[0]) for query in METRIC_QUERIES[::every]]
    found += [check_metric(api, query, *STEPS[1]) for query in METRIC_QUERIES[1 :: every * 2]]
    return "\n".join(filter(None, found))


def test_hot(api: httpx.Client, store: Callable[..., object]) -> None:
    store(EVENTS)
    found = wrong(api)
    assert not found, found


@pytest.fixture
def cold(clickhouse: EmbeddedServer, namespace: str) -> ColdConfig:
    return ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))


def test_across_and_cold(
    hot: Hot, clickhouse: EmbeddedServer, namespace: str, cold: ColdConfig, serve: Callable[..., str],
    store: Callable[..., object],
) -> None:  # fmt: skip
    ager = Ager(hot, clickhouse.config, ColdTier(cold))
    with httpx.Client(base_url=serve(cold=cold), trust_env=False, timeout=240) as api:
        store(EVENTS[::2])
        assert ager.age(namespace, Wish(now=True, grace=0))
        store(EVENTS[1::2])
        found = wrong(api, 3)
        assert not found, f"across\n{found}"
        assert ager.age(namespace, Wish(now=True, grace=0))
        found = wrong(api, 3)
        assert not found, f"cold\n{found}"
