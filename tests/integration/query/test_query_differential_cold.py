"""Random events, filters and pipes again, with the events cold, or some cold and some hot: the same plain reading.

Ageing and reading Parquet take their time, so the cases are drawn first, are stored and aged together, and are fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from query import ast
from query.limits import Limits
from query.parse import parse
from query.running import Running
from query.tiers import COLD, HOT
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native.block import SealedBlock
from storage.published import TierStates

from . import test_query_differential as filters
from . import test_query_pipes as pipes

FILTER_CASES, PIPE_CASES = 12, 8
FILTERS_EACH, PIPES_EACH = 9, 7
T = TypeVar("T")
Event = dict[str, Any]
Store = Callable[[list[Event]], SealedBlock]


def drawn(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """So many cases, other ones in each run. The first that hypothesis draws are its simplest: they go."""
    found: list[T] = []

    @given(case=strategy)
    @settings(
        max_examples=count + 2, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def draw(case: T) -> None:
        found.append(case)

    draw()
    return found[-count:]


class Aged:
    """Runs of events of which some become cold: all, or every second one of a run."""

    def __init__(self, hot: Hot, clickhouse: EmbeddedServer, namespace: str, store: Store) -> None:
        config = ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))
        self._hot, self._namespace, self._store = hot, namespace, store
        self._ager = Ager(hot, clickhouse.config, ColdTier(config))
        self._states = TierStates(hot, config)
        self._runs: list[list[Event]] = []

    def add(self, events: list[Event]) -> str:
        """The name of the run of these events, which is their host; every second run is to be cold, the others both."""
        run = f"run-{len(self._runs)}"
        self._runs.append([{**event, "host": run} for event in events])
        return run

    def store(self) -> dict[str, list[Event]]:
        """Store all runs and let them age; their events with their ids."""
        found: dict[str, list[Event]] = {}
        for number, events in enumerate(self._runs):
            found[f"run-{number}"] = pipes.stored(self._store, events if number % 2 else events[::2])
        assert self._ager.age(self._namespace, Wish(now=True, grace=0))
        for number, events in enumerate(self._runs):
            if not number % 2:
                found[f"run-{number}"] += pipes.stored(self._store, events[1::2])
        return found

    def running(self) -> Running:
        return Running(self._hot, Limits(), self._states)


@pytest.fixture
def aged(hot: Hot, clickhouse: EmbeddedServer, namespace: str, store: Store) -> Aged:
    return Aged(hot, clickhouse, namespace, store)


def test_filters_find_in_cold_and_across_what_a_plain_reading_finds(aged: Aged, namespace: str) -> None:
    cases = drawn(filters.CASES, FILTER_CASES)
    runs = [aged.add(events) for events, _ in cases]
    stored = aged.store()
    tiers: set[str] = set()
    for run, (_, nodes) in zip(runs, cases, strict=True):
        events = {event["id"]: event for event in stored[run]}
        for node in nodes[:FILTERS_EACH]:
            running = aged.running()
            filters.check_filter(running, namespace, run, node, events)
            tiers |= running.tiers
    assert tiers == {HOT, COLD}


def test_a_quantity_that_is_filtered_by_and_counted_with(aged: Aged, namespace: str) -> None:
    """The server refused to read Parquet for it."""
    [(events, _)] = drawn(pipes.CASES, 1)
    run = aged.add(events)
    stored = aged.store()
    query = parse(
        f"host:{run} | where user < 3600s or user < 100 | stats min(user) as low, count() as n by service"
    )
    pipes.check_pipes(aged.running(), namespace, query, stored[run])


def test_pipes_give_in_cold_and_across_what_a_plain_reading_gives(aged: Aged, namespace: str) -> None:
    cases = drawn(pipes.CASES, PIPE_CASES)
    runs = [aged.add(events) for events, _ in cases]
    stored = aged.store()
    for run, (_, queries) in zip(runs, cases, strict=True):
        for steps in queries[:PIPES_EACH]:
            query = ast.Query(ast.Match("host", ast.Text(run)), steps)
            pipes.check_pipes(aged.running(), namespace, query, stored[run])
