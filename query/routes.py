"""The paths of the API. Each reads its parameters, makes a plan, and leaves the work to a thread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from query import ast, csvfile, overview
from query.auditing import note_rows
from query.comparing import CHANGES, compare
from query.differing import differences
from query.errors import RequestInvalid
from query.explain import explain as explained
from query.leading import check_pipes
from query.learning import Learner
from query.limits import Limits
from query.params import RANGE, Asked, asking, described, described_body
from query.patterns import patterns as count_patterns
from query.plan import DEFAULT_LIMIT, MAX_LIMIT, Plan
from query.running import Running, check_regexes, naming
from query.search import search, stream
from query.serving import Gate, Stream
from query.sparklines import MOST_POINTS, sparklines
from query.tables import run_table, stream_table

router = APIRouter()
NDJSON = "application/x-ndjson"
DEFAULT_BUCKETS = 60
DEFAULT_CONTEXT = 10
DEFAULT_DIFFERENCES = 50
MAX_DIFFERENCES = 200  # each is counted beside the others, in one statement
FORMATS = {"json": "application/json", "ndjson": NDJSON, "csv": csvfile.MEDIA_TYPE}
SEARCH = (*RANGE, "limit", "order", "cursor", "tags", "format")
HISTOGRAM = (*RANGE, "buckets", "by")
PATTERNS = (*RANGE, "limit", "compare_from", "compare_to", "new_since", "sparkline")
COMPARED = (*RANGE, "limit", "compare_q", "compare_from", "compare_to")
CHANGED = (*COMPARED, "change", "sparkline")
FIELDS = (*RANGE, "limit")
CONTEXT = ("id", "before", "after", "namespace")
Answer = dict[str, Any]
T = TypeVar("T")
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


async def _run(request: Request, plan: Plan, work: Callable[[Plan, Running], Answer]) -> Response:
    """The answer of a plan, with the statistics that every answer has."""

    def checked(running: Running) -> Answer:
        with naming(plan):
            check_regexes(plan, running)
            return {**running.answer(plan, lambda settled: work(settled, running)), "stats": running.stats()}

    gate: Gate = request.app.state.gate
    answer = await gate.run(request, checked)
    note_rows(request, next((len(one) for one in answer.values() if isinstance(one, list)), 0))
    return JSONResponse(answer)


def _limits(request: Request) -> Limits:
    gate: Gate = request.app.state.gate
    return gate.limits


# --- search ------------------------------------------------------------------------------------------------


@router.get("/api/v1/search", openapi_extra=described(*SEARCH))
async def search_get(request: Request, ask: Annotated[Asked, Depends(asking(*SEARCH))]) -> Response:
    """Events, newest first: a page, or with `Accept: application/x-ndjson` all of them. With pipes, a table: streamed
    as one object with the columns, then one array a row. A stream ends with `{"stats": …}`. `Accept: text/csv` streams
    the same as CSV; `format=` says it in the address, for a file to keep."""
    return await _search(request, ask)


@router.post("/api/v1/search", openapi_extra=described_body(*SEARCH))
async def search_post(request: Request, ask: Annotated[Asked, Depends(asking(*SEARCH))]) -> Response:
    """The same, with the parameters in a JSON body or a form."""
    return await _search(request, ask)


async def _search(request: Request, ask: Asked) -> Response:
    kind = _kind(request, ask)
    streaming = kind != "json"
    limit = ask.integer("limit", DEFAULT_LIMIT, 0, (1 << 62) if streaming else MAX_LIMIT)
    plan = replace(ask.plan(limit=limit), tags=ask.names("tags"))
    asked_limit = limit if ask.text("limit") else None
    learner: Learner | None = request.app.state.learner if _asks_patterns(plan) else None
    if streaming:
        writes = _csv if kind == "csv" else _ndjson
        answer = await _stream(
            request, plan, kind, lambda running: writes(plan, running, asked_limit, learner)
        )
    elif plan.query.pipes:
        answer = await _run(request, plan, _table(_limits(request).result_rows, asked_limit, learner))
    else:
        answer = await _run(request, plan, _page)
    if ask.text("format"):
        answer.headers["Content-Disposition"] = f'attachment; filename="neve.{kind}"'
    return answer


def _kind(request: Request, ask: Asked) -> str:
    """Of which format the answer is: a key of FORMATS."""
    accept = request.headers.get("accept", "")
    named = ask.one_of("format", tuple(FORMATS))
    return named or next((kind for kind in ("ndjson", "csv") if FORMATS[kind] in accept), "json")


def _page(plan: Plan, running: Running) -> Answer:
    page = search(plan, running)
    return {"events": page.events(), "next_cursor": page.next_cursor}


def _asks_patterns(plan: Plan) -> bool:
    return any(isinstance(pipe, ast.Patterns) for pipe in plan.query.pipes)


def _table(max_rows: int, limit: int | None, learner: Learner | None) -> Callable[[Plan, Running], Answer]:
    def work(plan: Plan, running: Running) -> Answer:
        if learner is not None:
            learner.refresh(plan.namespace)
        table = run_table(plan, running, max_rows, limit)
        return {"columns": table.columns, "rows": table.rows}

    return work


def _ndjson(plan: Plan, running: Running, limit: int | None, learner: Learner | None) -> Iterator[bytes]:
    """An object for each event; of a table one with the columns, then an array for each row. The statistics last."""
    if plan.query.pipes:
        columns, pieces = _table_pieces(plan, running, limit, learner)
        yield _line({"columns": columns})
        yield from (b"".join(map(_line, rows)) for rows in pieces)
    else:
        yield from (b"".join(map(_line, events)) for events in stream(plan, running, limit))
    yield _line({"stats": running.stats()})


def _csv(plan: Plan, running: Running, limit: int | None, learner: Learner | None) -> Iterator[bytes]:
    """The same as CSV."""
    if plan.query.pipes:
        columns, pieces = _table_pieces(plan, running, limit, learner)
        yield from csvfile.of_rows([column["name"] for column in columns], pieces)
    else:
        yield from csvfile.of_events(_begun(stream(plan, running, limit)))
    yield csvfile.ending(running)


def _table_pieces(
    plan: Plan, running: Running, limit: int | None, learner: Learner | None
) -> tuple[list[Answer], Iterator[list[list[Any]]]]:
    """The columns of a table, and its rows as they come."""
    if learner is not None:
        learner.refresh(plan.namespace)
    pieces = stream_table(plan, running, limit)
    first = next(pieces)
    return first.columns, (piece.rows for piece in _begun(pieces))


def _begun(items: Iterator[T]) -> Iterator[T]:
    """An iterator whose first item is there: what goes wrong at the start is an error, not half an answer."""
    first = next(items, None)
    return iter(()) if first is None else chain((first,), items)


async def _stream(
    request: Request, plan: Plan, kind: str, pieces: Callable[[Running], Iterator[bytes]]
) -> Response:
    """Pieces as they come."""

    def open_(running: Running) -> Iterator[bytes]:
        with naming(plan):
            check_regexes(plan, running)
            yield from filter(None, pieces(running))

    gate: Gate = request.app.state.gate
    return Streamed(await gate.stream(request, open_), FORMATS[kind])


def _line(value: Answer | list[Any]) -> bytes:
    return _compact(value).encode() + b"\n"


class Streamed(StreamingResponse):
    """Streams, and gives the query's place back whatever happens."""

    def __init__(self, lines: Stream[bytes], media_type: str) -> None:
        super().__init__(aiter(lines), media_type=media_type)
        self._lines = lines

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            await self._lines.aclose()


def _events_of(ask: Asked, prefix: str = "") -> Plan:
    """The plan of a picture of events: its pipes must leave events."""
    plan = ask.plan(prefix=prefix)
    check_pipes(plan)
    return plan


# --- overviews ---------------------------------------------------------------------------------------------


@router.get("/api/v1/histogram", openapi_extra=described(*HISTOGRAM))
async def histogram(request: Request, ask: Annotated[Asked, Depends(asking(*HISTOGRAM))]) -> Response:
    """Counts by time over the range, empty buckets too."""
    buckets = ask.integer("buckets", DEFAULT_BUCKETS, 1, _limits(request).buckets)
    by = ask.text("by") or None
    return await _run(request, _events_of(ask), lambda p, r: overview.histogram(p, r, buckets, by))


@router.get("/api/v1/patterns", openapi_extra=described(*PATTERNS))
async def patterns(request: Request, ask: Annotated[Asked, Depends(asking(*PATTERNS))]) -> Response:
    """The shapes of messages, counted over every event; with a range to compare, the counts there too.

    `new_since`: only patterns of which the namespace has no event, whatever the filter, before that time.
    """
    limit = ask.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    points = ask.integer("sparkline", 0, 1, MOST_POINTS)
    compared = _events_of(ask, "compare_") if ask.text("compare_from") or ask.text("compare_to") else None
    since = ask.instant("new_since")
    learner: Learner = request.app.state.learner

    def work(plan: Plan, running: Running) -> Answer:
        learner.refresh(plan.namespace)
        before = replace(compared, tiers=plan.tiers) if compared is not None else None
        answer, ids = count_patterns(plan, running, limit, before, since)
        if points:
            lines, answer["sparkline"] = sparklines(plan, running, ids, points)
            for id_, pattern in zip(ids, answer["patterns"], strict=True):
                pattern["sparkline"] = lines.get(id_, [])
        return answer

    return await _run(request, _events_of(ask), work)


@router.get("/api/v1/patterns/compare", openapi_extra=described(*CHANGED))
async def changes(request: Request, ask: Annotated[Asked, Depends(asking(*CHANGED))]) -> Response:
    """Patterns that are new, gone, more or fewer than in another range or for another query, by how much that
    surprises. Without a range to compare with it is the one of equal length just before."""
    limit = ask.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    points = ask.integer("sparkline", 0, 1, MOST_POINTS)
    change = ask.one_of("change", CHANGES)
    plan = _events_of(ask)
    other = _compared(ask) or _before(plan)
    learner: Learner = request.app.state.learner

    def work(plan: Plan, running: Running) -> Answer:
        learner.refresh(plan.namespace)
        return compare(plan, running, replace(other, tiers=plan.tiers), limit, change, points)

    return await _run(request, plan, work)


def _compared(ask: Asked) -> Plan | None:
    """The plan to compare with; a range that is not given is the same. None where nothing is said of it."""
    if not any(ask.text(f"compare_{name}") for name in ("q", "from", "to")):
        return None
    if not (ask.text("compare_from") or ask.text("compare_to")):
        same = {f"compare_{name}": ask.text(name) for name in ("from", "to")}
        ask = replace(ask, values={**ask.values, **same})
    return _events_of(ask, "compare_")


def _before(plan: Plan) -> Plan:
    """The range of equal length just before a plan's."""
    if plan.low is None:
        raise RequestInvalid(
            "cannot compare: 'from' is missing", "give it, or `compare_from` and `compare_to`"
        )
    high = plan.now if plan.high is None else plan.high
    return replace(plan, low=plan.low - max(high - plan.low, 0), high=plan.low)


@router.get("/api/v1/fields", openapi_extra=described(*FIELDS))
async def fields(request: Request, ask: Annotated[Asked, Depends(asking(*FIELDS))]) -> Response:
    """Names of fields with kind, type and how many events have them."""
    limit = ask.integer("limit", 1000, 1, MAX_LIMIT)
    return await _run(request, _events_of(ask), lambda p, r: overview.fields(p, r, limit))


@router.get("/api/v1/fields/compare", openapi_extra=described(*COMPARED))
async def field_differences(request: Request, ask: Annotated[Asked, Depends(asking(*COMPARED))]) -> Response:
    """The values of fields that these events have more often than those of another query or range, or, without
    one, than the rest of their range."""
    limit = ask.integer("limit", DEFAULT_DIFFERENCES, 1, MAX_DIFFERENCES)
    other = _compared(ask)

    def work(plan: Plan, running: Running) -> Answer:
        beside = replace(other, tiers=plan.tiers) if other is not None else None
        return differences(plan, running, beside, limit)

    return await _run(request, _events_of(ask), work)


@router.get("/api/v1/fields/{name:path}/values", openapi_extra=described(*FIELDS))
async def values(request: Request, name: str, ask: Annotated[Asked, Depends(asking(*FIELDS))]) -> Response:
    """The most common values of a field."""
    limit = ask.integer("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    return await _run(request, _events_of(ask), lambda p, r: overview.values(p, r, name, limit))


@router.get("/api/v1/context", openapi_extra=described(*CONTEXT))
async def context(request: Request, ask: Annotated[Asked, Depends(asking(*CONTEXT))]) -> Response:
    """The lines around one event, of the same service and host, oldest first."""
    most = _limits(request).context_lines
    before, after = (ask.integer(name, DEFAULT_CONTEXT, 0, most) for name in ("before", "after"))
    return await _run(request, ask.plan(), lambda p, r: overview.context(p, r, ask.text("id"), before, after))


@router.post("/api/v1/explain", openapi_extra=described_body(*SEARCH))
async def explain(request: Request, ask: Annotated[Asked, Depends(asking(*SEARCH))]) -> Response:
    """What a query is understood as, and what it would read now. Nothing runs."""
    plan = replace(ask.plan(limit=ask.integer("limit", DEFAULT_LIMIT, 0, MAX_LIMIT)), tags=ask.names("tags"))
    gate: Gate = request.app.state.gate
    return JSONResponse(await gate.run(request, lambda running: explained(running.settle(plan, fresh=True))))


# --- health ------------------------------------------------------------------------------------------------


@router.get("/healthz")
async def healthz() -> Answer:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Answer:
    """ClickHouse answers too; else 503 with Retry-After."""
    gate: Gate = request.app.state.gate
    await gate.ping()
    return {"status": "ok"}
