"""Loki's paths for those who query: what Grafana's Loki data source and logcli call.

`X-Scope-OrgID` names the namespace. Errors are Loki's: a status, and one text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute

from query import conditions as c
from query.auditing import note_rows
from query.errors import QueryInvalid, RequestInvalid, Unavailable, invalid_at
from query.learning import Learner
from query.logql import ast, metrics
from query.logql.asking import split
from query.logql.labels import condition, is_stream
from query.logql.lines import Line, check, lines
from query.logql.parse import parse, parse_log, parse_selector
from query.logql.ranges import Steps
from query.loki import answers, overviews
from query.loki.params import DEFAULT_LIMIT, LokiRequest, read
from query.plan import MAX_LIMIT, Plan
from query.running import Running, naming
from query.serving import Gate
from storage.errors import NeveError

T = TypeVar("T")
RETRY_AFTER_SECONDS = 1
VERSION = "3.0.0"  # of the API that is meant here: clients ask what they may use
DEFAULT_FIELDS = 1_000
BOTH = ["GET", "POST"]


class LokiRoute(APIRoute):
    """Answers errors as Loki does."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except NeveError as error:
                return refused(error)

        return answered


router = APIRouter(prefix="/loki/api/v1", route_class=LokiRoute, include_in_schema=False)


def refused(error: NeveError) -> PlainTextResponse:
    """An error as an answer."""
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in (429, 503) else None
    return PlainTextResponse(said(error) + "\n", error.status, headers)


def said(error: NeveError) -> str:
    """An error in Loki's words, with Neve's hint behind them."""
    message, hint = error.message, error.hint
    if isinstance(error, QueryInvalid) and error.position is not None:
        line, column = error.position
        message = f"parse error at line {line}, col {column}: {message.partition(': ')[2]}"
        hint = "\n".join(hint.split("\n")[:-2])  # the query and a caret below it are for terminals
    return f"{message}; {hint}" if hint else message


async def _run(request: Request, plan: Plan, work: Callable[[Plan, Running], T]) -> tuple[T, Running]:
    """What `work` makes of a plan, and what it took."""

    def checked(running: Running) -> tuple[T, Running]:
        with naming(plan):
            return running.answer(plan, lambda settled: work(settled, running)), running

    gate: Gate = request.app.state.gate
    return await gate.run(request, checked)


# --- queries ---------------------------------------------------------------------------------------------


@router.api_route("/query", methods=BOTH)
async def instant(request: Request) -> Response:
    """A metric query at one moment."""
    ask = await read(request)
    query = parse(ask.query())
    if isinstance(query, ast.LogQuery):
        raise RequestInvalid(
            "log queries are not supported as an instant query type, please change your query to a range query type"
        )
    steps = Steps(ask.moment("time", ask.now), 1, 1)
    ask.limit()
    ordered = isinstance(query, ast.VectorAggregation) and query.function in ("sort", "sort_desc")
    return await _metric(
        request, ask, query, steps, lambda side, running: answers.vector_data(side, steps, running, ordered)
    )


@router.api_route("/query_range", methods=BOTH)
async def ranged(request: Request) -> Response:
    """Lines, or a metric query at many moments."""
    ask = await read(request)
    query = parse(ask.query())
    if not isinstance(query, ast.LogQuery):
        steps = ask.steps()
        ask.limit()
        return await _metric(
            request, ask, query, steps, lambda side, running: answers.matrix_data(side, steps, running)
        )
    ask.steps()
    low, high = ask.bounds()
    interval = ask.duration("interval")
    if interval < 0:
        raise RequestInvalid("interval must be >= 0")
    found, running = await _lines(request, ask, query, low, high, ask.limit(), interval)
    return JSONResponse(answers.succeeded(answers.streams_data(found, ask.flags, running), running))


async def _metric(
    request: Request,
    ask: LokiRequest,
    query: ast.Metric,
    steps: Steps,
    data: Callable[[Any, Running], answers.Answer],
) -> Response:
    plan = ask.plan(c.Everything(), None, None)
    side, running = await _run(
        request, plan, lambda settled, running: metrics.Metrics(settled, running, steps).side(query)
    )
    note_rows(request, len(side) if isinstance(side, dict) else 1)
    missing = answers.incomplete(running)
    if missing:  # a number that lacks something is a wrong number
        raise Unavailable(f"cannot answer: {missing[0]}", "shorten the range, or narrow the selector")
    return JSONResponse(answers.succeeded(data(side, running)))


async def _lines(
    request: Request,
    ask: LokiRequest,
    query: ast.LogQuery,
    low: int,
    high: int,
    limit: int,
    interval: int = 0,
) -> tuple[list[Line], Running]:
    asked, stages = split(query, ask.query())
    plan = ask.plan(asked, low, high, newest=ask.newest_first(), limit=limit)
    check(plan, stages)
    found, running = await _run(
        request, plan, lambda settled, running: lines(settled, stages, running, interval)
    )
    note_rows(request, len(found))
    return found, running


@router.api_route("/format_query", methods=BOTH)
async def format_query(request: Request) -> Response:
    """A query, printed."""
    return JSONResponse(answers.succeeded(str(parse((await read(request)).query()))))


# --- labels and series -----------------------------------------------------------------------------------


def _selected(ask: LokiRequest, text: str) -> Plan:
    """The plan of a selector within the request's bounds."""
    low, high = ask.bounds()
    matchers = parse_selector(text)
    conditions = tuple(condition(matcher, text) for matcher in matchers)
    return ask.plan(c.all_of(conditions) if conditions else c.Everything(), low, high)


@router.api_route("/labels", methods=BOTH)
@router.api_route("/label", methods=BOTH)
async def labels(request: Request) -> Response:
    """The names of labels."""
    ask = await read(request)
    names, running = await _run(request, _selected(ask, ask.query()), overviews.label_names)
    return JSONResponse(answers.succeeded(names, running))


@router.api_route("/label/{name}/values", methods=BOTH)
async def label_values(request: Request, name: str) -> Response:
    """The values of a label."""
    ask = await read(request)
    values, running = await _run(
        request,
        _selected(ask, ask.query()),
        lambda plan, running: overviews.label_values(plan, running, name),
    )
    return JSONResponse(answers.succeeded(values, running))


@router.api_route("/series", methods=BOTH)
async def series(request: Request) -> Response:
    """The streams that some selectors find."""
    ask = await read(request)
    selectors = [*ask.lists.get("match[]", []), *ask.lists.get("match", [])] or ["{}"]
    plans = [(_selected(ask, text), _named(text)) for text in selectors]

    def work(settled: Plan, running: Running) -> list[dict[str, str]]:
        return overviews.series(
            [(replace(plan, tiers=settled.tiers), names) for plan, names in plans], running
        )

    found, running = await _run(request, plans[0][0], work)
    return JSONResponse(answers.succeeded(found, running))


def _named(selector: str) -> tuple[str, ...]:
    """The labels that a selector names and that no stream has."""
    return tuple(dict.fromkeys(one.name for one in parse_selector(selector) if not is_stream(one.name)))


@router.api_route("/detected_labels", methods=BOTH)
async def detected_labels(request: Request) -> Response:
    """The labels of streams, with how many values each has."""
    ask = await read(request)
    found, _ = await _run(request, _selected(ask, ask.query()), overviews.detected_labels)
    return JSONResponse({"detectedLabels": found})


# --- volumes and patterns --------------------------------------------------------------------------------


@router.api_route("/index/stats", methods=BOTH)
async def index_stats(request: Request) -> Response:
    """How much a selector is about."""
    ask = await read(request)
    found, _ = await _run(request, _selected(ask, ask.query()), overviews.stats)
    return JSONResponse(found)


@router.api_route("/index/volume", methods=BOTH)
async def volume(request: Request) -> Response:
    """Bytes by labels, over the whole range."""
    ask = await read(request)
    return await _volume(request, ask, None)


@router.api_route("/index/volume_range", methods=BOTH)
async def volume_range(request: Request) -> Response:
    """Bytes by labels, step by step."""
    ask = await read(request)
    return await _volume(request, ask, ask.steps())


async def _volume(request: Request, ask: LokiRequest, steps: Steps | None) -> Response:
    text = ask.query()
    limit = ask.integer("limit", DEFAULT_LIMIT, 1)
    names_only = {"labels": True, "series": False, "": False}.get(ask.text("aggregateBy"))
    if names_only is None:
        raise RequestInvalid("invalid aggregation option", "use series or labels")
    named = tuple(dict.fromkeys(matcher.name for matcher in parse_selector(text)))
    by = tuple(name.strip() for name in ask.text("targetLabels").split(",") if name.strip()) or named
    found, running = await _run(
        request,
        _selected(ask, text),
        lambda plan, running: overviews.volume(plan, running, steps, by, names_only, limit),
    )
    made = {tuple((name, value or name) for name, value in group): counts for group, counts in found}
    vector = {
        tuple(group): {step: float(size) for step, size in counts.items()} for group, counts in made.items()
    }
    if steps is not None:
        return JSONResponse(answers.succeeded(answers.matrix_data(vector, steps, running), running))
    at = Steps(ask.bounds()[1], 1, 1)
    return JSONResponse(answers.succeeded(answers.vector_data(vector, at, running, ordered=True), running))


@router.api_route("/patterns", methods=BOTH)
async def patterns(request: Request) -> Response:
    """The shapes of lines."""
    ask = await read(request)
    steps = ask.steps()
    asked, stages = split(parse_log(ask.query()), ask.query())
    if stages:
        raise invalid_at(ask.query(), 0, f"patterns of lines after '{str(stages[0])[:60]}' are not supported")
    low, high = ask.bounds()
    learner: Learner = request.app.state.learner
    found, running = await _run(
        request,
        ask.plan(asked, low, high),
        lambda plan, running: overviews.patterns(plan, running, learner, steps),
    )
    return JSONResponse(answers.succeeded(found, running))


# --- fields of lines -------------------------------------------------------------------------------------


@router.api_route("/detected_fields", methods=BOTH)
async def detected_fields(request: Request) -> Response:
    """What labels some of the lines have beside those of their stream."""
    ask = await read(request)
    limit = _fields_limit(ask)
    found, parsers = await _sample(request, ask)
    return JSONResponse({"fields": overviews.detected_fields(found, parsers, limit), "limit": limit})


@router.api_route("/detected_field/{name}/values", methods=BOTH)
async def detected_field_values(request: Request, name: str) -> Response:
    """The values of one of these."""
    ask = await read(request)
    limit = _fields_limit(ask)
    found, _ = await _sample(request, ask)
    return JSONResponse({"values": overviews.detected_values(found, name, limit), "limit": limit})


def _fields_limit(ask: LokiRequest) -> int:
    return ask.integer("limit" if ask.text("limit") else "field_limit", DEFAULT_FIELDS, 1)


async def _sample(request: Request, ask: LokiRequest) -> tuple[list[Line], tuple[str, ...]]:
    query = parse_log(ask.query() or "{}")
    low, high = ask.bounds()
    most = min(ask.integer("line_limit", DEFAULT_LIMIT * 10, 1), MAX_LIMIT)
    found, _ = await _lines(request, ask, query, low, high, most)
    parsers = [
        str(stage).split()[1]
        for stage in query.stages
        if isinstance(stage, ast.Json | ast.Logfmt | ast.Parser)
    ]
    return found, tuple(dict.fromkeys(parsers))


# --- about the server ------------------------------------------------------------------------------------


@router.get("/status/buildinfo")
async def buildinfo(request: Request) -> Response:
    """Which version of the API this is."""
    return JSONResponse(
        {
            "version": VERSION, "revision": f"neve-{request.app.version}", "branch": "", "buildUser": "",
            "buildDate": "", "goVersion": "",
        }
    )  # fmt: skip


@router.get("/tail")
async def tail_by_http() -> Response:
    """Tails are websockets."""
    message = (
        "Bad Request: websocket: the client is not using the websocket protocol: 'upgrade' token not found"
    )
    return PlainTextResponse(message + "\n", 400)
