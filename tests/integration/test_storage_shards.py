"""Which shards of a cluster answer, against two real servers of which one is killed."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from storage import shards as module
from storage.config import ShardConfig
from storage.embedded import EmbeddedServer
from storage.errors import ConfigError, StorageUnavailable
from storage.hot import Hot
from storage.native.connection import NativeConnection
from storage.schema import namespace_database
from storage.shards import Shards, bring_up, check_number

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 30.0)  # one that is busy is not away


@pytest.fixture
def configs(hot: Hot, clickhouse: EmbeddedServer, second_clickhouse: EmbeddedServer) -> list[ShardConfig]:
    hot.migrate()
    with Hot(second_clickhouse.config, number=2) as second:
        second.migrate()
    return [ShardConfig("a", 1, clickhouse.config), ShardConfig("b", 2, second_clickhouse.config)]


@pytest.fixture
def shards(configs: list[ShardConfig]) -> Iterator[Shards]:
    with Shards(configs) as cluster:
        yield cluster


@pytest.fixture
def name(shards: Shards) -> Iterator[str]:
    """A name for a namespace that goes with the test."""
    name = f"spread_{next(_numbers)}"
    yield name
    for one in shards:
        one.hot.execute(f"DROP DATABASE IF EXISTS {namespace_database(name)}")
        one.hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": name})


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(60) is not None


def wait_for(shards: Shards, there: list[str]) -> None:
    pause = threading.Event()
    for _ in range(2400):
        if [one.name for one in shards.alive()] == there:
            return
        pause.wait(0.05)
    raise AssertionError([(one.name, one.reason) for one in shards])


def test_a_shard_that_is_killed_is_away_until_it_answers(
    shards: Shards, second_clickhouse: EmbeddedServer
) -> None:
    wait_for(shards, ["a", "b"])
    kill(second_clickhouse)
    wait_for(shards, ["a"])
    [away] = shards.away()
    assert away.name == "b"
    assert "cannot reach clickhouse" in away.reason
    second_clickhouse.start()
    wait_for(shards, ["a", "b"])


def test_who_has_failed_somebody_is_away_at_once(shards: Shards) -> None:
    wait_for(shards, ["a", "b"])
    back = threading.Event()
    held = threading.Event()
    shards.on_return.append(lambda _shard: (back.wait(60), held.set())[0])
    shards.lost(shards.all[1], StorageUnavailable("it broke"))
    assert [one.name for one in shards.alive()] == ["a"]
    back.set()
    wait_for(shards, ["a", "b"])
    assert held.is_set()  # who returns is brought up to date first


def test_who_was_away_gets_what_the_others_got(
    shards: Shards, second_clickhouse: EmbeddedServer, name: str
) -> None:
    wait_for(shards, ["a", "b"])
    shards.on_return.append(lambda one: bring_up(shards, one))
    kill(second_clickhouse)
    wait_for(shards, ["a"])
    shards.create_namespace(name)
    second_clickhouse.start()
    wait_for(shards, ["a", "b"])
    assert name in shards.all[1].hot.namespaces()


def test_a_hook_that_fails_keeps_a_shard_away(shards: Shards) -> None:
    wait_for(shards, ["a", "b"])

    def refuse(_shard: object) -> None:
        raise StorageUnavailable("not yet")

    shards.on_return.append(refuse)
    shards.lost(shards.all[1], StorageUnavailable("it broke"))
    pause = threading.Event()
    while shards.all[1].reason != "not yet":
        pause.wait(0.01)
    shards.on_return.remove(refuse)
    wait_for(shards, ["a", "b"])


def test_what_is_asked_of_each_goes_on_without_one_that_fails(
    shards: Shards, second_clickhouse: EmbeddedServer
) -> None:
    wait_for(shards, ["a", "b"])
    kill(second_clickhouse)
    assert shards.each(lambda one: one.hot.scalars("SELECT 1 AS x")) == {1: [1]}
    assert not shards.all[1].alive


def test_a_server_with_the_epochs_of_another_shard_is_refused(
    configs: list[ShardConfig], name: str, shards: Shards
) -> None:
    second = shards.all[1].hot
    second.create_namespace(name)
    second.execute(
        "INSERT INTO neve.epochs (namespace, epoch, opened_at, opener) "
        "SELECT {n:String}, 16777217, now64(3), 'x'",
        {"n": name},
    )
    check_number(second, configs[1])
    with pytest.raises(ConfigError, match="it has the events of shard 2; keep the order"):
        check_number(second, ShardConfig("b", 1, configs[1].owner))
    second.execute("DELETE FROM neve.epochs WHERE namespace = {n:String}", {"n": name})


def test_a_server_alone_is_asked_by_nobody(clickhouse: EmbeddedServer) -> None:
    before = threading.active_count()
    with Shards([ShardConfig("", 1, clickhouse.config)]) as alone:
        assert threading.active_count() == before
        alone.lost(alone.home, StorageUnavailable("it broke"))
        assert alone.alive() == [alone.home]


def test_a_shard_whose_connection_breaks_is_still_there(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for(shards, ["a", "b"])
    broken, away, ping = threading.Semaphore(0), [], NativeConnection.ping

    def cut(connection: NativeConnection) -> None:
        connection._driver.socket.shutdown(socket.SHUT_RDWR)
        broken.release()
        ping(connection)

    monkeypatch.setattr(NativeConnection, "ping", cut)
    monkeypatch.setattr(Shards, "_away", lambda _self, shard, reason: away.append((shard.name, reason)))
    for _ in range(4):
        assert broken.acquire(timeout=60)
    assert not away
