"""`neve backup` of a cluster of two shards, under load, and back to two servers that are empty."""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.server import Server, free_port
from ingest.app import GatewaySettings, create_app
from neve_serve import read_config
from storage.config import ClickHouseConfig
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.inserters import Holding, Who
from tests.e2e.test_backup import BATCH, NUMBERS, Load, batch, wait_for_empty_spool
from tests.listening import Listening

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def two_shards(folder: Path) -> Iterator[list[EmbeddedServer]]:
    """Two servers with the same users that may read the same folder."""
    (folder / "b").mkdir(parents=True)
    with EmbeddedServer(folder / "a", lake=folder) as first:
        for password in (folder / "a").glob("password*"):
            shutil.copy(password, folder / "b")
        with EmbeddedServer(folder / "b", lake=folder) as second:
            yield [first, second]


def configured(folder: Path, shards: list[EmbeddedServer], lake: str, gateways: Sequence[str] = ()) -> Path:
    """A configuration of these shards, with a cold tier of its own."""
    named = "".join(f'{name} = "{one.config.url()}"\n' for name, one in zip("ab", shards, strict=False))
    (folder / lake).mkdir()
    file = folder / f"{lake}.toml"
    file.write_text(
        f'[cluster]\nbackup_disk = "backups"\ngateways = {list(gateways)}\n[cluster.shards]\n{named}'
        f'[cold]\nwarehouse = "{folder}/{lake}"\n'
        f'[cold.catalog]\ntype = "sql"\nuri = "sqlite:///{folder}/{lake}/catalog.db"\n'
    )
    return file


def stored(shards: list[EmbeddedServer]) -> list[Counter[int]]:
    """The numbers of the load that each shard has, as often as it has them."""
    found = []
    for number, one in enumerate(shards, 1):
        with Hot(one.config, number=number) as hot:
            found.append(Counter(row[0] for row in hot.query(NUMBERS).rows))
    return found


def empty(one: EmbeddedServer) -> None:
    """As if the server had been lost, and another stood there."""
    with Hot(one.config) as hot:
        for database in hot.scalars("SELECT name FROM system.databases WHERE startsWith(name, 'neve')"):
            hot.execute(f"DROP DATABASE {database} SYNC")


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert words in done.stderr


def test_every_shard_comes_back_to_its_place(neve: Run, tmp_path: Path) -> None:
    """What was acknowledged when it began is in it, each once; a part of it is never called a backup."""
    early, whole, part = tmp_path / "early", tmp_path / "whole", tmp_path / "part"
    with two_shards(tmp_path) as shards:
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        config = configured(tmp_path, shards, "lake", [f"http://{one}" for one in addresses])
        with (
            Server(
                tmp_path / "one",
                addresses[0],
                options=["--config", str(config)],
                clickhouse=shards[0].config,
            ) as server,
            second_gateway(tmp_path / "gateway", config, addresses[1]) as second,
        ):
            server.client.post("/api/v1/ingest", params={"service": "old"}, content=b"cold one\ncold two\n")
            server.wait_for("service:old", 2)
            assert neve("age", "--now", "--grace", "0", "--to", server.url).returncode == 0
            with another_gateway(shards[1]):
                done = neve("backup", str(whole), "--url", server.url)
                refused(done, "gateway other on two.example inserts too, and what waits in its spool")
            assert neve("backup", str(early), "--with-cold", "--url", server.url).returncode == 0
            with Load(server).running() as load:
                wait_for_both(shards)
                before = load.acknowledged
                second.post(
                    "/api/v1/ingest", params={"service": "second"}, content=b"just now\n"
                ).raise_for_status()
                done = neve("backup", str(whole), "--with-cold", "--base", str(early), "--url", server.url)
                assert done.returncode == 0, done.stderr
                after = load.acknowledged
            assert all(f"tables of shard {name}" in done.stdout for name in "ab")
            kill(shards[1])
            refused(neve("backup", str(part), "--url", server.url), "shard b is away, and what is hot there")
            assert not part.exists(), "nothing was begun"
            done = neve("backup", str(part), "--base", str(whole), "--without", "b", "--url", server.url)
            assert done.returncode == 0, done.stderr
            assert done.stdout.rstrip().endswith("without shard b")
        shards[1].start()

        def restore(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
            return neve(
                "restore",
                "backup",
                str(folder),
                "--data",
                str(tmp_path / "two/data"),
                "--config",
                str(config),
            )

        empty(shards[0])
        refused(restore(whole, config), "this clickhouse has databases of neve")
        assert not (tmp_path / "two").exists()
        empty(shards[1])
        fresh = configured(tmp_path, shards, "fresh")
        done = restore(whole, fresh)
        assert done.returncode == 0, done.stderr
        with Server(
            tmp_path / "two", options=["--config", str(fresh)], clickhouse=shards[0].config
        ) as server:
            server.wait_for("service:old", 2)
            wait_for_empty_spool(server)
            first, second = stored(shards)
            found = first + second
            assert first
            assert second
            assert set(found.values()) == {1}
            assert sorted(found) == list(range(len(found)))
            server.wait_for("service:second", 1)
            assert before <= len(found) <= after + BATCH
            assert server.search("cold service:old")["stats"]["complete"] is True
            # Who sends again what was acknowledged is told so, and it is not stored twice.
            server.client.post(
                "/api/v1/ingest", params={"service": "load"}, content=batch(0)
            ).raise_for_status()
            wait_for_empty_spool(server)
            # Each shard's epochs go on: what came back ages.
            assert neve("age", "--now", "--grace", "0", "--to", server.url).returncode == 0
            server.wait_for("service:load", len(found))
            assert server.search("service:load", limit=1)["stats"]["tiers"] == ["cold"]


def wait_for_both(shards: list[EmbeddedServer]) -> None:
    """Until each shard has a part of the load."""
    deadline = time.monotonic() + 240
    while not all(map(has_events, shards)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def has_events(shard: EmbeddedServer) -> bool:
    parts = "SELECT 1 AS x FROM system.parts WHERE active AND database = 'neve_default' AND table = 'events'"
    with Hot(shard.config) as hot:
        return bool(hot.scalars(parts))


@contextmanager
def second_gateway(folder: Path, config: Path, address: str) -> Iterator[Listening]:
    """Another gateway of the cluster."""
    said = read_config(config)
    settings = GatewaySettings(
        folder, ClickHouseConfig(), shards=said.shards(), gateways=said.cluster.gateways
    )
    with Listening(create_app(settings), int(address.rpartition(":")[2])) as listening:
        yield listening


@contextmanager
def another_gateway(shard: EmbeddedServer) -> Iterator[None]:
    """One that inserts there too, as the registry has it."""
    with Hot(shard.config, number=2) as hot:
        epoch = hot.current_epoch("default")
        who, holding = Who("other", "once", "gateway", "two.example"), Holding("default", epoch, epoch)
        hot.registry.say(who, 1, [holding])
        try:
            yield
        finally:
            hot.registry.say(who, 2, [holding], released=True)


def kill(shard: EmbeddedServer) -> None:
    assert shard.pid is not None
    os.kill(shard.pid, signal.SIGKILL)
    assert shard.wait(60) is not None
