"""One search over both tiers: every kind of answer is the same before and after events have aged, wherever they are."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lexer.book import Entry
from lexer.pins import Pattern
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.errors import EpochClosed
from storage.hot import Hot
from storage.patterns import add_entries

START = 1_767_225_600 * 10**9  # 2026-01-01
HOUR = 3600 * 10**9
DAY = 24 * HOUR
SHAPES = (
    "user %d logged in",
    "cannot reach db-%d: connection refused",
    "took %d ms",
    "größe %d überschritten",
)

QUERIES = [
    "*",
    "error OR refused",
    '"connection refused"',
    "logg*",
    "NOT user service:api",
    "service:api level:>=warn",
    "host:web-* region:eu",
    "status:>=500",
    "latency_ms:[100 TO 500]",
    "user_id:*",
    "/db-[0-9]*7:/",
    "größe",
    "* | stats count() as n, sum(latency_ms), min(latency_ms), max(latency_ms), uniq(user_id) by service, level",
    "* | stats count() by bin(6h)",
    "refused | stats p95(latency_ms), avg(latency_ms) by host",
    "* | top 5 host",
    "* | rare 3 region",
    "level:error | sort -latency_ms | fields timestamp, message, latency_ms | limit 7",
    "* | histogram(1d) by level",
    "* | patterns",
    "* | where status = 500 | limit 5",
    "region:eu | uniq service, host",
]
PATHS = [
    ("/api/v1/search", {"q": "*", "tags": "region,latency_ms", "limit": 1000}),
    ("/api/v1/search", {"q": "user", "tags": ""}),
    ("/api/v1/histogram", {"q": "*", "by": "level", "buckets": 30}),
    ("/api/v1/histogram", {"q": "service:api", "from": "2026-01-02T00:00:00Z", "to": "2026-01-03T00:00:00Z"}),
    ("/api/v1/patterns", {"q": "*"}),
    ("/api/v1/patterns", {"q": "*", "from": "2026-01-03T00:00:00Z", "to": "2026-01-04T00:00:00Z",
                          "compare_from": "2026-01-01T00:00:00Z", "compare_to": "2026-01-02T00:00:00Z"}),
    ("/api/v1/patterns", {"q": "level:error", "sparkline": 12}),
    ("/api/v1/patterns/compare", {"q": "service:api", "from": "2026-01-03T00:00:00Z", "to": "2026-01-04T00:00:00Z",
                                  "sparkline": 12}),
    ("/api/v1/fields/compare", {"q": "region:eu status:>=404"}),
    ("/api/v1/fields/compare", {"q": "user", "compare_q": "took", "from": "2026-01-02T00:00:00Z"}),
    ("/api/v1/fields", {"q": "*"}),
    ("/api/v1/fields/region/values", {"q": "*"}),
    ("/api/v1/fields/fingerprint/values", {"q": "service:api"}),
]  # fmt: skip


def made(count: int, seed: int) -> list[dict[str, Any]]:
    """Events of four days; some with bytes that are no UTF-8, some at one moment."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        shape = draw.randrange(len(SHAPES))
        message: str | bytes = SHAPES[shape] % draw.randrange(200)
        if i % 50 == 0:
            message = f"{message} ".encode() + bytes(draw.randbytes(6)) + b"\xff"
        tags: dict[Any, Any] = {
            "region": draw.choice(["eu", "us", "ap"]),
            "status": draw.choice(["200", "404", "500"]),
            "latency_ms": str(draw.randrange(1, 900)),
        }
        if i % 3 == 0:
            tags["user_id"] = f"u{draw.randrange(40)}"
        if i % 70 == 0:
            tags[b"raw\xfe"] = b"\x00\xff"
        found.append(
            {
                "timestamp": START + draw.randrange(4 * DAY) // (grain := draw.choice([1, HOUR])) * grain,
                "service": draw.choice(["api", "web", "cron"]),
                "host": draw.choice(["web-1", "web-2", "db-1"]),
                "level": draw.choice(["info", "warn", "error", ""]),
                "message": message,
                "fingerprint": (1 << 63) + shape,
                "trace_id": f"{draw.randrange(100):032x}" if i % 4 == 0 else "",
                "tags": tags,
            }
        )
    return found


class Tiers:
    """A namespace whose API reads both tiers."""

    def __init__(
        self, hot: Hot, clickhouse: EmbeddedServer, config: ColdConfig, url: str, namespace: str
    ) -> None:
        self.hot, self.config, self.namespace = hot, config, namespace
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=240)
        self.ager = Ager(hot, clickhouse.config, ColdTier(config))

    def age(self) -> int:
        return self.ager.age(self.namespace, Wish(now=True, grace=0))

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def answers(self) -> dict[str, Any]:
        """Every query and path, without what may differ: the tiers, and what it took."""
        found: dict[str, Any] = {}
        for query in QUERIES:
            found[query] = self._plain(self.get("/api/v1/search", q=query, limit=60))
        for path, params in PATHS:
            found[f"{path} {params}"] = self._plain(self.get(path, **params))
        found["stream"] = [self._plain(one) for one in self.stream("service:api")]
        found["oldest"] = self._plain(self.get("/api/v1/search", q="*", order="oldest", limit=300))
        found["pages"] = self.pages("level:warn")
        some = found["*"]["events"][30]["id"]
        found["context"] = self._plain(self.get("/api/v1/context", id=some, before=7, after=9))
        return found

    def stream(self, query: str, **params: Any) -> list[dict[str, Any]]:
        headers = {"accept": "application/x-ndjson"}
        text = self.client.get("/api/v1/search", params={"q": query, **params}, headers=headers).text
        return [json.loads(line) for line in text.splitlines()]

    def pages(self, query: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get("/api/v1/search", q=query, limit=37, **({"cursor": cursor} if cursor else {}))
            events += self._plain(page)["events"]
            cursor = page["next_cursor"]
            if not cursor:
                return events

    def _plain(self, answer: dict[str, Any]) -> dict[str, Any]:
        stats = answer.pop("stats", None)
        assert stats is None or stats["complete"], stats
        answer.pop("tier", None)
        events = answer.get("events")
        for event in events if isinstance(events, list) else ():
            event.pop("tier")
        return answer


@pytest.fixture
def config(clickhouse: EmbeddedServer, namespace: str) -> ColdConfig:
    return ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))


@pytest.fixture
def tiers(
    hot: Hot, clickhouse: EmbeddedServer, config: ColdConfig, serve: Callable[..., str], namespace: str
) -> Iterator[Tiers]:
    one = Tiers(hot, clickhouse, config, serve(cold=config), namespace)
    with one.client:
        yield one


def test_answers_are_equal_hot_cold_and_across(tiers: Tiers, store: Callable[[Any], Any]) -> None:
    events = made(900, 1)
    store(events[:500])
    tiers.hot.open_epoch(tiers.namespace)
    store(events[500:])
    hot = tiers.answers()
    assert tiers.get("/api/v1/search", q="*")["stats"]["tiers"] == ["hot"]

    tiers.ager.age(tiers.namespace, Wish(grace=0))  # the first epoch only: the second is the present one
    across = tiers.answers()
    assert tiers.get("/api/v1/search", q="* | stats count()")["stats"]["tiers"] == ["hot", "cold"]
    for name, answer in hot.items():
        assert across[name] == answer, name

    tiers.age()
    cold = tiers.answers()
    found = tiers.get("/api/v1/search", q="*", limit=10)
    assert found["stats"]["tiers"] == ["cold"]
    assert {event["tier"] for event in found["events"]} == {"cold"}
    for name, answer in hot.items():
        assert cold[name] == answer, name


def test_explain_says_what_is_read(tiers: Tiers, store: Callable[[Any], Any]) -> None:
    store(made(20, 2))
    said = tiers.client.post("/api/v1/explain", json={"q": "*"}).json()
    assert said["plan"]["tiers"] == ["hot"]
    assert said["plan"]["snapshot"] is None
    tiers.age()
    said = tiers.client.post("/api/v1/explain", json={"q": "service:api"}).json()
    assert said["plan"]["tiers"] == ["cold"]
    assert said["plan"]["snapshot"]["events"] == 20
    assert said["sql"][0]["tiers"] == ["cold"]
    assert str(tiers.config.folder) not in json.dumps(said["sql"])
    said = tiers.client.post("/api/v1/explain", json={"q": "*", "from": "2027-01-01T00:00:00Z"}).json()
    assert said["plan"]["tiers"] == []  # nothing is that new


def test_late_events_are_found_by_their_own_time(tiers: Tiers, store: Callable[[Any], Any]) -> None:
    store(made(50, 3))
    tiers.age()
    late = [{"timestamp": START - 30 * DAY + i, "message": f"late {i}"} for i in range(5)]
    store(late)
    span = {"from": "2025-11-30T00:00:00Z", "to": "2025-12-05T00:00:00Z"}
    before = tiers.get("/api/v1/search", q="late", **span)
    assert [event["tier"] for event in before["events"]] == ["hot"] * 5
    assert before["stats"]["tiers"] == ["hot"]
    tiers.age()
    after = tiers.get("/api/v1/search", q="late", **span)
    assert [event["id"] for event in after["events"]] == [event["id"] for event in before["events"]]
    assert [event["tier"] for event in after["events"]] == ["cold"] * 5
    assert [event["timestamp"][-4:] for event in after["events"]] == ["004Z", "003Z", "002Z", "001Z", "000Z"]


def test_cold_files_that_are_away_make_an_answer_partial(tiers: Tiers, store: Callable[[Any], Any]) -> None:
    store(made(50, 4))
    tiers.age()
    store(made(7, 5))
    away = tiers.config.folder / "warehouse"
    away.rename(away.with_name("elsewhere"))
    for query in ("*", "* | stats count() as n"):
        found = tiers.get("/api/v1/search", q=query)
        assert not found["stats"]["complete"]
        assert found["stats"]["limits_hit"] == ["cold"]
        assert len(found["events"]) == 7 if "events" in found else found["rows"] == [[7]]
    *events, last = tiers.stream("*")
    assert len(events) == 7
    assert last["stats"]["limits_hit"] == ["cold"]
    away.with_name("elsewhere").rename(away)
    assert tiers.get("/api/v1/search", q="* | stats count() as n")["rows"] == [[57]]


def test_a_drop_between_the_plan_and_the_read_is_noticed(
    tiers: Tiers, store: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was published when a query began no longer fits when it reads: it begins again."""
    from query.running import Running

    store(made(30, 6))
    real, left = Running.settle, [2]

    def settle(self: Running, plan: Any) -> Any:
        settled = real(self, plan)
        if left[0]:
            left[0] -= 1
            tiers.age()
            store(made(1, 7))
        return settled

    monkeypatch.setattr(Running, "settle", settle)
    assert tiers.get("/api/v1/search", q="* | stats count() as n")["rows"] == [[32]]
    left[0] = 2
    assert len(tiers.stream("*")) == 35


def test_counts_while_events_arrive_age_and_drop(
    tiers: Tiers, make_block: Callable[..., Any], clickhouse: EmbeddedServer
) -> None:
    """With no grace at all every count is at least what was stored when it was asked, and none falls."""
    sent, stored, stop = [0], [0], threading.Event()

    def fill() -> None:
        with Hot(clickhouse.config) as hot:
            while not stop.is_set():
                block = make_block([{"timestamp": START + i, "message": f"number {i}"} for i in range(7)])
                epoch = hot.current_epoch(tiers.namespace)
                sent[0] += 7
                try:
                    hot.insert_blocks(tiers.namespace, [block], epoch, block.header.block_id.hex())
                except EpochClosed:
                    sent[0] -= 7  # not one row of it was stored
                    continue
                stored[0] += 7

    def age() -> None:
        with Hot(clickhouse.config) as hot:
            ager = Ager(hot, clickhouse.config, ColdTier(tiers.config))
            while not stop.is_set():
                ager.age(tiers.namespace, Wish(now=True, grace=0))

    threads = [threading.Thread(target=work) for work in (fill, age)]
    for thread in threads:
        thread.start()
    last = dropped = 0
    try:
        while dropped < 6:
            before = stored[0]
            count = tiers.get("/api/v1/search", q="* | stats count() as n")["rows"][0][0]
            assert before <= count <= sent[0] + 7
            assert count >= last
            *events, said = tiers.stream("number")
            assert said["stats"]["complete"]
            ids = {event["id"] for event in events}
            assert len(ids) == len(events)
            assert count <= len(ids) <= sent[0] + 7
            last = len(ids)
            dropped = tiers.hot.epochs.dropped_through(tiers.namespace)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert tiers.get("/api/v1/search", q="* | stats count() as n")["rows"] == [[stored[0]]]


def test_a_fingerprint_opens_few_files_and_costs_are_of_all_that_was_read(
    tiers: Tiers, store: Callable[[Any], Any]
) -> None:
    """A pattern's members too: of each day's file one shape alone."""
    shapes = {day: (1 << 63) + (day << 40) for day in range(5)}
    for day, shape in shapes.items():
        at = START + day * DAY
        store(
            [
                {"timestamp": at + i, "fingerprint": shape, "message": f"day {day}", "tags": {"k": f"v{i}"}}
                for i in range(500)
            ]
        )
        tiers.age()
    one, other = shapes[1], shapes[3]
    pattern = Entry(Pattern(one, b"day <n>", ""), b"", False)
    add_entries(tiers.hot, tiers.namespace, {one: pattern, other: pattern})

    def asked(query: str, events: int) -> dict[str, Any]:
        found = tiers.get("/api/v1/search", q=query, limit=3000)
        assert (len(found["events"]), found["stats"]["tiers"]) == (events, ["cold"])
        stats: dict[str, Any] = found["stats"]
        return stats

    everything = asked("k:v*", 2500)
    assert everything["rows_read"] >= 2500
    stored = sum(path.stat().st_size for path in tiers.config.folder.rglob("*.parquet"))
    assert everything["bytes_read"] >= stored / 2
    rare = asked("k:v7", 5)  # of which ClickHouse's progress has five rows
    assert rare["rows_read"] >= 2500
    two = asked(f"fingerprint:{one:016x}", 1000)
    alone = asked(f"fingerprint:{shapes[2]:016x}", 500)
    missing = asked(f"fingerprint:{one + 1:016x}", 0)
    assert missing["bytes_read"] < alone["bytes_read"] < two["bytes_read"] < rare["bytes_read"]
    assert missing["rows_read"] < 100
