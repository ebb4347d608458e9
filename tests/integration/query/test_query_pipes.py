"""Random events and random pipes: the rows that Neve gives are those of a plain reading of docs/query.md."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from query import ast
from query.errors import QueryInvalid
from query.limits import Limits
from query.plan import make_plan
from query.running import Running
from query.tables import run_table
from query.times import to_rfc3339
from storage.hot import Hot
from storage.native.block import SealedBlock

from .reference import (
    FINGERPRINT,
    LEVEL,
    LEVELS,
    NUMBER,
    TEXT,
    TIME,
    Event,
    Extraction,
    OneOfThese,
    Reading,
    Row,
    Table,
    event_field,
)  # fmt: skip

NOW = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
SECOND = 1_000_000_000
FROM, TO = NOW - 600 * SECOND, NOW + 600 * SECOND
SPANS = {
    "2026-01-31T12:00": (NOW, NOW + 60 * SECOND), "now": (NOW, NOW + 1),
    "2026-01-31T11:59:30Z": (NOW - 30 * SECOND, NOW - 29 * SECOND),
}  # fmt: skip

# --- events ------------------------------------------------------------------------------------------------

# Sums of these are exact, in whatever order they are added.
AMOUNTS = [
    "0",
    "12",
    "250",
    "-3",
    "0.5",
    "1e2",
    "007",
    "1.5s",
    "250ms",
    "2m3s",
    "1h",
    "10KiB",
    "2KB",
    "1.5MB",
    "-0",
]
VALUES = [*AMOUNTS, "eu", "us", "EU", "é", "x y", "用户", "12a", "/api/v1", "/var/log/", "bob@home"]
TAG_VALUES = st.sampled_from([value.encode() for value in VALUES] + [b"a\xffb"])
TAG_NAMES = ["region", "status", "latency_ms", "took", "user"]
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(["zoe", "bob", 'é\n"', ""]),
        "req": st.fixed_dictionaries(
            {}, optional={"ms": st.sampled_from([12, 250, 2.5]), "path": st.just("/a b")}
        ),
        "level": st.sampled_from(["WARNING", "error", "loud", 3]),
        "took": st.sampled_from(["1.5s", "250ms", 4]),
        "list": st.just([1, "x", None]),
        "flag": st.booleans(),
        "none": st.none(),
        "x.y": st.just("z"),
        "empty": st.just({}),
        "service": st.just("inner"),
        "timestamp": st.just("2020-01-01"),
    },
)
PAIRS = [
    "user=bob", 'user="b o\\"b\\n"', "took=1.5s", "took=250ms", "level=err", "level=x", "status=", "status=5",
    "a=b=c", 'path="/x y" z', 'odd="un', "req.ms=12", "1a=2", "é=ж", "user=",
]  # fmt: skip
PHRASES = [
    "took 12ms", "took 1.5ms", "took ms", "GET /a/b took 7ms", "PUT /x took 250ms now", "code=42", "code=-7",
    "warn: hot", "ERR: no", "bob@home.org said", 'say="a \\"b\\" c"', "for 2m3s", "(用户)", "<tag>", "10.0.0.1:80",
    "\n", "a",
]  # fmt: skip
MESSAGES = st.one_of(
    st.lists(st.sampled_from(PHRASES), max_size=3).map(lambda some: " ".join(some).encode()),
    st.lists(st.sampled_from(PAIRS), max_size=4).map(lambda some: " ".join(some).encode()),
    OBJECTS.map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    OBJECTS.map(lambda value: b" " + json.dumps(value, indent=1).encode()),
    st.sampled_from([b"", b"{broken", b"[1]", b"took \xff 12ms", b"took 5ms \xff", b'{"a": 1} x', b"{}"]),
)
EVENTS = st.fixed_dictionaries(
    {
        "timestamp": st.integers(-8, 8).map(lambda n: NOW + n * 15 * SECOND + n % 3),
        "level": st.sampled_from(LEVELS),
        "service": st.sampled_from(["", "api", "API", "shop"]),
        "message": MESSAGES,
        "fingerprint": st.sampled_from([1, 0x1E5, 0x0123456789ABCDEF, (1 << 64) - 1]),
        "tags": st.dictionaries(st.sampled_from(TAG_NAMES), TAG_VALUES, max_size=4),
    }
)

# --- pipes: made so that each has a meaning where it stands -------------------------------------------------

N = r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?"
EXTRACTIONS: dict[str, Extraction] = {
    "took <ms:number>ms": (re.compile(rf"took (?P<ms>{N})ms"), {"ms": NUMBER}),
    "<verb:word> /<_> took <rest>": (
        re.compile(r"(?P<verb>\w+) /[^\n]*? took (?P<rest>[^\n]*)"), {"verb": TEXT, "rest": TEXT},
    ),
    "code=<latency_ms:int>": (re.compile(r"code=(?P<latency_ms>[+-]?\d+)"), {"latency_ms": NUMBER}),
    "<level:word>: ": (re.compile(r"(?P<level>\w+): "), {"level": TEXT}),
    "<user:token>@<service:word>": (re.compile(r"(?P<user>\S+)@(?P<service>\w+)"), {"user": TEXT, "service": TEXT}),
    "=<said:quoted>": (re.compile(r'="(?P<said>(?:[^"\\]|\\.)*)"'), {"said": TEXT}),
    "for <took:duration>": (re.compile(r"for (?P<took>(?:\d+(?:\.\d+)?(?:ms|s|m|h))+)"), {"took": TEXT}),
    r"\<<mark:word>>": (re.compile(r"<(?P<mark>\w+)>"), {"mark": TEXT}),
    "<from:ip>:<port:int>": (
        re.compile(r"(?P<from>\d+\.\d+\.\d+\.\d+):(?P<port>\d+)"), {"from": TEXT, "port": NUMBER},
    ),
    "<first> <second:word>": (re.compile(r"(?P<first>[^\n]*?) (?P<second>\w+)"), {"first": TEXT, "second": TEXT}),
}  # fmt: skip
EVENT_KINDS = {
    "timestamp": TIME, "level": LEVEL, "fingerprint": FINGERPRINT,
    **dict.fromkeys(("service", "message", *TAG_NAMES), TEXT),
}  # fmt: skip
UNPACKED = ["user", "req.ms", "req.path", "list", "flag", "x.y", "odd", "a", "path", "none", "empty"]
OPS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
LONGER = st.sampled_from(["1m", "30s", "1m30s"])


@dataclass
class Shape:
    """What a stage has: names and their kinds."""

    kinds: dict[str, str]
    events: bool = True
    made: int = 0
    loose: set[str] = field(
        default_factory=set
    )  # columns of which any value is right: nothing may stand on them

    def of(self, *kinds: str) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind in kinds and name not in self.loose]

    def all(self) -> list[str]:
        return self.of(TEXT, LEVEL, FINGERPRINT, NUMBER, TIME)


def some(draw: st.DrawFn, names: list[str], most: int = 2) -> tuple[str, ...]:
    return tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True)))


def comparisons(draw: st.DrawFn, shape: Shape) -> ast.Filter:
    name = draw(st.sampled_from(shape.all()))
    kind, op = shape.kinds[name], draw(OPS)
    if kind == NUMBER:
        value = draw(st.sampled_from(["", "0", "1", "2.5", "12", "1e2"]))
        op = op if value else draw(st.sampled_from(["=", "!="]))
    elif kind == LEVEL:
        value = draw(st.sampled_from(LEVELS[1:]))
    elif kind == TIME:
        value = draw(st.sampled_from(list(SPANS)))
    elif kind == FINGERPRINT:
        value, op = "0123456789abcdef", draw(st.sampled_from(["=", "!="]))
    else:
        bare = [v for v in VALUES if not v.endswith(("B", "M"))]
        sized = bare if name.endswith("ms") or name[0] == "k" else VALUES
        value = draw(st.sampled_from(["", *sized]))
    return ast.Match(name, ast.Compare(op, value))


def where(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    parts = [comparisons(draw, shape) for _ in range(draw(st.integers(1, 3)))]
    parts = [ast.Not(part) if draw(st.integers(0, 3)) == 0 else part for part in parts]
    if len(parts) == 1:
        return ast.Where(parts[0])
    return ast.Where(draw(st.sampled_from([ast.And, ast.Or]))(tuple(parts)))


def sort(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    return ast.Sort(tuple(ast.SortKey(name, draw(st.booleans())) for name in some(draw, shape.all())))


def limit(draw: st.DrawFn, _shape: Shape) -> ast.Pipe:
    return ast.Limit(draw(st.integers(0, 12)))


def fields(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    names = some(draw, list(shape.kinds), 4)
    shape.kinds = {name: shape.kinds[name] for name in names}
    shape.events = False
    return ast.Fields(names)


def extract(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    pattern = draw(st.sampled_from(list(EXTRACTIONS)))
    source = draw(st.sampled_from([None, *shape.of(TEXT)]))
    if source is None and "message" not in shape.kinds:
        source = draw(st.sampled_from(shape.of(TEXT)))
    for name, kind in EXTRACTIONS[pattern][1].items():
        shape.kinds[name] = shape.kinds[name] if shape.kinds.get(name) in (LEVEL, NUMBER) else kind
    return ast.Extract(pattern, source)


def unpack(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    for name in UNPACKED:
        shape.kinds.setdefault(name, TEXT)
    return ast.Unpack(draw(st.sampled_from(["json", "logfmt"])), draw(st.sampled_from([None, "user"])))


def keys(draw: st.DrawFn, shape: Shape) -> list[ast.Key]:
    made = []
    for name in some(draw, shape.all(), 2) if draw(st.integers(0, 3)) else ():
        kind = shape.kinds[name]
        alias = draw(st.sampled_from([None, f"k{shape.made}"]))
        shape.made += 1
        if kind == TIME:
            made.append(ast.Key(None if name == "timestamp" else name, draw(LONGER), alias))
        elif name in ("latency_ms", "status", "ms") and draw(st.booleans()):
            width = (
                "1s" if name != "status" and draw(st.booleans()) else draw(st.sampled_from(["100", "0.5"]))
            )
            made.append(ast.Key(name, width, alias))
        else:
            made.append(ast.Key(name, None, alias))
    return made


def call(draw: st.DrawFn, shape: Shape, *, first: bool) -> tuple[ast.Call, str]:
    function = draw(st.sampled_from(
        ["count", "count", "sum", "avg", "min", "max", "p50", "p99", "quantile", "rate", "uniq", "any", "first", "last"]
    ))  # fmt: skip
    names: tuple[str, ...] = ()
    kind, level = NUMBER, None
    if function == "count" and draw(st.booleans()):
        names = some(draw, shape.all(), 1)
    elif function == "uniq":
        names = some(draw, shape.all())
    elif function in ("any", "first", "last"):
        if (first and function == "any") or (function != "any" and not shape.events):
            return ast.Call("count", alias=f"c{shape.made}"), NUMBER
        names = some(draw, shape.all(), 1)
        kind = shape.kinds[names[0]]
    elif function not in ("count", "rate"):
        numeric = shape.of(TEXT, NUMBER, TIME) if function in ("min", "max") else shape.of(TEXT, NUMBER)
        if not numeric:
            return ast.Call("count", alias=f"c{shape.made}"), NUMBER
        names = (draw(st.sampled_from(numeric)),)
        kind = TIME if shape.kinds[names[0]] == TIME else NUMBER
        level = draw(st.sampled_from(["0.25", "1", "0"])) if function == "quantile" else None
    return ast.Call(function, names, level, f"c{shape.made}"), kind


def stats(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    by = keys(draw, shape)
    calls, kinds, loose = [], {}, set()
    for key in by:
        kinds[key.column()] = NUMBER if key.width else shape.kinds[key.field or ""]
        if key.width and (key.field is None or shape.kinds.get(key.field) == TIME):
            kinds[key.column()] = TIME
    for index in range(draw(st.integers(1, 3))):
        made, kind = call(draw, shape, first=index == 0)
        shape.made += 1
        if index == 0 and made.function == "count" and draw(st.booleans()):
            made = ast.Call(made.function, made.fields)
        name = made.alias or made.label()
        kinds[name] = kind
        if made.function == "any":
            loose.add(name)
        calls.append(made)
    shape.kinds, shape.events, shape.loose = kinds, False, loose
    return ast.Stats(tuple(calls), tuple(by))


def top(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    names = some(draw, shape.all())
    if "count" in names:
        return ast.Limit(5)
    shape.kinds = {**{name: shape.kinds[name] for name in names}, "count": NUMBER}
    shape.events, shape.loose = False, set()
    if draw(st.integers(0, 2)) == 0:
        return ast.Uniq(names)
    return ast.Top(draw(st.integers(0, 5)), names, draw(st.booleans()))


def histogram(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    by = some(draw, shape.of(TEXT, LEVEL), 1) if draw(st.booleans()) else ()
    if set(by) & {"count", "start"}:
        by = ()
    shape.kinds = {"start": TIME, **{name: shape.kinds[name] for name in by}, "count": NUMBER}
    shape.events = False
    return ast.Histogram(draw(LONGER), by)


def patterns(_draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    names = ["fingerprint", "template", "count", "share", "first_seen", "last_seen", "name"]
    kinds = [TEXT, TEXT, NUMBER, NUMBER, TIME, TIME, TEXT]
    shape.kinds, shape.events, shape.loose = dict(zip(names, kinds, strict=True)), False, {"template"}
    return ast.Patterns()


ON_EVENTS = [
    where,
    sort,
    limit,
    extract,
    extract,
    unpack,
    unpack,
    stats,
    stats,
    fields,
    top,
    histogram,
    patterns,
]
ON_TABLES = [where, where, sort, limit, fields, stats, top, extract]


def next_pipe(draw: st.DrawFn, shape: Shape) -> ast.Pipe:
    made = draw(st.sampled_from(ON_EVENTS if shape.events else ON_TABLES))
    if not shape.all() or (made is extract and not shape.of(TEXT)):
        made = limit
    if made is stats and not shape.events and len(shape.of(TIME)) != 1:
        shape.loose |= set(shape.of(TIME))  # `bin` and `timestamp` need the one time that there is
        made = stats if shape.all() else limit
    return made(draw, shape)


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[ast.Pipe, ...]:
    shape = Shape(dict(EVENT_KINDS))
    return tuple(next_pipe(draw, shape) for _ in range(draw(st.integers(1, 4))))


CASES = st.tuples(st.lists(EVENTS, min_size=10, max_size=40), st.lists(pipelines(), min_size=10, max_size=20))

# --- the test ----------------------------------------------------------------------------------------------

EVENT_COLUMNS = ("level", "service", "message")
OWN = {"timestamp", "_time", "level", "service", "host", "message", "fingerprint", "trace_id", "span_id"}


def text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def shown_event(row: Row) -> dict[str, Any]:
    """An event as a table of whole events shows it."""
    event = row.event
    assert event is not None
    taken = {name: text(value) for name, value in event.get("taken", {}).items() if name not in OWN}
    tags = {name: text(value) for name, value in event["tags"].items()}
    values = {name: text(event_field(event, name)[0]) for name in EVENT_COLUMNS}
    return {**values, "id": "{}-{}".format(*event["id"]), "tags": {**tags, **taken}}


def shown_cell(value: Any, kind: str) -> Any:
    if isinstance(value, OneOfThese):
        return OneOfThese([shown_cell(one, kind) for one in value.values])
    if value is None:
        return None
    if kind == TIME:
        return to_rfc3339(value)
    return text(value) if isinstance(value, bytes) else value


def same(one: Any, other: Any) -> bool:
    if isinstance(other, OneOfThese):
        return any(same(one, value) for value in other.values)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def same_rows(some: list[list[Any]], others: list[list[Any]]) -> bool:
    return len(some) == len(others) and all(
        len(one) == len(other) and all(map(same, one, other)) for one, other in zip(some, others, strict=True)
    )


def expected_rows(table: Table) -> list[list[Any]]:
    rows = table.sorted_rows()
    if table.columns is None:
        return [[shown_event(row)] for row in rows]
    return [[shown_cell(*row.cells[name][:2]) for name in table.columns] for row in rows]


def found_rows(running: Running, namespace: str, query: ast.Query) -> list[list[Any]]:
    plan = make_plan(str(query), now=NOW, namespace=namespace, from_=str(FROM), to=str(TO))
    table = running.answer(plan, lambda settled: run_table(settled, running, 10_000, None))
    assert not running.limits_hit
    names = [column["name"] for column in table.columns]
    if names[:2] != ["id", "timestamp"]:
        return table.rows
    events = [dict(zip(names, row, strict=True)) for row in table.rows]
    return [[{**{n: e[n] for n in EVENT_COLUMNS}, "id": e["id"], "tags": e["tags"]}] for e in events]


def stored(store: Callable[[list[Event]], SealedBlock], events: list[Event]) -> list[Event]:
    """The events, with the ids that they have now."""
    block = store(events).header.block_id.hex()
    return [{**event, "id": (block, row)} for row, event in enumerate(events)]


def check_pipes(running: Running, namespace: str, query: ast.Query, events: list[Event]) -> None:
    """Neve's rows are those of the plain reading. The query's filter finds just these events."""
    try:
        found = found_rows(running, namespace, query)
    except QueryInvalid as error:  # units that do not go together: tests of their own say which
        assert "cannot compare" in error.message
        return
    table = Table(Reading(SPANS), events, EXTRACTIONS, (TO - FROM) / SECOND)
    for pipe in query.pipes:
        table.step(pipe)
    expected = expected_rows(table)
    assert same_rows(found, expected), f"{query}\n found    {found}\n expected {expected}"


_runs = itertools.count()
NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # each try asks the server a dozen times


@given(case=CASES)
@settings(max_examples=18, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck))
def test_pipes_give_what_a_plain_reading_gives(
    hot: Hot, namespace: str, store: Callable[..., Any], case: tuple[list[Event], list[tuple[ast.Pipe, ...]]]
) -> None:
    events, queries = case
    run = f"run-{next(_runs)}"
    events = stored(store, [{**event, "host": run} for event in events])
    for pipes in queries:
        check_pipes(
            Running(hot, Limits()), namespace, ast.Query(ast.Match("host", ast.Text(run)), pipes), events
        )
