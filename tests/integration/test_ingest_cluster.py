"""A gateway before two real ClickHouse servers: each block goes to one of them, once, whichever dies meanwhile."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest import placing, status
from ingest.app import GatewaySettings, create_app
from ingest.gateway import GatewayState
from ingest.ledger import WINDOW_SECONDS
from ingest.pipeline import Agent, AgentSettings
from ingest.spool import Spool
from storage import shards as shards_module
from storage.config import ShardConfig
from storage.embedded import EmbeddedServer
from storage.errors import ConfigError, NeveError
from storage.hot import Hot
from storage.native import frames
from storage.native.block import SealedBlock, pack
from storage.numbers import shard_of
from storage.schema import namespace_database
from tests.listening import Listening

PATIENCE = 4800
PAUSE_SECONDS = 0.05
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(shards_module, "SILENCE_SECONDS", 30.0)  # one that is busy is not away
    monkeypatch.setattr(placing, "TURN_SECONDS", 0.0)  # the next block goes to the next shard


class Cluster:
    """Two servers and a namespace on both."""

    def __init__(self, first: EmbeddedServer, second: EmbeddedServer, namespace: str) -> None:
        self.second = second
        self.namespace = namespace
        self.configs = (ShardConfig("a", 1, first.config), ShardConfig("b", 2, second.config))
        self.hots = [Hot(one.owner, number=one.number) for one in self.configs]

    def kill(self) -> None:
        assert self.second.pid is not None
        os.kill(self.second.pid, signal.SIGKILL)
        assert self.second.wait(60) is not None

    def stored(self, number: int) -> list[str]:
        """The messages that a shard has, each as often as it has it."""
        sql = f"SELECT message FROM neve_{self.namespace}.events"
        return sorted(self.hots[number - 1].scalars(sql))

    def all(self) -> list[str]:
        return sorted(self.stored(1) + self.stored(2))


@pytest.fixture
def cluster(hot: Hot, clickhouse: EmbeddedServer, second_clickhouse: EmbeddedServer) -> Iterator[Cluster]:
    one = Cluster(clickhouse, second_clickhouse, f"cluster_{next(_numbers)}")
    hot.migrate()
    for each in one.hots:
        each.create_namespace(one.namespace)
    yield one
    if not second_clickhouse.alive():
        second_clickhouse.start()
    for each in one.hots:
        each.execute(f"DROP DATABASE IF EXISTS {namespace_database(one.namespace)}")
        each.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": one.namespace})
        each.close()


@pytest.fixture
def settings(tmp_path: Path, cluster: Cluster) -> GatewaySettings:
    owner = cluster.configs[0].owner
    return GatewaySettings(
        tmp_path / "gateway", owner, namespaces=(cluster.namespace,), shards=cluster.configs
    )


def wait_until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(PATIENCE):
        if holds():
            return
        pause.wait(PAUSE_SECONDS)
    raise AssertionError("it did not come to that")


def shard_said(client: Listening, name: str) -> Any:
    [said] = [one for one in client.get("/gateway/status").json()["shards"] if one["shard"] == name]
    return said


def send(client: Listening, cluster: Cluster, text: str) -> None:
    where = {"namespace": cluster.namespace, "service": "x"}
    answer = client.post(
        "/api/v1/ingest", params=where, content=text.encode(), headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 200, answer.text


def wait_inserted(client: Listening) -> None:
    spool: Spool = client.app.state.gateway.spool
    for _ in range(PATIENCE):
        if not len(spool):
            return
        spool.wait_room(PAUSE_SECONDS)
    raise AssertionError(client.get("/gateway/status").json())


def lines(first: int, count: int) -> list[str]:
    return [f"line {number:03}" for number in range(first, first + count)]


def test_blocks_are_spread_over_the_shards_each_stored_once(
    settings: GatewaySettings, cluster: Cluster
) -> None:
    with Listening(create_app(settings)) as client:
        for line in lines(0, 20):
            send(client, cluster, line)
        wait_inserted(client)
        assert cluster.all() == lines(0, 20)
        assert all(len(cluster.stored(number)) >= 5 for number in (1, 2))
        metrics = client.get("/metrics").text
        assert 'neve_gateway_shard_up{shard="b"} 1.0' in metrics
        assert 'neve_gateway_shard_spool_blocks{shard="a"} 0.0' in metrics
        storage = client.get("/gateway/storage").json()
        mine = [one for one in storage["namespaces"] if one["namespace"] == cluster.namespace]
        assert sum(one["events"] for one in mine) == 20
        assert {one["shard"] for one in mine} == {"a", "b"}
        answer = client.post("/gateway/epochs/close", json={"namespace": cluster.namespace}).json()
        assert answer["closed"], answer
        assert shard_of(answer["shards"]["b"]["epoch"]) == 2
        epochs = cluster.hots[1].scalars(f"SELECT DISTINCT epoch AS e FROM neve_{cluster.namespace}.events")
        assert {shard_of(epoch) for epoch in epochs} == {2}


def test_a_killed_shard_keeps_its_blocks_and_the_others_go_on(
    settings: GatewaySettings, cluster: Cluster
) -> None:
    with Listening(create_app(settings)) as client:
        for line in lines(0, 20):
            send(client, cluster, line)
            if line == "line 010":
                cluster.kill()
        wait_until(lambda: not shard_said(client, "b")["alive"])
        for line in lines(20, 10):
            send(client, cluster, line)
        wait_until(lambda: set(lines(20, 10)) <= set(cluster.stored(1)))
        wait_until(lambda: shard_said(client, "a")["depth"] == 0)
        said = client.get("/gateway/status").json()
        assert said["inserting"]
        shown = {"url": "", "problems": [], "gateway": said, "storage": {"error": ""}, "notes": []}
        told = "\n".join(status.lines(shown))
        assert f"shard        b is away: {said['spool']['depth']} blocks" in told
        cluster.second.start()
        wait_inserted(client)
        assert cluster.all() == lines(0, 30)


def test_what_waits_for_a_shard_goes_to_it_after_a_restart_of_the_gateway(
    settings: GatewaySettings, cluster: Cluster
) -> None:
    with Listening(create_app(settings)) as client:
        client.app.state.gateway.inserters[2].stop()
        for line in lines(0, 4):
            send(client, cluster, line)
    cluster.kill()
    alone = GatewayState(replace(settings, shards=cluster.configs[:1]))
    with pytest.raises(ConfigError, match="cannot do without shard 2: .* blocks wait for it"):
        alone.start()
    alone._folder.close()
    with Listening(create_app(settings)) as client:
        send(client, cluster, "line 004")
        wait_until(lambda: "line 004" in cluster.stored(1))
        assert shard_said(client, "b")["depth"] >= 1
        cluster.second.start()
        wait_inserted(client)
    assert cluster.all() == lines(0, 5)


def test_a_spool_without_shards_is_the_first_ones(
    settings: GatewaySettings, cluster: Cluster, make_block: Callable[..., SealedBlock]
) -> None:
    block = make_block([{"message": "from before", "timestamp": 10**18}])
    header = replace(block.header, namespace=cluster.namespace)
    before = Spool(settings.data_dir / "spool")
    before.put([(1, header.block_id, pack(header, frames.split(block.frames)))])
    with Listening(create_app(settings)) as client:
        wait_inserted(client)
    assert cluster.stored(1) == ["from before"]
    assert cluster.stored(2) == []


def test_a_namespace_that_a_shard_missed_is_made_when_it_is_back(
    settings: GatewaySettings, cluster: Cluster
) -> None:
    name = f"{cluster.namespace}_more"
    cluster.kill()
    try:
        with Listening(create_app(settings)) as client:
            answer = client.post("/api/v1/ingest", params={"namespace": name}, content=b"{}")
            assert answer.status_code == 200, answer.text
            wait_inserted(client)
            cluster.second.start()
            wait_until(lambda: bool(shard_said(client, "b")["alive"]))
            assert name in cluster.hots[1].namespaces()
    finally:
        for hot in cluster.hots:
            hot.execute(f"DROP DATABASE IF EXISTS {namespace_database(name)}")
            hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": name})


def test_a_block_that_comes_again_after_the_ledgers_window_is_looked_for_on_all_shards(
    settings: GatewaySettings, cluster: Cluster, make_block: Callable[..., SealedBlock]
) -> None:
    block = make_block([{"message": "once", "timestamp": 10**18}])
    header = replace(block.header, namespace=cluster.namespace)
    data = pack(header, frames.split(block.frames))
    with Listening(create_app(settings)) as client:
        for _ in range(4):  # whichever shard is chosen
            assert client.post("/api/v1/blocks", content=data).status_code == 200
            wait_inserted(client)
            ledger = client.app.state.gateway.ledger
            ledger.prune(now=header.created_ns / 1e9 + 2 * WINDOW_SECONDS)
            assert header.block_id not in ledger
        assert client.get("/gateway/status").json()["counters"]["blocks_known_by_clickhouse"] == 3
    assert cluster.all() == ["once"]


def test_a_dead_letter_goes_back_to_its_shard(settings: GatewaySettings, cluster: Cluster) -> None:
    with Listening(create_app(settings)) as client:
        gateway: GatewayState = client.app.state.gateway
        for inserter in gateway.inserters.values():
            inserter.stop()
        for line in lines(0, 4):
            send(client, cluster, line)
        [entry, *_] = gateway.spool.pending(shard=2)
        gateway.committer.set_aside([gateway.spool.load(entry)[1].header])
        gateway.dead_letters.take(gateway.spool, entry, "refused for a test")
    with Listening(create_app(settings)) as client:
        wait_inserted(client)
        assert len(cluster.all()) == 3
        said = client.post("/gateway/deadletter/replay", json={"all": True, "seconds": 60}).json()
        assert [one["state"] for one in said["replayed"]] == ["stored"]
    assert cluster.all() == lines(0, 4)
    assert len(cluster.stored(2)) == 2


def test_an_inserter_is_evicted_from_every_shard(settings: GatewaySettings, cluster: Cluster) -> None:
    with Listening(create_app(settings)) as client:
        for line in lines(0, 4):
            send(client, cluster, line)
        wait_inserted(client)
        name = client.get("/gateway/status").json()["inserter"]
        answer = client.post("/gateway/evict", json={"inserter": name})
        assert answer.json()["error"]["code"] == "inserter_live"
        with pytest.raises(NeveError, match="cannot find inserter: nobody"):
            cluster.hots[0].registry.evict("nobody")
        cluster.kill()
        wait_until(lambda: not shard_said(client, "b")["alive"])
        answer = client.post("/gateway/evict", json={"inserter": name})
        assert "shard b is away" in answer.json()["error"]["message"]


def test_an_agent_that_inserts_itself_stamps_the_shards_own_numbers(
    settings: GatewaySettings, cluster: Cluster, tmp_path: Path
) -> None:
    second = cluster.hots[1]
    with Listening(create_app(settings)):
        wait_until(lambda: bool(second.epochs.last(cluster.namespace)[0]))
    name = f"{cluster.namespace}_more"
    log = tmp_path / "app.log"
    log.write_text("one line\n")
    to = cluster.configs[1].owner.url()
    try:
        Agent(AgentSettings((str(log),), to, tmp_path / "agent", namespace=name, once=True)).run()
        assert {shard_of(one) for one in second.scalars(f"SELECT epoch FROM neve_{name}.events")} == {2}
    finally:
        second.execute(f"DROP DATABASE IF EXISTS {namespace_database(name)}")
        second.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": name})
