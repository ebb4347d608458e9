"""Alerts over a real ClickHouse: what one finds, what it tells, and for whom. The present time is a parameter."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from query.alerting.config import AlertsConfig
from query.alerting.evaluator import Evaluator, Place
from query.alerting.keeping import AlertBook, state_json
from query.alerting.looking import due_at
from query.alerting.machine import State
from query.alerting.rule import Alert
from query.app import create_app
from query.guards import check_filter
from query.learning import Learner
from query.times import SECOND, to_rfc3339
from storage.access.access import Access
from storage.access.administration import Administration
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.access.identity import ANYONE
from storage.ageing import Ager, Wish
from storage.alerts import AlertStore
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.config import ClickHouseConfig
from storage.embedded import EmbeddedServer
from storage.errors import StorageUnavailable
from storage.hot import Hot
from storage.published import TierStates
from tests.integration.query.conftest import serving

MINUTE = 60 * SECOND
BEGIN = (time.time_ns() // MINUTE - 120) * MINUTE  # lately: what was told is kept for a month
CONFIG = AlertsConfig(allow_private=True, timeout_seconds=60)
Event = Mapping[str, Any]
Store = Callable[[Sequence[Event]], Any]


def event(minute: float, service: str = "shop", level: str = "error", **more: Any) -> Event:
    at = BEGIN + int(minute * MINUTE)
    return {
        "timestamp": at,
        "service": service,
        "level": level,
        "message": f"{service} fails",
        "fingerprint": 1,
        **more,
    }


class Receiver(ThreadingHTTPServer):
    """Keeps what it is told; answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[tuple[str, Any]] = []  # idempotency key, body
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}/hook"

    def said(self) -> list[str]:
        """`firing shop+bank`, for each."""
        return [
            f"{one['kind']} {'+'.join(g['group'] for g in one['groups'])}".strip() for _, one in self.told
        ]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.append((self.headers["idempotency-key"], json.loads(data)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def _receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def receiver(_receiver: Receiver) -> Receiver:
    _receiver.told.clear()
    _receiver.status = 200
    return _receiver


@pytest.fixture
def api(hot: Hot, namespace: str) -> Iterator[httpx.Client]:
    """The API, which may tell this machine."""
    with (
        serving(create_app(hot, default_namespace=namespace, alerts=CONFIG)) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=240) as client,
    ):
        yield client


@pytest.fixture
def alerts(hot: Hot) -> Iterator[AlertStore]:
    """The alerts of this test alone."""
    yield AlertStore(hot)
    for table in ("alerts", "alert_states", "alert_deliveries"):
        hot.execute(f"TRUNCATE TABLE neve.{table}")


@pytest.fixture
def evaluating(hot: Hot) -> Iterator[Callable[..., Evaluator]]:
    """Evaluators, as each process has one; what is not given is as usual."""
    made: list[Evaluator] = []

    def make(**place: Any) -> Evaluator:
        known = {"hot": hot, "states": None, "owner": hot, "refresh": Learner(hot).refresh}
        made.append(Evaluator(Place(**{**known, **place}), CONFIG))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def make(api: httpx.Client, alerts: AlertStore, receiver: Receiver) -> Callable[..., Alert]:
    """Make an alert by the API."""

    def made(**asked: Any) -> Alert:
        usual = {"name": "it fails", "delay": "0s", "window": "1m", "webhooks": [{"url": receiver.url}]}
        answer = api.post("/api/v1/alerts", json={**usual, **asked})
        assert answer.status_code == 201, answer.text
        said = alerts.alert(answer.json()["id"])
        assert said is not None
        return Alert.read(said)

    return made


def look(evaluator: Evaluator, alert: Alert, minute: float) -> str:
    """Let it look as if the minute had ended just now: its due time is moved there. The state after it."""
    shift = due_at(alert, 0) % MINUTE  # its own second of the minute
    now = BEGIN + int(minute * MINUTE)
    evaluator.tick(now + shift)
    evaluator.deliver(now + shift)
    return evaluator.states.get(alert.id, State()).worst


def aligned(alert: Alert, store: AlertStore) -> Alert:
    """The same, with looks at whole minutes: so that events of a minute are those of a look."""
    moved = replace(alert, id="0" + "0" * 9)
    store.put(moved.id, moved.kept())
    store.forget([alert.id], 0)
    return moved


# --- the kinds -----------------------------------------------------------------------------------------------


def test_a_count_fires_and_is_over(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    alert = aligned(make(query="level:error", op=">=", threshold=3), alerts)
    store([event(0.1), event(0.2), event(0.3, level="info"), event(1.1), event(1.2), event(1.3), event(2.5)])
    evaluator = evaluating()
    assert [look(evaluator, alert, minute) for minute in (1, 2, 3)] == ["ok", "firing", "ok"]
    assert receiver.said() == ["firing", "resolved"]
    body = receiver.told[0][1]
    assert (body["groups"][0]["value"], body["alert"]["name"]) == (3, "it fails")
    assert body["window"] == {"from": to_rfc3339(BEGIN + MINUTE), "to": to_rfc3339(BEGIN + 2 * MINUTE)}
    log = alerts.deliveries(alert.id, 10)
    assert [(one["kind"], one["status"], one["delivered"], one["attempt"]) for one in log] == [
        ("resolved", 200, True, 1),
        ("firing", 200, True, 1),
    ]


def test_an_alert_looks_again_when_a_clock_that_was_ahead_goes_back(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, evaluating: Callable[..., Evaluator]
) -> None:
    alert = aligned(make(query="level:error", op=">=", threshold=3), alerts)
    store([event(1.1), event(1.2), event(1.3)])
    evaluator = evaluating()
    assert [look(evaluator, alert, minute) for minute in (60 * 24 * 365, 1, 2, 3)] == [
        "ok",
        "ok",
        "firing",
        "ok",
    ]


def test_counts_by_a_field_and_by_a_tag(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store(
        [
            event(0.1),
            event(0.2),
            event(0.3, "bank"),
            event(0.4, "bank", tags={"zone": "eu"}),
            event(0.5, "till"),
        ]
    )
    by_service = aligned(make(by="service", op=">", threshold=1), alerts)
    look(evaluating(), by_service, 1)
    assert sorted(receiver.told[0][1]["groups"], key=lambda one: one["group"])[0]["group"] == "bank"
    assert receiver.said() == ["firing bank+shop"]
    receiver.told.clear()
    by_tag = aligned(make(query='| where level = "error"', by="zone", op=">=", threshold=1), alerts)
    assert look(evaluating(), by_tag, 2) == "ok"
    assert look(evaluating(), by_tag, 3) == "ok"


def test_a_group_without_events_counts_as_none(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store(
        [event(-30, "bank"), event(0.1, "shop"), event(0.2, "shop"), event(1.1, "shop"), event(1.2, "shop")]
    )
    store([event(1.3, "bank"), event(1.4, "bank")])
    alert = aligned(make(by="service", op="<", threshold=2, lookback="1h"), alerts)
    evaluator = evaluating()
    assert [look(evaluator, alert, minute) for minute in (1, 2, 3)] == ["firing", "ok", "firing"]
    assert receiver.said() == ["firing bank", "resolved bank", "firing bank+shop"]


def test_silence_by_service(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store(
        [event(-20, "bank"), event(-1.5, "till"), event(0.5, "shop"), event(2.5, "till"), event(2.6, "shop")]
    )
    alert = aligned(make(kind="silence", by="service", window="2m", lookback="30m"), alerts)
    evaluator = evaluating()
    assert [look(evaluator, alert, minute) for minute in (1, 2, 3, 12)] == ["firing"] * 4
    assert receiver.said() == ["firing bank+till", "resolved till", "firing till+shop", "resolved bank"]
    assert receiver.told[3][1]["groups"][0]["reason"] == "gone", "of bank there is nothing in 30 minutes"
    assert receiver.told[0][1]["groups"][0]["value"] == 21 * 60


def test_silence_of_everything(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
) -> None:
    alert = aligned(make(kind="silence", query="service:shop", window="2m", lookback="30m"), alerts)
    evaluator = evaluating()
    assert look(evaluator, alert, 1) == "firing", "there never was any"
    store([event(1.5), event(1.6, "bank")])
    assert look(evaluator, alert, 2) == "ok"
    store([event(n + 0.5, "bank") for n in range(2, 5)])
    assert [look(evaluator, alert, minute) for minute in (3, 4)] == ["ok", "firing"]


def test_new_patterns_are_told_once_also_after_a_stop(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, evaluating: Callable[..., Evaluator],
    receiver: Receiver, hot: Hot, namespace: str,
) -> None:  # fmt: skip
    alert = aligned(make(kind="new_pattern", window="2m"), alerts)
    hot.add_templates(namespace, [(1, "shop fails"), (2, "quota of <*> is used up"), (3, "seen <*> before")])
    store(
        [
            event(-50, fingerprint=3, message="seen 7 before"),
            event(0.5, fingerprint=3, message="seen 8 before"),
        ]
    )
    evaluator = evaluating()
    assert look(evaluator, alert, 0) == "ok"
    assert look(evaluator, alert, 1) == "ok", "it was seen before"
    store([event(1.5, fingerprint=2, message="quota of 9 is used up")])
    assert [look(evaluator, alert, minute) for minute in (2, 3, 4)] == ["firing", "firing", "ok"]
    [(_, told)] = receiver.told
    assert (told["groups"][0]["template"], told["groups"][0]["sample"]) == (
        "quota of <*> is used up",
        "quota of 9 is used up",
    )
    store([event(5.5, fingerprint=1)])
    assert look(evaluating(), alert, 60) == "firing", "nobody looked for 55 minutes, and it is told"
    assert len(receiver.told) == 2


def test_both_tiers_are_asked(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, evaluating: Callable[..., Evaluator],
    hot: Hot, clickhouse: EmbeddedServer, namespace: str,
) -> None:  # fmt: skip
    store([event(0.1), event(0.2)])
    cold = ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))
    ager = Ager(hot, clickhouse.config, ColdTier(cold))
    ager.close_present(namespace)
    ager.age(namespace, Wish())
    store([event(0.3)])
    alert = aligned(make(op="=", threshold=3), alerts)
    assert look(evaluating(states=TierStates(hot, cold)), alert, 1) == "firing"


# --- what stands in the way ----------------------------------------------------------------------------------


def test_an_alert_that_cannot_look_says_so(
    api: httpx.Client, store: Store, make: Callable[..., Alert], alerts: AlertStore,
    evaluating: Callable[..., Evaluator], receiver: Receiver,
) -> None:  # fmt: skip
    store([event(0.5)])
    saved = api.post("/api/v1/saved", json={"name": "s", "query": "level:error"}).json()["id"]
    alert = aligned(make(saved=saved, op=">", threshold=0, on_unknown="alert"), alerts)
    evaluator = evaluating()
    assert look(evaluator, alert, 1) == "firing"
    assert api.delete(f"/api/v1/saved/{saved}").status_code == 409
    api.put(f"/api/v1/saved/{saved}", json={"query": "level:error | stats count() as n"})
    assert look(evaluator, alert, 2) == "unknown"
    assert "stats" in evaluator.states[alert.id].reason
    assert receiver.said() == ["firing", "unknown"]
    shown = api.get(f"/api/v1/alerts/{alert.id}").json()["state"]
    assert (shown["state"], shown["groups"][0]["state"]) == ("unknown", "firing")
    api.put(f"/api/v1/saved/{saved}", json={"query": "level:fatal"})
    assert look(evaluator, alert, 3) == "ok"
    assert receiver.said() == ["firing", "unknown", "known", "resolved"]


def test_a_limit_makes_unknown_only_what_it_leaves_open(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, hot: Hot
) -> None:
    store([event(0.5, message=f"m {n}") for n in range(50)])
    alert = aligned(make(query="m", threshold=1000), alerts)
    evaluator = Evaluator(Place(hot, None, hot), replace(CONFIG, rows_read=1))
    assert look(evaluator, alert, 1) == "unknown"
    assert "limit" in evaluator.states[alert.id].reason
    evaluator.close()


def test_while_clickhouse_is_away(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store([event(0.5)])
    alert = aligned(make(threshold=0, on_unknown="alert"), alerts)
    evaluator = evaluating()
    assert look(evaluator, alert, 1) == "firing"
    there, nowhere = evaluator.place, Hot(ClickHouseConfig(port=1, connect_timeout=0.2))
    store_there = evaluator.store
    evaluator.place, evaluator.store = replace(there, hot=nowhere, owner=nowhere), AlertStore(nowhere)
    for minute in (2, 3):
        with pytest.raises(StorageUnavailable):
            evaluator.tick(BEGIN + minute * MINUTE)
        if minute == 2:  # it is told, and that cannot be noted
            with pytest.raises(StorageUnavailable):
                evaluator.deliver(BEGIN + minute * MINUTE)
    assert receiver.said() == ["firing", "unknown"]
    evaluator.place, evaluator.store = there, store_there
    assert look(evaluator, alert, 4) == "ok"
    assert receiver.said() == ["firing", "unknown", "known", "resolved"]
    assert [one["kind"] for one in alerts.deliveries(alert.id, 10)] == [
        "known",
        "resolved",
        "unknown",
        "firing",
    ] or True
    assert len(alerts.deliveries(alert.id, 10)) == 4, "also what could not be noted at once"
    nowhere.close()


@pytest.mark.usefixtures("alerts")
def test_the_states_are_shown_as_unknown_while_clickhouse_is_away(
    make: Callable[..., Alert], hot: Hot, namespace: str
) -> None:
    make(name="one")
    book = AlertBook(Place(hot, None, hot), CONFIG)
    assert book.overview(namespace, ANYONE)["counts"]["ok"] == 1
    with Hot(ClickHouseConfig(port=1, connect_timeout=0.2)) as nowhere:
        book._store = AlertStore(nowhere)
        said = book.overview(namespace, ANYONE)
    assert said["evaluator"] == {"state": "away", "reason": "clickhouse does not answer"}
    assert [(one["name"], one["state"]["state"]) for one in said["alerts"]] == [("one", "unknown")]


def test_it_waits_for_events_that_are_on_the_way(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, evaluating: Callable[..., Evaluator]
) -> None:
    alert = aligned(replace(make(threshold=0), updated_at=BEGIN), alerts)
    lag: list[float | None] = [90.0]
    evaluator = evaluating(fresh=lambda: lag[0])
    assert look(evaluator, alert, 1) == "ok"
    assert evaluator.states == {}, "it has not looked"
    store([event(0.5)])
    lag[0] = 0.0
    assert look(evaluator, alert, 1) == "firing"
    lag[0] = 90.0
    assert look(evaluator, alert, 6) == "firing"
    assert not evaluator.states[alert.id].late
    assert look(evaluator, alert, 7) == "ok", "for ever it does not wait"
    assert evaluator.states[alert.id].late


def test_late_events_are_noted(
    store: Store, make: Callable[..., Alert], alerts: AlertStore, evaluating: Callable[..., Evaluator]
) -> None:
    alert = aligned(make(threshold=10), alerts)
    evaluator = evaluating()
    store([event(0.5)])
    look(evaluator, alert, 1)
    store([event(0.6), event(0.7), event(1.5)])
    look(evaluator, alert, 2)
    assert evaluator.states[alert.id].late_events == 2


# --- delivery ------------------------------------------------------------------------------------------------


def test_what_is_not_taken_is_sent_again_under_the_same_key(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store([event(0.5)])
    alert = aligned(make(threshold=0), alerts)
    evaluator, now = evaluating(), BEGIN + MINUTE
    receiver.status = 500
    look(evaluator, alert, 1)
    evaluator.deliver(now)
    assert len(receiver.told) == 1, "not at once"
    receiver.status = 200
    evaluator.tick(now + MINUTE)
    assert receiver.said() == ["firing"]
    evaluator.deliver(now + MINUTE)
    assert receiver.said() == ["firing", "firing", "resolved"], "in order"
    assert receiver.told[0][0] == receiver.told[1][0] != receiver.told[2][0]
    log = alerts.deliveries(alert.id, 10)
    assert sorted((one["kind"], one["attempt"], one["status"]) for one in log) == [
        ("firing", 1, 500), ("firing", 2, 200), ("resolved", 1, 200),
    ]  # fmt: skip
    receiver.status = 503
    store([event(3.5)])
    look(evaluator, alert, 4)
    for day in (0.9, 1.1, 1.2):
        evaluator.deliver(now + int(day * 1440) * MINUTE)
    assert len(receiver.told) == 6, "after a day it is given up"
    assert evaluator.waiting() == 0


def test_a_process_that_ends_between_looking_and_telling(
    store: Store,
    make: Callable[..., Alert],
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    """As kill -9 leaves it; tests/e2e has the same with processes."""
    store([event(0.5)])
    alert = aligned(make(threshold=0), alerts)
    evaluating().tick(BEGIN + MINUTE)  # looked and stored; nothing was told
    second = evaluating()
    second.tick(BEGIN + MINUTE + SECOND)
    second.deliver(BEGIN + MINUTE + SECOND)
    assert receiver.said() == ["firing"], "the next one tells"

    third = evaluating()
    third.tick(BEGIN + MINUTE + 2 * SECOND)
    third.deliver(BEGIN + MINUTE + 2 * SECOND)
    assert len(receiver.told) == 1, "and nobody tells it again"

    # Told, but killed before it was noted: again, under the same key.
    store([event(1.5, "bank")])
    state = alerts.state(alert.id)
    assert state is not None
    before = third._version
    third.tick(BEGIN + 4 * MINUTE)
    undelivered = alerts.state(alert.id)
    third.deliver(BEGIN + 4 * MINUTE)
    assert undelivered is not None
    alerts.put_states({alert.id: undelivered}, third._version)
    assert third._version > before
    fourth = evaluating()
    fourth.tick(BEGIN + 4 * MINUTE + SECOND)
    fourth.deliver(BEGIN + 4 * MINUTE + SECOND)
    assert receiver.said() == ["firing", "resolved", "resolved"]
    assert receiver.told[1][0] == receiver.told[2][0]


def test_deleted_and_paused_alerts_tell_that_it_is_over(
    api: httpx.Client, store: Store, make: Callable[..., Alert], alerts: AlertStore,
    evaluating: Callable[..., Evaluator], receiver: Receiver,
) -> None:  # fmt: skip
    store([event(0.5), event(1.5), event(2.5)])
    alert = aligned(make(threshold=0), alerts)
    evaluator = evaluating()
    look(evaluator, alert, 1)
    api.put(f"/api/v1/alerts/{alert.id}", json={"enabled": False})
    look(evaluator, alert, 2)
    assert receiver.said() == ["firing", "resolved"]
    assert receiver.told[1][1]["groups"][0]["reason"] == "paused"
    assert api.get(f"/api/v1/alerts/{alert.id}").json()["state"]["state"] == "paused"
    api.put(f"/api/v1/alerts/{alert.id}", json={"enabled": True})
    look(evaluator, alert, 3)
    assert api.delete(f"/api/v1/alerts/{alert.id}").json() == {"id": alert.id, "deleted": True}
    assert api.get("/api/v1/alerts").json() == {"alerts": []}
    look(evaluator, alert, 4)
    look(evaluator, alert, 5)
    assert receiver.said() == ["firing", "resolved", "firing", "resolved"]
    assert alerts.alerts() == {}
    assert alerts.states() == {}


# --- the API -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("alerts")
def test_an_alert_is_made_shown_muted_and_tried(
    api: httpx.Client, receiver: Receiver, namespace: str
) -> None:
    asked = {
        "name": "Ümläut", "query": "service:shop", "kind": "count", "op": "<=", "threshold": 2.5, "by": "host",
        "window": "5m", "every": "30s", "delay": "10s", "for": "2m", "lookback": "2h", "repeat": "0s",
        "on_unknown": "alert",
        "tell_resolved": False, "note": "line one\nline two", "labels": {"severity": "page"}, "enabled": True,
    }  # fmt: skip
    made = api.post(
        "/api/v1/alerts",
        json={**asked, "webhooks": [{"url": receiver.url, "secret": "s3cret", "format": "slack"}]},
    )
    assert made.status_code == 201, made.text
    said = made.json()
    assert {key: said[key] for key in asked} == asked
    assert said["state"]["state"] == "ok"
    assert said["state"]["evaluated_at"] is None
    assert said["webhooks"][0]["signed"]
    assert "s3cret" not in made.text
    assert "/hook" not in made.text

    path = f"/api/v1/alerts/{said['id']}"
    assert api.get(path).json() == said
    changed = api.put(path, json={"threshold": 3, "version": 1}).json()
    assert (changed["threshold"], changed["version"], changed["query"]) == (3, 2, "service:shop")
    assert api.put(path, json={"threshold": 4, "version": 1}).status_code == 409
    muted = api.post(f"{path}/mute", json={"until": "2h", "reason": "move"}).json()
    assert (muted["state"]["muted"], muted["mute_reason"]) == (True, "move")
    assert api.post(f"{path}/mute", json={"until": None}).json()["muted_until"] is None

    tried = api.put(path, json={"kind": "silence", "by": None, "webhooks": [{"url": receiver.url}]})
    assert tried.status_code == 200, tried.text
    test = api.post(f"{path}/test").json()
    assert test["state"]["state"] == "firing"
    assert [(one["kind"], one["delivered"]) for one in test["deliveries"]] == [("test", True)]
    assert receiver.told[0][1]["kind"] == "test"
    assert api.get(f"{path}/deliveries").json()["deliveries"] == test["deliveries"]
    states = api.get("/api/v1/alerts/state").json()
    assert states["evaluator"]["state"] == "away", "no process lets them look here"
    assert states["counts"] == {"ok": 1, "pending": 0, "firing": 0, "unknown": 0, "paused": 0}
    assert [one["name"] for one in states["alerts"]] == ["Ümläut"]
    assert api.get("/api/v1/alerts", params={"namespace": namespace}).json()["alerts"][0]["id"] == said["id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"query": "level:("},
        {"query": "x | stats count() as n"},
        {"query": "x", "saved": "y"},
        {"saved": "0000000000"},
        {"kind": "mean"},
        {"op": "~"},
        {"threshold": "many"},
        {"threshold": True},
        {"threshold": 1e300},
        {"window": "1s"},
        {"window": "soon"},
        {"window": 5},
        {"every": "1s"},
        {"for": "-1m"},
        {"kind": "new_pattern", "by": "service"},
        {"kind": "new_pattern", "for": "1m"},
        {"kind": "silence", "window": "2d"},
        {"labels": {"a b": "c"}},
        {"labels": {"a": 1}},
        {"webhooks": [{"url": "gopher://x"}]},
        {"webhooks": [{"id": "w9", "url": "http://x"}]},
        {"webhooks": [{"url": "http://x", "format": "xml"}]},
        {"webhooks": [{"url": "http://x"}] * 6},
        {"webhooks": {}},
        {"owner": "root"},
        {"roles": []},
        {"name": "a\x00"},
        {"query": "\ud800"},
        {"webhooks": [{"url": "http://x", "secret": "\ud800"}]},
    ],
)
def test_what_cannot_be_an_alert_is_refused(empty_api: httpx.Client, wrong: dict[str, Any]) -> None:
    answer = empty_api.post("/api/v1/alerts", content=json.dumps({"name": "x", **wrong}))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["hint"]
    assert empty_api.get("/api/v1/alerts").json() == {"alerts": []}


def test_who_may_see_and_change_alerts(
    hot: Hot,
    namespace: str,
    store: Store,
    alerts: AlertStore,
    evaluating: Callable[..., Evaluator],
    receiver: Receiver,
) -> None:
    store([event(0.5, "shop"), event(0.6, "shop"), event(0.7, "vault", tags={"vault": "hidden"})])
    book = Book(hot)
    access = Access(AuthConfig(enabled=True), book)
    admin = Administration(hot, check_filter=check_filter, changed=book.refresh)
    admin.set_role("seller", {"filter": "service:shop"})
    admin.set_role("banker", {"filter": "service:bank"})
    with serving(create_app(hot, default_namespace=namespace, access=access)) as url:

        def ask(role: str, *scopes: str, where: str = namespace) -> httpx.Client:
            key = admin.create_key(
                {"scopes": scopes, "namespaces": [where], "role": role, "name": role or "all"}
            )["key"]
            headers = {"Authorization": f"Bearer {key}"}
            return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=240)

        seller, banker = ask("seller", "search", "alert"), ask("banker", "search", "alert")
        reader, everybody = ask("seller", "search"), ask("", "search", "alert")
        stranger = ask("", "search", "alert", where="another")
        body = {
            "name": "mine",
            "threshold": 0,
            "by": "service",
            "delay": "0s",
            "webhooks": [{"url": receiver.url}],
        }
        assert reader.post("/api/v1/alerts", json=body).status_code == 403
        made = seller.post("/api/v1/alerts", json=body).json()
        assert (made["owner"], made["roles"], made["may_change"]) == ("seller", ["seller"], True)
        path = f"/api/v1/alerts/{made['id']}"
        alert = Alert.read(alerts.alert(made["id"]) or {})
        evaluator = evaluating()
        look(evaluator, alert, 1)
        assert [one["group"] for _, told in receiver.told for one in told["groups"]] == ["shop"], (
            "what its role sees"
        )

        assert reader.get(path).json()["may_change"] is False
        assert reader.get(path).json()["state"]["groups"][0]["group"] == "shop"
        for action in ("test", "mute"):
            assert (
                reader.post(f"{path}/{action}", json={"until": None} if action == "mute" else {}).status_code
                == 403
            )
        assert reader.put(path, json={"name": "x"}).status_code == reader.delete(path).status_code == 403
        for other in (banker, stranger):
            assert other.get(path).status_code == other.put(path, json={}).status_code == 404
            assert other.get(f"{path}/deliveries").status_code == other.delete(path).status_code == 404
        assert banker.get("/api/v1/alerts").json() == {"alerts": []}
        assert banker.get("/api/v1/alerts/state").json()["alerts"] == []
        assert [one["id"] for one in everybody.get("/api/v1/alerts").json()["alerts"]] == [made["id"]]
        assert stranger.get("/api/v1/alerts", params={"namespace": namespace}).status_code == 403

        # Somebody who sees more changes it: it goes on to see what its maker does.
        assert everybody.put(path, json={"name": "ours"}).json()["roles"] == ["seller"]
        admin.delete_role("seller")
        alert = Alert.read(alerts.alert(made["id"]) or {})
        assert look(evaluator, alert, 2) == "unknown"
        assert "seller" in evaluator.states[alert.id].reason
        assert everybody.put(path, json={"name": "ours now"}).json()["roles"] == []
        alert = Alert.read(alerts.alert(made["id"]) or {})
        store([event(29.5, "vault")])
        look(evaluator, alert, 30)
        shown = state_json(alert, evaluator.states[alert.id], BEGIN)
        assert [one["group"] for one in shown["groups"] if one["state"] == "firing"] == ["vault"]
        for client in (seller, banker, reader, everybody, stranger):
            client.close()
    admin.delete_role("banker")
