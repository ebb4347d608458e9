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
            kept = wait_for_kept(server, shards)
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
            # What came before the backup becomes cold, or is deleted, after it.
            wait_for_empty_spool(server)
            to = ("--to", server.url)
            assert neve("age", "--now", "--grace", "0", "--namespace", "default", *to).returncode == 0
            gone = min(numbers(shards[1], 2, "kept"))
            words = ("delete", f'"event number {gone}"', "--namespace", "kept", "--yes")
            assert neve(*words, "--url", server.url).returncode == 0
            kill(shards[1])
            refused(neve("backup", str(part), "--url", server.url), "shard b is away, and what is hot there")
            assert not part.exists(), "nothing was begun"
            done = neve("backup", str(part), "--base", str(whole), "--without", "b", "--url", server.url)
            assert done.returncode == 0, done.stderr
            assert done.stdout.rstrip().endswith("without shard b")
            put_back_alone(neve, tmp_path, shards, whole)
            wait_for_all_shards(server)
            assert sorted(found_of(server, "kept", "service:kept")) == sorted(kept - {gone})
            assert sorted(found_of(server, "default", "service:load")) == list(range(load.acknowledged))
            assert neve("age", "--now", "--grace", "0", "--namespace", "kept", *to).returncode == 0
            assert sorted(found_of(server, "kept", "service:kept", ["cold"])) == sorted(kept - {gone})

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


def put_back_alone(neve: Run, folder: Path, shards: list[EmbeddedServer], backup: Path) -> None:
    """Shard b, which was lost, of a backup, while the rest of the cluster runs."""
    lost = shards[1]
    aside = EmbeddedServer(folder / "aside", lake=folder)
    aside.data_dir.mkdir()
    for password in lost.data_dir.glob("password*"):
        shutil.copy(password, aside.data_dir)
    shutil.copytree(lost.data_dir / "backups", aside.data_dir / "backups")
    with aside:
        config = folder / "aside.toml"
        text = (folder / "lake.toml").read_text()
        config.write_text(text.replace(lost.config.url(), aside.config.url()))
        words = ("restore", "backup", str(backup), "--config", str(config), "--shard")
        refused(neve(*words, "c"), "cluster.shards has no shard of this name; it has a, b")
        done = neve(*words, "b")
        assert done.returncode == 0, done.stderr
        assert "tables are back in clickhouse of shard b" in done.stdout
        assert "default: what has become cold since the backup is read there" in done.stdout
        refused(neve(*words, "b"), "this clickhouse has databases of neve")
    lost.stop()
    shutil.rmtree(lost.data_dir / "store")
    (aside.data_dir / "store").rename(lost.data_dir / "store")
    lost.start()


def wait_for_all_shards(server: Server) -> None:
    deadline = time.monotonic() + 240
    while not server.search("service:kept", namespace="kept")["stats"]["complete"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def found_of(server: Server, namespace: str, query: str, tiers: list[str] | None = None) -> list[int]:
    """The numbers of all events that a search finds."""
    answer = server.search(query, namespace=namespace, limit=10_000)
    assert answer["stats"]["complete"]
    assert tiers in (None, answer["stats"]["tiers"])
    return [int(one["message"].rpartition(" ")[2]) for one in answer["events"]]


def wait_for_kept(server: Server, shards: list[EmbeddedServer]) -> set[int]:
    """Send numbers to another namespace, until each shard has some; which those are."""
    deadline = time.monotonic() + 240
    sent = 0
    while not all(has_events(one, "kept") for one in shards):
        assert time.monotonic() < deadline
        params = {"service": "kept", "namespace": "kept"}
        server.client.post("/api/v1/ingest", params=params, content=batch(sent)).raise_for_status()
        sent += BATCH
        wait_for_empty_spool(server)
    return set(range(sent))


def wait_for_both(shards: list[EmbeddedServer]) -> None:
    """Until each shard has a part of the load."""
    deadline = time.monotonic() + 240
    while not all(map(has_events, shards)):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def has_events(shard: EmbeddedServer, namespace: str = "default") -> bool:
    parts = "SELECT 1 AS x FROM system.parts WHERE active AND database = {d:String} AND table = 'events'"
    with Hot(shard.config) as hot:
        return bool(hot.scalars(parts, {"d": f"neve_{namespace}"}))


def numbers(shard: EmbeddedServer, number: int, namespace: str) -> list[int]:
    """Of the events of a namespace that a shard has."""
    with Hot(shard.config, number=number) as hot:
        found = hot.scalars(f"SELECT message AS m FROM neve_{namespace}.events")
    return [int(one.rpartition(" ")[2]) for one in found]


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
