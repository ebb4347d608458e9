"""The embedded server: starts, stops, dies in every way, and keeps what it acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import errors, processes
from storage.embedded import EmbeddedServer, saved_config
from storage.embedded_files import sync_folders
from storage.hot import Hot
from storage.native.block import SealedBlock, seal

Encode = Callable[..., Any]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server of the test's own, started."""
    with EmbeddedServer(tmp_path / "clickhouse") as own:
        yield own


@pytest.fixture
def block(plain_columns: Encode) -> SealedBlock:
    events = [{"timestamp": row, "message": f"line {row}"} for row in range(5000)]
    data = seal(plain_columns(events), agent_id="a", sequence=1, namespace="main", rules_version=1)
    return SealedBlock.parse(data)


def kill(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(60) == -signal.SIGKILL
    assert not server.alive()


class Deadly(SealedBlock):
    """A block that kills the server when it is about to be sent."""

    server: EmbeddedServer

    def __getattribute__(self, name: str) -> Any:
        if name == "frames":
            kill(Deadly.server)
        return super().__getattribute__(name)


def test_stop_and_start_keep_data_and_ports(server: EmbeddedServer, block: SealedBlock) -> None:
    before = server.config
    with Hot(before) as hot:
        hot.create_namespace("main")
        hot.insert_blocks("main", [block], 1, "token")
    server.stop()
    assert not server.alive()
    after = server.start()
    assert after == before == saved_config(server.data_dir)
    with Hot(after) as hot:
        assert hot.namespaces() == ["main"]
        assert hot.rows_present("main", [block.header.block_id]) == {block.header.block_id: 5000}


def test_acknowledged_rows_survive_kill(server: EmbeddedServer, block: SealedBlock) -> None:
    with Hot(server.config) as hot:
        hot.create_namespace("main")
        hot.insert_blocks("main", [block], 1, "token")
        kill(server)
        with pytest.raises(errors.StorageUnavailable):
            hot.query("SELECT 1 AS x")
        server.start()
        assert hot.rows_present("main", [block.header.block_id]) == {block.header.block_id: 5000}
        assert hot.scalars("SELECT sum(count) AS n FROM neve_main.rollup") == [5000]


def test_kill_before_an_insert_sends_nothing(server: EmbeddedServer, block: SealedBlock) -> None:
    with Hot(server.config) as hot:
        hot.create_namespace("main")
        kill(server)
        for _ in range(2):  # over a connection from the pool, then over a new one
            with pytest.raises(errors.StorageUnavailable):
                hot.insert_blocks("main", [block], 1, "token")
        server.start()
        hot.insert_blocks("main", [block], 1, "token")
        assert hot.rows_present("main", [block.header.block_id]) == {block.header.block_id: 5000}


def test_kill_within_an_insert_leaves_it_unknown(server: EmbeddedServer, block: SealedBlock) -> None:
    Deadly.server = server
    deadly = Deadly(block.header, block.frames, block.decoded_bytes)
    with Hot(server.config) as hot:
        hot.create_namespace("main")
        with pytest.raises(errors.InsertUnknown):
            hot.insert_blocks("main", [block, deadly], 1, "token")
        server.start()
        assert hot.rows_present("main", [block.header.block_id]) == {block.header.block_id: 0}
        hot.insert_blocks("main", [block], 1, "another token")
        assert hot.rows_present("main", [block.header.block_id]) == {block.header.block_id: 5000}


def test_a_folder_is_for_one(server: EmbeddedServer) -> None:
    with pytest.raises(errors.ConfigError, match="in use"):
        EmbeddedServer(server.data_dir).start()
    assert server.alive()


def test_secrets_are_for_the_owner(server: EmbeddedServer) -> None:
    secret = server.config.password
    places = [
        server.data_dir,
        *(one for one in server.data_dir.iterdir() if one.name != "store"),
    ]  # where parts go
    paths = {Path(place) / name for one in places for place, _, names in os.walk(one) for name in names}
    holders = [path for path in paths if path.is_file() and secret in path.read_text("utf-8", "replace")]
    assert {path.name for path in holders} == {"password", "users.xml"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in holders)
    assert secret.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert secret.encode() not in Path(f"/proc/{server.pid}/environ").read_bytes()


def test_listens_on_the_loopback_only(server: EmbeddedServer) -> None:
    listening = [
        line.split()[1].split(":")[0]
        for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == server.config.port
    ]
    assert listening == ["0100007F"]


def test_start_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(parents=True)
    (tmp_path / "store" / "status").mkdir()  # where the engine wants to write a file
    with pytest.raises(errors.StorageUnavailable, match=r"cannot start clickhouse: .+; see "):
        EmbeddedServer(tmp_path).start()
    freed = processes.lock(tmp_path / "lock")
    assert freed is not None
    freed.close()


def test_no_server_ever_ran_there(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="cannot find a clickhouse server"):
        saved_config(tmp_path)


PARENT = """
import sys, threading
from pathlib import Path
from storage.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
if sys.argv[2] == "thread":
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
else:
    server.start()
assert server.wait(0.2) is None
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("started_in", ["main", "thread"])
def test_kill_of_the_parent_ends_the_server(tmp_path: Path, started_in: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), started_in],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    with EmbeddedServer(tmp_path) as server:  # at once, while the old one may still be dying
        assert processes.start_time(pid) is None
        assert server.pid != pid
        with Hot(server.config) as hot:
            hot.ping()


def test_orphan_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.embedded.ORPHAN_SECONDS", 3.0)
    old = EmbeddedServer(tmp_path)
    old.start()
    assert old.pid is not None
    assert old._lock is not None
    old._lock.close()  # as when the parent is gone and nothing has told the server
    with EmbeddedServer(tmp_path) as server:
        assert old.wait(60) == -signal.SIGTERM
        assert server.alive()
    old.stop()


def test_folders_of_tables_that_were_just_made_are_synced(server: EmbeddedServer) -> None:
    with Hot(server.config) as hot:
        hot.create_namespace("main")
        sql = "SELECT arrayJoin(data_paths) AS path FROM system.tables WHERE database = 'neve_main'"
        paths = hot.scalars(sql)
        synced = sync_folders(server.data_dir)
    store = server.data_dir / "store"
    assert len(paths) >= 5
    assert {store, store / "metadata", *map(Path, paths)} <= {*synced}


def test_what_is_acknowledged_is_synced_by_the_server(server: EmbeddedServer) -> None:
    with Hot(server.config) as hot:
        hot.create_namespace("main")
        assert hot.scalars("SELECT value FROM system.settings WHERE name = 'fsync_metadata'") == ["1"]
        where = "startsWith(database, 'neve') AND engine LIKE '%Tree'"
        made = hot.scalars(f"SELECT create_table_query AS q FROM system.tables WHERE {where}")
    assert len(made) >= 10
    for setting in (
        "fsync_after_insert = 1",
        "fsync_part_directory = 1",
        "min_rows_to_fsync_after_merge = 1",
    ):
        assert [one for one in made if setting not in one] == []
