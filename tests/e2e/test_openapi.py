"""What `/openapi.json` says is what the server does: every path of it is asked all kinds of things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from bench.server import Server

# What a valid query or key is, no schema says: our own grammar does, so what fits the schema may still be refused, and
# what does not may be taken (a body is any bytes to who reads lines).
LEFT_OUT = ("positive_data_acceptance", "negative_data_rejection", "unsupported_method")
ENDLESS = "/api/v1/tail"
ELSEWHERE = ("/cold/backup", "/cold/backup/release")  # write to whatever folder is named
SECONDS = 60
QUERIES = (
    "*",
    "level:error",
    "took | stats count() as n by level",
    "user:u1 OR error",
    "* | patterns",
    "(",
    "took*",
)
TIMES = ("1h", "now", "2020-01-01", "now-15m", "x")
SENSIBLE = {
    "q": QUERIES, "compare_q": QUERIES, "from": TIMES, "to": TIMES, "compare_from": TIMES, "compare_to": TIMES,
    "new_since": TIMES, "namespace": ("default", "default", "nowhere"), "cursor": ("", "x"), "by": ("level", "user"),
}  # fmt: skip
OURS = "/api/v1/", "/auth/", "/gateway/"


@schemathesis.serializer("application/x-ndjson", "application/vnd.fdo.journal")
def as_bytes(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def described(server: Server) -> schemathesis.schemas.BaseSchema:
    document = server.client.get("/openapi.json").json()
    body = [{"msg": f"took {number} ms", "level": "error", "user": f"u{number}"} for number in range(20)]
    lines = "\n".join(map(json.dumps, body))
    assert server.client.post("/api/v1/ingest?service=openapi", content=lines).status_code == 200
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    return schema.exclude(path=[ENDLESS, *ELSEWHERE])


def ask_everything(schema: schemathesis.schemas.BaseSchema, server: Server, examples: int) -> int:
    """Ask each path so often what fits its schema, and what does not. Says what was wrong, of all paths at once."""
    left_out = [CHECKS.get_one(name) for name in LEFT_OUT]
    wrong: list[str] = []
    asked = 0

    def looked_at(case: Case) -> None:
        nonlocal asked
        asked += 1
        sensibly(case)
        answer = case.call_and_validate(timeout=SECONDS, excluded_checks=left_out)
        assert "Traceback" not in answer.text
        assert "DB::Exception" not in answer.text

    for found in schema.get_all_operations():
        operation = found.ok()
        cases = st.one_of(*(operation.as_strategy(mode) for mode in modes(operation)))
        bounded = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        try:
            bounded(given(cases)(looked_at))()
        except BaseExceptionGroup as group:
            wrong += [f"{operation.label}: {one}" for one in group.exceptions]
        except Exception as error:  # noqa: BLE001 - all paths are looked at before it is said
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    assert server.client.get("/readyz").status_code == 200
    assert server.client.get("/gateway/status").json()["inserting"]
    return asked


def modes(operation: Any) -> Iterator[GenerationMode]:
    yield GenerationMode.POSITIVE
    if operation.query or operation.path_parameters or operation.body:
        yield GenerationMode.NEGATIVE


def sensibly(case: Case) -> None:
    """What no schema says: half of the queries and times are some, and no path is let to wait for seconds."""
    for part in (case.query, case.body):
        if isinstance(part, dict):
            for name, values in SENSIBLE.items():
                number = len(str(part.get(name, "")))
                if name in part and number % 2 == 0:
                    part[name] = values[number % len(values)]
            if isinstance(part.get("seconds"), int | float):
                part["seconds"] = min(part["seconds"], 0.1)


def test_it_answers_as_it_says(described: schemathesis.schemas.BaseSchema, server: Server) -> None:
    assert ask_everything(described, server, examples=3) > 100


@pytest.mark.slow
def test_it_answers_as_it_says_at_length(described: schemathesis.schemas.BaseSchema, server: Server) -> None:
    ask_everything(described, server, examples=200)


def test_every_path_is_in_it(server: Server) -> None:
    """Of all processes, each with what it answers and how it says no."""
    paths = server.client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/search", "/api/v1/ingest", "/_bulk", "/v1/logs", "/cold/age", "/auth/me"} <= paths.keys()
    for path, methods in paths.items():
        for method, operation in methods.items():
            answers = operation["responses"]
            good = [one for status, one in answers.items() if status < "4"]
            assert good, path
            if path.startswith(OURS) and not path.startswith("/auth/log"):
                schemas = [content["schema"] for one in good for content in one.get("content", {}).values()]
                assert all(schemas), f"{method} {path}: nothing is said of its answer"
                assert answers["503"]["content"]["application/json"]["schema"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/gateway/nothing", "/cold/nothing", "/services/collector/nothing"]
)
def test_a_path_that_is_not_there_is_said_in_one_way(server: Server, path: str) -> None:
    answer = server.client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/ingest"),
        ("DELETE", "/gateway/status"),
        ("PUT", "/cold/status"),
        ("PATCH", "/api/v1/search"),
    ],
)
def test_a_method_that_is_not_there_is_said_in_one_way(server: Server, method: str, path: str) -> None:
    answer: httpx.Response = server.client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"]
