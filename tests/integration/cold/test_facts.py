"""What Prometheus is told of both tiers, and that nobody waits for it."""

from __future__ import annotations

import threading
import time
from typing import Any

from storage.cold_config import Policy
from storage.errors import NeveError, StorageUnavailable
from storage.facts import Facts

Both = Any


def values(facts: Facts, namespace: str) -> dict[str, float]:
    """The samples of a namespace, once they are there."""
    deadline = time.monotonic() + 60
    while not (text := facts.text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found = (line.rsplit(" ", 1) for line in text.splitlines() if f'namespace="{namespace}"' in line)
    return {
        name.replace(f'namespace="{namespace}"', "").replace("{,", "{"): float(number)
        for name, number in found
    }


def test_tiers_epochs_and_what_is_late(both: Both, make_block: Any, events: Any) -> None:
    now = time.time_ns()
    both.insert(make_block(events(5, now - 10**10)))
    both.age()
    both.insert(make_block(events(3, now - 5 * 10**9)))
    both.ager.close_present(both.namespace)
    both.insert(make_block(events(2, now)))
    both.cold.config.namespaces[both.namespace] = Policy(age_after_hours=0, grace_seconds=0)
    found = values(Facts(lambda: [both.hot], both.cold), both.namespace)
    assert found['neve_storage_events{tier="hot"}'] == 5
    assert found['neve_storage_events{tier="cold"}'] == 5
    assert found['neve_storage_bytes{tier="hot"}'] > 0
    assert found['neve_storage_bytes{tier="cold"}'] > 1000
    assert found["neve_storage_parts{}"] == 2
    assert {
        state: found[f'neve_storage_epochs{{state="{state}"}}'] for state in ("open", "closed", "left")
    } == {
        "open": 1,
        "closed": 1,
        "left": 1,
    }
    assert found["neve_storage_newest_event_timestamp_seconds{}"] * 10**9 >= now - 1000
    assert found["neve_ageing_backlog_epochs{}"] == 1
    assert found["neve_ageing_backlog_seconds{}"] > 0
    both.cold.config.namespaces[both.namespace] = Policy()
    assert values(Facts(lambda: [both.hot], both.cold), both.namespace)["neve_ageing_backlog_epochs{}"] == 0


def test_nobody_waits_for_a_clickhouse_that_hangs(both: Both) -> None:
    asked, go_on, told = threading.Event(), threading.Event(), []

    class Hangs:
        def query(self, *_: object) -> None:
            asked.set()
            go_on.wait(60)
            raise StorageUnavailable("cannot reach clickhouse")

    def trouble(error: NeveError | None) -> None:
        told.append(error)

    facts = Facts(lambda: [Hangs()], both.cold, trouble)  # type: ignore[list-item]
    assert facts.text() == ""
    assert asked.wait(60)
    assert facts.text() == ""
    go_on.set()
    deadline = time.monotonic() + 60
    while not told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert isinstance(told[0], StorageUnavailable)
    assert facts.text() == ""
