"""What was deleted is in no answer, however late it arrives: not for a moment, and whoever asks for what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from neve_delete import delete_there
from storage import deletions
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.errors import EpochClosed
from storage.hot import Hot

START = 1_767_225_600 * 10**9  # 2026-01-01
SECRET = "jane.roe@example.org"
ANY = f'"{SECRET}" OR mail:"{SECRET}" OR service:gone'


class Place:
    """A namespace in both tiers, its API, and the ager."""

    def __init__(
        self, hot: Hot, clickhouse: EmbeddedServer, config: ColdConfig, url: str, namespace: str
    ) -> None:
        self.hot, self.namespace = hot, namespace
        self.clickhouse, self.cold = clickhouse.config, ColdTier(config)
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=240)
        self.ager = Ager(hot, clickhouse.config, self.cold)

    def delete(self, query: str) -> None:
        asked = {"q": query, "namespace": self.namespace}
        said = list(delete_there(self.hot, self.clickhouse, self.cold, asked))
        assert not any("error" in one for one in said), said

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found.get("stats", {"complete": True})["complete"], found
        return found

    def count(self, query: str = "*") -> int:
        return int(self.get("search", q=f"{query} | stats count() as n")["rows"][0][0])

    def stored(self) -> int:
        return int(self.hot.scalars(f"SELECT count() AS n FROM neve_{self.namespace}.events")[0])

    def answers(self) -> dict[str, Any]:
        """Of every kind one, without what it cost."""
        found = {
            "page": self.get("search", q="*", limit=200),
            "oldest": self.get("search", q="*", order="oldest", limit=7),
            "table": self.get("search", q="* | stats count() as n, uniq(mail) as mails by service"),
            "histogram": self.get("histogram", q="*", by="service", buckets=5),
            "by tag": self.get("histogram", q="*", by="mail", buckets=5),
            "open": self.get("histogram", q="level:info", buckets=5),
            "patterns": self.get("patterns", q="*"),
            "fields": self.get("fields", q="*"),
            "services": self.get("fields/service/values", q="*"),
            "fingerprints": self.get("fields/fingerprint/values", q="*"),
        }
        for answer in found.values():
            answer.pop("stats")
        headers = {"accept": "application/x-ndjson"}
        text = self.client.get("/api/v1/search", params={"q": "*"}, headers=headers).text
        found["stream"] = {"events": [json.loads(line) for line in text.splitlines()][:-1]}
        return found


@pytest.fixture
def place(hot: Hot, clickhouse: EmbeddedServer, serve: Callable[..., str], namespace: str) -> Iterator[Place]:
    config = ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0))
    one = Place(hot, clickhouse, config, serve(cold=config), namespace)
    with one.client:
        yield one


def mixed(count: int, start: int = START) -> list[dict[str, Any]]:
    """Every third is to go, for one reason or another."""
    made: list[dict[str, Any]] = []
    for i in range(count):
        event: dict[str, Any] = {"timestamp": start + i * 10**9, "service": "shop", "level": "info"}
        event |= {"message": f"number {i}", "fingerprint": 1 + i % 2, "tags": {"mail": "other"}}
        if i % 9 == 0:
            event |= {"message": f"mail of {SECRET} bounced", "fingerprint": 7}
        elif i % 9 == 3:
            event["tags"] = {"mail": SECRET}
        elif i % 9 == 6:
            event["service"] = "gone"
        made.append(event)
    return made


def test_what_comes_late_is_in_no_answer(place: Place, store: Callable[[Any], Any]) -> None:
    store(mixed(45))
    place.ager.age(place.namespace, Wish(now=True, grace=0))
    store(mixed(18, START + 3600 * 10**9))
    place.delete(ANY)
    place.delete('message:"no such thing"')
    before = place.answers()
    assert place.count() == 42
    late = [one for one in mixed(27, START + 60 * 10**9) if one["service"] == "gone" or "mail" in str(one)]
    late = [one for one in late if SECRET in str(one) or one["service"] == "gone"]
    assert len(late) == 9
    block = store(late)
    there = place.stored()
    assert there == 12 + 9
    assert place.answers() == before
    assert place.count("service:gone") == place.count(f'mail:"{SECRET}"') == 0
    gone = place.client.get("/api/v1/context", params={"id": f"{block.header.block_id.hex()}-0"})
    assert gone.status_code == 404

    store([one | {"timestamp": time.time_ns() + 10**9} for one in late])  # from after the request
    assert place.count() == 42 + 9
    place.ager.tend_deletions(place.namespace)
    assert place.stored() == 12 + 9
    assert place.count() == 42 + 9
    place.ager.age(place.namespace, Wish(now=True, grace=0))
    assert place.count() == 42 + 9
    assert place.stored() == 0


def test_a_look_from_before_the_request_is_not_trusted(place: Place, store: Callable[[Any], Any]) -> None:
    """What is where is remembered for a moment; a request in that moment counts."""
    store(mixed(9))
    assert place.count() == 9
    deletion = deletions.Deletion(
        place.namespace, "service:gone", deletions.Matching("service = {p0:String}", {"p0": "gone"}), until=1
    )
    deletions.record(place.hot, deletion)
    assert place.count() == 8


def test_counts_in_a_loop_while_it_comes_late(
    place: Place, store: Callable[[Any], Any], make_block: Callable[..., Any], clickhouse: EmbeddedServer
) -> None:
    """Events that are to go arrive all the time, are removed and never counted."""
    store(mixed(9))
    place.delete(ANY)
    stop = threading.Event()
    failed: list[BaseException] = []

    def work(step: Callable[[Hot], None]) -> None:
        try:
            with Hot(clickhouse.config) as hot:
                while not stop.is_set():
                    step(hot)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    def fill(hot: Hot) -> None:
        block = make_block([one for one in mixed(9) if one["service"] == "gone"])
        try:
            epoch = hot.current_epoch(place.namespace)
            hot.insert_blocks(place.namespace, [block], epoch, block.header.block_id.hex())
        except EpochClosed:
            pass

    def tend(hot: Hot) -> None:
        ager = Ager(hot, clickhouse.config, place.cold)
        ager.tend_deletions(place.namespace)
        ager.age(place.namespace, Wish(now=True, grace=0))

    threads = [threading.Thread(target=work, args=(one,)) for one in (fill, tend)]
    for thread in threads:
        thread.start()
    try:
        while place.hot.epochs.closed_through(place.namespace) < 4 and not failed:
            assert place.count() == 6
            assert sum(one["count"] for one in place.get("histogram", q="*")["buckets"]) == 6
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert place.count() == 6
