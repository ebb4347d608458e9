"""What is counted beforehand, and what the events say: the same, whichever is asked, in one tier or over both."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from query import rollup
from query.app import create_app
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native.block import SealedBlock

from .conftest import serving

START = 1_767_225_600 * 10**9  # 2026-01-01
SECOND, MINUTE = 10**9, 60 * 10**9
RANGES: list[dict[str, str]] = [
    {},
    {"from": "2026-01-01T00:05:00Z", "to": "2026-01-01T01:00:00Z"},
    {"from": "2026-01-01T00:05:17.5Z", "to": "2026-01-01T00:48:30.000000001Z"},
    {"from": "2026-01-01T00:05:17.5Z"},
    {"to": "2026-01-01T00:48:30Z"},
    {"from": "2026-01-01T00:10:01Z", "to": "2026-01-01T00:10:59Z"},
]
FILTERS = ["", "service:api", "level:>=warn -service:web", "service:/^a/ OR level:\"\"", "service:nobody",
           "fingerprint:8000000000000001", "-fingerprint:8000000000000001 service:w*", "service:>api"]  # fmt: skip
PATHS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/histogram", {"buckets": 20}),
    ("/api/v1/histogram", {"buckets": 90, "by": "level"}),
    ("/api/v1/histogram", {"buckets": 2000, "by": "service"}),
    ("/api/v1/patterns", {}),
    ("/api/v1/patterns", {"limit": 2, "compare_from": "2026-01-01T00:20:30Z", "compare_to": "2026-01-01T00:40:30Z"}),
    ("/api/v1/patterns", {"new_since": "2026-01-01T00:30:00Z", "sparkline": 20}),
    ("/api/v1/patterns/compare", {"compare_from": "2026-01-01T00:20:30Z", "compare_to": "2026-01-01T00:40:30Z",
                                  "sparkline": 60}),
    ("/api/v1/fields/service/values", {}),
    ("/api/v1/fields/level/values", {"limit": 2}),
    ("/api/v1/fields/fingerprint/values", {}),
]  # fmt: skip


def made(count: int, seed: int, span: int = 70 * MINUTE) -> list[dict[str, Any]]:
    """Events of an hour and more; one of the shapes is seen late only, some events lie on the edge of a minute."""
    draw = random.Random(seed)
    events = []
    for _ in range(count):
        at = draw.randrange(span)
        at = at if draw.random() < 0.8 else at // MINUTE * MINUTE
        shape = draw.randrange(4) if at > 30 * MINUTE else draw.randrange(3)
        events.append(
            {
                "timestamp": START + at,
                "service": draw.choice(["api", "web", "", b"\xffraw"]),
                "level": draw.choice(["info", "warn", "error", ""]),
                "message": f"shape {shape} of {draw.randrange(5)}",
                "fingerprint": (1 << 63) + shape,
            }
        )
    return events


class Answers:
    """An API over both tiers of a namespace, that can be told to know no counts."""

    def __init__(self, hot: Hot, namespace: str, ager: Ager, client: httpx.Client, monkeypatch: Any) -> None:
        self.hot, self.namespace, self.ager = hot, namespace, ager
        self._client, self._monkeypatch = client, monkeypatch
        self.database = f"neve_{namespace}"
        self.split = rollup.split

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self._client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found.pop("stats")["complete"]
        return found

    def check(self, turn: int, *, known: bool = True, step: int = 1) -> None:
        """Every answer is the same from counts and from events; `known`: some of them were from counts.

        Each pair of a path and a filter is asked over one range, another with each `turn`; `step`: each of so many.
        """
        used: list[bool] = []

        def watched(*args: Any, **more: Any) -> Any:
            found = self.split(*args, **more)
            used.append(found is not None)
            return found

        asked = [(path, {**params, "q": query}) for path, params in PATHS for query in FILTERS][
            turn % step :: step
        ]
        for number, (path, params) in enumerate(asked):
            params |= RANGES[(number + number // len(RANGES) + turn) % len(RANGES)]
            self._monkeypatch.setattr(rollup, "split", watched)
            found = self.get(path, **params)
            self._monkeypatch.setattr(rollup, "split", lambda *_args, **_more: None)
            assert found == self.get(path, **params), f"{path} {params}"
        assert any(used) == known


@pytest.fixture
def answers(
    hot: Hot, clickhouse: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Answers]:
    config = ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))
    ager = Ager(hot, clickhouse.config, ColdTier(config))
    app = create_app(hot, default_namespace=namespace, cold=config)
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=240) as client:
        yield Answers(hot, namespace, ager, client, monkeypatch)


Store = Callable[[list[dict[str, Any]]], SealedBlock]


def test_counts_of_several_epochs_answer_as_events_do(answers: Answers, store: Store) -> None:
    store(made(300, 1))
    answers.hot.open_epoch(answers.namespace)
    store(made(300, 2))
    answers.check(0)


def test_epochs_whose_counts_are_off_are_read_from_events(answers: Answers, store: Store) -> None:
    store(made(200, 3))
    first = answers.hot.current_epoch(answers.namespace)
    answers.hot.open_epoch(answers.namespace)
    store(made(200, 4))
    for table in ("counts", "rollup"):  # as after an INSERT that ended before its views
        answers.hot.execute(f"ALTER TABLE {answers.database}.{table} DROP PARTITION {first}")
    answers.check(1)
    for table in ("counts", "rollup"):
        answers.hot.execute(f"TRUNCATE TABLE {answers.database}.{table}")
    answers.check(2, known=False)


def test_counts_answer_for_both_tiers(answers: Answers, store: Store) -> None:
    store(made(200, 5))
    cold = answers.hot.current_epoch(answers.namespace)
    assert answers.ager.age(answers.namespace, Wish(now=True, grace=0)) == 200
    store(made(200, 6))
    answers.check(3, step=5)
    for table in ("counts", "rollup"):
        answers.hot.execute(f"ALTER TABLE {answers.database}.{table} DROP PARTITION {cold}")
    answers.check(4, step=5)


def test_a_histogram_counts_what_was_stored(answers: Answers, store: Store) -> None:
    events = made(400, 7)
    store(events)
    found = answers.get("/api/v1/histogram", **{"by": "level", "buckets": 70}, **RANGES[2])
    assert found["interval_ms"] == 60_000
    low, high = START + 317 * SECOND + SECOND // 2, START + 48 * MINUTE + 30 * SECOND + 1
    inside = [e for e in events if low <= e["timestamp"] < high]
    assert sum(b["count"] for b in found["buckets"]) == len(inside)
    levels: Counter[str] = Counter()
    for bucket in found["buckets"]:
        levels.update(bucket["groups"])
    assert levels == Counter(e["level"] for e in inside)


def test_times_that_the_rollup_has_no_minute_for(answers: Answers, store: Store) -> None:
    """Before 1970, and beyond what a DateTime can say."""
    far = [-5 * MINUTE - 1, -1, 0, (1 << 32) * SECOND + 61 * SECOND, START]
    store(
        [
            {
                "timestamp": at,
                "service": "api",
                "level": "info",
                "message": f"at {at}",
                "fingerprint": 1 << 63,
            }
            for at in far
        ]
    )
    (pattern,) = answers.get("/api/v1/patterns")["patterns"]
    assert pattern["first_seen"] == "1969-12-31T23:54:59.999999999Z"
    assert pattern["last_seen"] == "2106-02-07T06:29:17.000000000Z"
    assert (pattern["count"], pattern["sample"]) == (5, f"at {far[3]}")
    asked = {"from": "1969-12-31T23:50:00Z", "to": "1970-01-01T00:10:00Z", "buckets": 20}
    found = answers.get("/api/v1/histogram", **asked)
    assert found["interval_ms"] == 60_000
    assert {b["start"]: b["count"] for b in found["buckets"] if b["count"]} == {
        "1969-12-31T23:54:00.000000000Z": 1,
        "1969-12-31T23:59:00.000000000Z": 1,
        "1970-01-01T00:00:00.000000000Z": 1,
    }
    coarse = answers.get("/api/v1/histogram", **{**asked, "buckets": 2})["buckets"]
    assert [(one["start"][:16], one["count"]) for one in coarse] == [
        ("1969-12-31T23:50", 2),
        ("1970-01-01T00:00", 1),
    ]


def test_a_picture_of_everything_reads_no_event(answers: Answers, store: Store, hot: Hot) -> None:
    store(made(2000, 8))
    asked = {"buckets": 70, "by": "level", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:10:00Z"}
    answer = answers._client.get("/api/v1/histogram", params=asked).json()
    counted = hot.scalars(f"SELECT count() AS n FROM {answers.database}.counts")[0]
    assert sum(b["count"] for b in answer["buckets"]) == 2000
    assert answer["stats"]["rows_read"] < 2 * counted + 100
    assert answer["stats"]["tiers"] == ["hot"]
