"""Events on two real shards are found, counted and paged through as if they were on one; who is away is said."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lexer.book import Entry
from lexer.pins import Pattern
from query import ast, sources
from query.alerting.looking import Rights, Window, look
from query.alerting.machine import Seen, State
from query.alerting.rule import Alert
from query.app import create_app
from query.limits import Limits
from query.running import Running
from storage.documents import Documents
from storage.errors import NeveError
from storage.native.block import SealedBlock
from storage.patterns import add_entries, has_new_templates
from storage.shards import Shard
from storage.spreading import Spread
from tests.integration.conftest import Cluster

from . import test_query_differential as filters
from . import test_query_pipes as pipes
from .conftest import serving
from .test_query_differential_cold import drawn

START = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
SECOND = 10**9
HALF_HOUR = 1800 * SECOND
Store = Callable[[list[Any]], SealedBlock]


def plain(count: int, start: int = 0, step: int = SECOND, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": START + (start + i) * step,
            "service": "shop" if i % 3 else "api",
            "level": "info",
            "message": f"number {start + i}",
            "fingerprint": i % 5,
            "tags": {"user": f"u{i % 4}"},
            **more,
        }
        for i in range(count)
    ]


@pytest.fixture
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    app = create_app(
        Spread(cluster.reading), owner=cluster.spread, default_namespace=cluster.namespace, cold=cluster.cold
    )
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=240) as client:
        yield client


def ask(api: httpx.Client, path: str, **params: Any) -> dict[str, Any]:
    answer = api.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class Runs:
    """Runs of events on both shards, each of a host of its own, with what is to be asked of them."""

    def __init__(self, cases: list[Any], store: Store) -> None:
        self._cases = cases
        self._stored = []
        for number, (events, _) in enumerate(cases):
            events = [{**event, "host": f"run-{number}"} for event in events]
            self._stored.append(pipes.stored(store, events[::2]) + pipes.stored(store, events[1::2]))

    def asked(self, which: slice) -> Iterator[tuple[str, list[Any], Any]]:
        """A run, its events, and one thing to ask."""
        for number, ((_, asked), stored) in enumerate(zip(self._cases, self._stored, strict=True)):
            for one in asked[which]:
                yield f"run-{number}", stored, one


HOT, ACROSS = slice(4), slice(4, 5)


@pytest.mark.usefixtures("apart")
def test_filters_find_over_shards_what_a_plain_reading_finds(cluster: Cluster, spread_store: Store) -> None:
    runs = Runs(drawn(filters.CASES, 8), spread_store)
    for which in (HOT, ACROSS):
        for run, stored, node in runs.asked(which):
            by_id = {event["id"]: event for event in stored}
            filters.check_filter(cluster.running(), cluster.namespace, run, node, by_id)
        cluster.age(2)


@pytest.mark.usefixtures("apart")
def test_pipes_give_over_shards_what_a_plain_reading_gives(cluster: Cluster, spread_store: Store) -> None:
    runs = Runs(drawn(pipes.CASES, 8), spread_store)
    for which in (HOT, ACROSS):
        for run, stored, steps in runs.asked(which):
            query = ast.Query(ast.Match("host", ast.Text(run)), steps)
            pipes.check_pipes(cluster.running(), cluster.namespace, query, stored)
        cluster.age(2)


ASKED = [
    ("search", {"q": "number", "limit": 7}),
    ("search", {"q": "user:u1 | stats count() as n, p95(fingerprint) by service"}),
    ("search", {"q": "* | top 3 user"}),
    ("histogram", {"q": "service:shop", "buckets": 10, "by": "service"}),
    ("histogram", {"q": "", "buckets": 10}),
    ("patterns", {"q": ""}),
    ("patterns", {"q": "service:api", "new_since": "2026-01-01T00:00:00Z"}),
    ("patterns/compare", {"q": "service:api", "compare_q": "service:shop"}),
    ("fields/compare", {"q": "service:api", "compare_q": "service:shop"}),
    ("fields", {"q": ""}),
    ("fields/service/values", {"q": ""}),
    ("fields/user/values", {"q": "service:shop"}),
    ("fields/fingerprint/values", {"q": ""}),
]


LOGS = [
    {"query": '{service_name="shop"} |= "number"', "limit": "150"},
    {"query": 'sum by (service_name) (count_over_time({service_name=~".+"} [1d]))', "step": "86400"},
]


def logs(api: httpx.Client) -> list[Any]:
    """What Loki's clients are told of all that `plain` made."""
    span = {"start": str(START), "end": str(START + 200 * HALF_HOUR)}
    found = [api.get("/loki/api/v1/query_range", params={**span, **one}) for one in LOGS]
    assert [one.status_code for one in found] == [200, 200], [one.text for one in found]
    return [sorted(one.json()["data"]["result"], key=str) for one in found]


def same(answer: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on where events are: all but figures of the work, ids, and the tier."""
    answer = {key: value for key, value in answer.items() if key not in ("stats", "next_cursor")}
    if "events" in answer and isinstance(answer["events"], list):
        answer["events"] = [{**one, "id": "", "tier": ""} for one in answer["events"]]
    return answer


@pytest.mark.parametrize("moved", ["hot", "across", pytest.param("cold", marks=pytest.mark.slow)])
def test_every_path_answers_as_one_server_does(
    moved: str,
    cluster: Cluster,
    api: httpx.Client,
    make_block: Callable[..., SealedBlock],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = plain(200, step=HALF_HOUR)
    cluster.insert(1, make_block(events))
    first, first_logs = [same(ask(api, path, **params)) for path, params in ASKED], logs(api)
    assert all(first_logs)
    cluster.shards.all[0].hot.execute(f"TRUNCATE TABLE neve_{cluster.namespace}.events")
    for table in ("rollup", "counts", "seen"):
        cluster.shards.all[0].hot.execute(f"TRUNCATE TABLE neve_{cluster.namespace}.{table}")
    cluster.insert(1, make_block(events[::2]))
    cluster.insert(2, make_block(events[1::2]))
    if moved == "across":
        assert cluster.age(2) == 100
    elif moved == "cold":
        assert cluster.age() == 200
    for least in (1, sources.APART_EVENTS) if moved != "hot" else (1,):
        monkeypatch.setattr(sources, "APART_EVENTS", least)
        for (path, params), expected in zip(ASKED, first, strict=True):
            answer = ask(api, path, **params)
            assert answer["stats"]["complete"] is True
            assert answer["stats"]["shards"] == {"asked": ["a", "b"], "away": []}
            assert same(answer) == expected, (path, params)
        assert logs(api) == first_logs


def test_pages_and_streams_give_each_event_of_both_shards_once(
    cluster: Cluster, api: httpx.Client, make_block: Callable[..., SealedBlock]
) -> None:
    events = plain(60)
    cluster.insert(1, make_block(events[::2]))
    cluster.insert(2, make_block(events[1::2]))
    found: list[str] = []
    cursor = ""
    while True:
        page = ask(api, "search", q="", limit=7, cursor=cursor)
        found += [event["message"] for event in page["events"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert found == [event["message"] for event in reversed(events)]
    streamed = api.get("/api/v1/search", params={"q": ""}, headers={"Accept": "application/x-ndjson"})
    assert len(streamed.text.splitlines()) == 61
    event = ask(api, "search", q="number", limit=1, order="oldest")["events"][0]
    around = ask(api, "context", id=event["id"], before=3, after=3)["events"]
    assert [one["message"] for one in around] == ["number 0", "number 3", "number 6", "number 9"]


def test_an_answer_without_a_shard_says_so_and_is_whole_again_when_it_is_back(
    cluster: Cluster, api: httpx.Client, make_block: Callable[..., SealedBlock]
) -> None:
    events = plain(60)
    cluster.insert(1, make_block(events[::2]))
    cluster.insert(2, make_block(events[1::2]))
    assert ask(api, "search", q="* | stats count() as n")["rows"] == [[60]]
    cluster.kill(2)
    for path, params in ASKED:
        stats = ask(api, path, **params)["stats"]
        assert stats["complete"] is False
        assert stats["limits_hit"] == ["shard:b"]
        assert stats["shards"] == {"asked": ["a"], "away": ["b"]}
    assert ask(api, "search", q="* | stats count() as n")["rows"] == [[30]]
    logs = {"query": '{service_name="shop"}', "start": str(START), "end": str(START + 100 * SECOND)}
    said = api.get("/loki/api/v1/query_range", params=logs).json()
    assert said["warnings"] == ["the answer is not complete: shard b is away"]
    assert sum(len(one["values"]) for one in said["data"]["result"]) == 20
    cluster.start(2)
    said = api.get("/loki/api/v1/query_range", params=logs).json()
    assert "warnings" not in said
    assert sum(len(one["values"]) for one in said["data"]["result"]) == 40
    answer = ask(api, "search", q="* | stats count() as n")
    assert answer["rows"] == [[60]]
    assert answer["stats"]["complete"] is True


def test_an_alert_takes_no_shard_that_is_away_for_silence(
    cluster: Cluster, make_block: Callable[..., SealedBlock]
) -> None:
    cluster.insert(1, make_block(plain(9, service="bank")))
    cluster.insert(2, make_block(plain(9, service="shop")))
    cluster.kill(2)
    window = Window(START + 60 * SECOND, START, START + 60 * SECOND)

    def found(**asked: Any) -> Seen:
        alert = Alert(cluster.namespace, **asked)
        running = Running(Spread(cluster.reading), Limits())
        return look(alert, State(), window, Rights({}, {}), running, lambda _namespace: None)

    assert found(kind="silence", query="service:shop").unknown == "shard b is away"
    assert found(op="<", threshold=10).unknown == "shard b is away"
    assert [one.holds for one in found(op=">", threshold=5).groups.values()] == [True]  # whatever b has


class Counting:
    """Counts all events again and again, in a thread, through the API."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self.answers: list[tuple[int | None, list[str]]] = []
        self.troubles: list[str] = []
        self._heard = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Counting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            answer = self._api.get("/api/v1/search", params={"q": "* | stats count() as n"})
            with self._heard:
                if answer.status_code == 200:
                    said = answer.json()
                    count = said["rows"][0][0] if said["rows"] else None
                    self.answers.append((count, said["stats"]["limits_hit"]))
                else:
                    self.troubles.append(answer.text)
                self._heard.notify_all()

    def wait_for(self, lacking: list[str]) -> None:
        """Until an answer from now on lacks just these."""
        with self._heard:
            known = len(self.answers)
            assert self._heard.wait_for(lambda: lacking in [hit for _, hit in self.answers[known:]], 180)


def test_a_shard_that_lacks_the_namespace_is_left_out_and_said(
    cluster: Cluster, api: httpx.Client, make_block: Callable[..., SealedBlock]
) -> None:
    cluster.insert(1, make_block(plain(30)))
    cluster.shards.all[1].hot.execute(f"DROP DATABASE neve_{cluster.namespace}")
    cluster.shards.all[1].hot.execute(
        "DELETE FROM neve.migrations WHERE scope = {n:String}", {"n": cluster.namespace}
    )
    answer = ask(api, "search", q="* | stats count() as n")
    assert (answer["rows"], answer["stats"]["limits_hit"]) == ([[30]], ["shard:b"])
    unknown = api.get("/api/v1/search", params={"q": "", "namespace": "never_made"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "namespace_unknown")


def test_a_template_is_new_only_where_no_shard_has_its_pattern(cluster: Cluster) -> None:
    first, second = (one.hot for one in cluster.shards)
    assert not has_new_templates(cluster.spread, cluster.namespace)
    second.add_templates(cluster.namespace, [(7, "number <n>")])
    assert has_new_templates(cluster.spread, cluster.namespace)
    add_entries(first, cluster.namespace, {7: Entry(Pattern(7, b"number <n>"))})
    assert not has_new_templates(cluster.spread, cluster.namespace)


def test_a_search_user_may_ask_other_shards_and_change_nothing(cluster: Cluster) -> None:
    reading = Spread(cluster.reading)
    assert reading.scalars(f"SELECT count() AS n FROM neve_{cluster.namespace}.events") == [0]
    with pytest.raises(NeveError):
        reading.execute(f"TRUNCATE TABLE neve_{cluster.namespace}.events")


def test_no_error_has_a_password(cluster: Cluster) -> None:
    reading = Spread(cluster.reading)
    with pytest.raises(NeveError) as raised:
        reading.query(f"SELECT nothing FROM neve_{cluster.namespace}.events")
    said = f"{raised.value} {raised.value.detail}"
    assert cluster.reading.home.config.password not in said
    assert cluster.servers[1].config.password not in said


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("initiator", [0, 1])
def test_a_shard_that_hangs_is_left_out_whoever_is_asked_for_it(
    initiator: int,
    cluster: Cluster,
    api: httpx.Client,
    make_block: Callable[..., SealedBlock],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, 2):
        cluster.insert(number, make_block(plain(10, step=HALF_HOUR * 8)))
    assert cluster.age() == 20
    cluster.insert(1, make_block(plain(10)))
    cluster.insert(2, make_block(plain(7)))
    assert ask(api, "search", q="* | stats count() as n")["rows"] == [[37]]

    def choose(alive: Sequence[Shard]) -> Shard:
        return alive[min(initiator, len(alive) - 1)]

    monkeypatch.setattr("query.asking.random.choice", choose)
    pid = cluster.servers[1].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = ask(api, "search", q="* | stats count() as n")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (answer["rows"], answer["stats"]["limits_hit"]) == ([[30]], ["shard:b"])


def test_what_is_written_waits_for_no_shard_that_hangs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.spreading.WRITE_SECONDS", 10)
    documents = Documents(cluster.spread, "saved")
    pid = cluster.servers[1].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:  # it had waited for five minutes
            pool.submit(documents.put, cluster.namespace, {"said": "meanwhile"}).result(200)
        assert not cluster.shards.all[1].alive
        assert documents.get(cluster.namespace) == {"said": "meanwhile"}
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.wait_alive(2)
    assert Documents(cluster.shards.all[1].hot, "saved").get(cluster.namespace) == {"said": "meanwhile"}
    for one in cluster.shards:
        one.hot.execute("DELETE FROM neve.saved WHERE name = {n:String}", {"n": cluster.namespace})


@pytest.mark.usefixtures("apart")
def test_no_count_is_wrong_while_a_shard_dies_hangs_and_comes_back(
    cluster: Cluster, api: httpx.Client, make_block: Callable[..., SealedBlock]
) -> None:
    cluster.insert(1, make_block(plain(30)))
    cluster.insert(2, make_block(plain(7, step=HALF_HOUR * 12)))
    cluster.age(2)
    cluster.insert(2, make_block(plain(40)))
    with Counting(api) as counting:
        counting.wait_for([])
        for _ in range(2):
            cluster.kill(2)
            counting.wait_for(["shard:b"])
            cluster.start(2)
            counting.wait_for([])
        pid = cluster.servers[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            counting.wait_for(["shard:b"])
        finally:
            os.kill(pid, signal.SIGCONT)
        counting.wait_for([])
    wrong = [one for one in counting.answers if one not in ((77, []), (37, ["shard:b"]))]
    assert not wrong
    assert not counting.troubles
