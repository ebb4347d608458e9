"""A cluster of two real shards, and a namespace that is spread over them."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from query.limits import Limits
from query.running import Running
from query.serving import Gate
from storage import shards as shards_module
from storage.ageing import Ager, Step, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.config import ShardConfig
from storage.embedded import EmbeddedServer, saved_config
from storage.embedded_files import SEARCHER
from storage.hot import Hot
from storage.native.block import SealedBlock
from storage.schema import namespace_database
from storage.shards import Shard, Shards
from storage.spreading import Spread, open_shards

_names = itertools.count(1)


class Cluster:
    """Two shards with one namespace."""

    def __init__(
        self, shards: Shards, reading: Shards, servers: list[EmbeddedServer], namespace: str
    ) -> None:
        self.shards, self.reading, self.servers, self.namespace = shards, reading, servers, namespace
        self.spread = Spread(shards)
        self.cold = ColdConfig(servers[0].lake / namespace, default=Policy(grace_seconds=0), namespaces={})
        self.gate = Gate(Spread(reading), Limits(), self.cold)
        self.steps: list[Step] = []

    def running(self) -> Running:
        return Running(self.gate.hot, self.gate.limits, self.gate.states)

    def insert(self, number: int, block: SealedBlock) -> SealedBlock:
        """Store a block on one shard."""
        hot = self.shards.all[number - 1].hot
        hot.insert_blocks(
            self.namespace, [block], hot.current_epoch(self.namespace), block.header.block_id.hex()
        )
        return block

    def ager(self, number: int) -> Ager:
        shard = self.shards.all[number - 1]
        return Ager(shard.hot, shard.config, ColdTier(self.cold), self.steps.append, shards=self.shards)

    def age(self, *numbers: int, **wish: Any) -> int:
        """Let shards age, one after the other; how many events became cold."""
        asked = Wish(now=True, grace=0, **wish)
        return sum(self.ager(number).age(self.namespace, asked) for number in numbers or (1, 2))

    def kill(self, number: int) -> None:
        server = self.servers[number - 1]
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait(60) is not None

    def start(self, number: int) -> None:
        """Start a shard that was killed, and wait until it counts as there."""
        self.servers[number - 1].start()
        self.wait_alive(number)

    def wait_alive(self, number: int) -> None:
        wait_alive(self.shards.all[number - 1])


def wait_alive(shard: Shard) -> None:
    """Until it counts as there, which a busy machine may put off."""
    for _ in range(100):
        if shard.alive:
            return
        shard.state.asked.clear()
        assert shard.state.asked.wait(120)
    raise AssertionError(shard.reason)


@pytest.fixture
def shards(
    monkeypatch: pytest.MonkeyPatch, clickhouse: EmbeddedServer, second_clickhouse: EmbeddedServer
) -> Iterator[Shards]:
    monkeypatch.setattr(shards_module, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(shards_module, "SILENCE_SECONDS", 30.0)  # one that is busy is not away
    servers = [clickhouse, second_clickhouse]
    configs = [
        ShardConfig(name, number, server.config, saved_config(server.data_dir, SEARCHER))
        for name, number, server in zip("ab", (1, 2), servers, strict=True)
    ]
    with open_shards(configs) as shards:
        for one in shards:
            wait_alive(one)
        yield shards


@pytest.fixture
def cluster(
    shards: Shards, clickhouse: EmbeddedServer, second_clickhouse: EmbeddedServer, namespace: str
) -> Iterator[Cluster]:
    """The namespace of a test on both shards."""
    shards.create_namespace(namespace)
    reading = shards.beside(reading=True)
    yield Cluster(shards, reading, [clickhouse, second_clickhouse], namespace)
    reading.close()
    if not second_clickhouse.alive():
        second_clickhouse.start()
    with Hot(second_clickhouse.config, number=2) as second:
        second.execute(f"DROP DATABASE IF EXISTS {namespace_database(namespace)}")
        second.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": namespace})


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard reads a part of the cold tier, however few events it has."""
    monkeypatch.setattr("query.sources.APART_EVENTS", 1)


@pytest.fixture
def spread_store(
    cluster: Cluster, make_block: Callable[..., SealedBlock]
) -> Callable[[Sequence[Any]], SealedBlock]:
    """Store events as one block, on the shards in turn."""
    turns = itertools.cycle((1, 2))
    return lambda events: cluster.insert(next(turns), make_block(events))
