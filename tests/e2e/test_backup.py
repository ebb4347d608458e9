"""`neve backup` and `neve restore backup`, as whoever runs a server uses them: under load, killed, and put back."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from bench.server import NEVE, Server
from neve_steps import patiently
from storage.hot import Hot
from storage.leases import held

Run = Callable[..., subprocess.CompletedProcess[str]]
NUMBERS = """
    SELECT toUInt64OrZero(extract(message, 'number ([0-9]+)$')) AS n FROM neve_default.events WHERE service = 'load'
"""


BATCH = 5


class Load:
    """Sends numbered lines, a few a request, as fast as they are acknowledged; `acknowledged` grows."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.acknowledged = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            while not self._stop.wait(0.2):
                first = self.acknowledged
                answer = client.post("/api/v1/ingest", params={"service": "load"}, content=batch(first))
                if answer.status_code == 200:
                    self.acknowledged += BATCH

    @contextmanager
    def running(self) -> Iterator["Load"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 240
        while self.acknowledged < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def batch(first: int) -> str:
    return "".join(f"event number {number}\n" for number in range(first, first + BATCH))


def counted(hot: Hot) -> Counter[int]:
    return Counter(row[0] for row in hot.query(NUMBERS).rows)


def test_backup_under_load_is_what_was_acknowledged(mortal: Server, neve: Run, tmp_path: Path) -> None:
    """The second stands on the first. It has all that was acknowledged when it began, and each once."""
    first, second = tmp_path / "first", tmp_path / "second"
    mortal.client.post("/api/v1/ingest", params={"service": "old"}, content=b"cold one\ncold two\n")
    mortal.wait_for("service:old", 2)
    assert neve("age", "--now", "--grace", "0", "--to", mortal.url).returncode == 0
    (mortal.folder / "data" / "patterns.toml").write_text("# pins\n")
    with Load(mortal).running() as load:
        load.wait_for(20)
        done = neve("backup", str(first), "--url", mortal.url)
        assert done.returncode == 0, done.stderr
        before = load.acknowledged
        done = neve("backup", str(second), "--base", str(first), "--url", mortal.url)
        assert done.returncode == 0, done.stderr
        assert "backup: done: backup " in done.stdout
        after = load.acknowledged
    assert "neve_backup_last_timestamp_seconds 1" in mortal.client.get("/metrics").text
    assert not any((second / "cold").rglob("*.parquet")), "the base has them"
    done = neve("backup", str(second), "--url", mortal.url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"cannot back up to {second}: it is not empty" in done.stderr

    restored = neve("restore", "backup", str(second), "--data", str(tmp_path / "data"))
    assert restored.returncode == 0, restored.stderr
    again = neve("restore", "backup", str(second), "--data", str(tmp_path / "data"))
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "it is not empty" in again.stderr
    with Server(tmp_path) as server:
        server.wait_for("service:old", 2)
        wait_for_empty_spool(server)
        found = counted(server.hot)
        assert set(found.values()) == {1}
        assert sorted(found) == list(range(len(found)))
        assert before <= len(found) <= after + BATCH
        assert server.search("cold service:old")["stats"]["tiers"] == ["hot", "cold"]
        assert (tmp_path / "data" / "patterns.toml").read_text() == "# pins\n"
        # Who sends again what was acknowledged is told so, and it is not stored twice.
        answer = server.client.post("/api/v1/ingest", params={"service": "load"}, content=batch(0))
        assert answer.json()["accepted"] == BATCH
        server.client.post("/api/v1/ingest", params={"service": "new"}, content=b"after the restore\n")
        server.wait_for("service:new", 1)
        assert counted(server.hot) == found
        # Epochs go on: what came back ages.
        assert neve("age", "--now", "--grace", "0", "--to", server.url).returncode == 0
        server.wait_for("service:load", len(found))
    damage(second / "hot" / ".backup")
    damaged = neve("backup", "verify", str(second))
    assert (damaged.returncode, damaged.stderr.count("\n")) == (1, 1)
    assert f"cannot trust {second / 'hot' / '.backup'}" in damaged.stderr


def test_killed_backup_is_refused_by_name_and_nothing_waits_for_it(
    mortal: Server, neve: Run, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    with ExitStack() as stack:
        # What it waits for behind its beginning, so that it is surely killed in between.
        patiently(lambda: stack.enter_context(held(mortal.hot, "ager of default")), 240)
        asking = subprocess.Popen(
            [*NEVE, "backup", str(half), "--url", mortal.url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (half / "backup.partial").exists():
            assert asking.poll() is None
            time.sleep(0.02)
        os.kill(mortal.pids()["ager"], signal.SIGKILL)
        assert asking.wait() == 1
    for done in (
        neve("backup", "verify", str(half)),
        neve("restore", "backup", str(half), "--data", str(tmp_path / "d")),
    ):
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"cannot use backup {half}: it did not finish; make another" in done.stderr
    assert not (tmp_path / "d").exists()
    mortal.client.post("/api/v1/ingest", params={"service": "later"}, content=b"goes on\n").raise_for_status()
    mortal.wait_for("service:later", 1)


def test_folder_of_a_half_restore_is_refused(neve: Run, tmp_path: Path) -> None:
    (tmp_path / "restoring").write_text("0123456789abcdef")
    done = neve("serve", "--data", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a restore into it did not finish; delete it, and restore again" in done.stderr


def wait_for_empty_spool(server: Server) -> None:
    deadline = time.monotonic() + 240
    while server.client.get("/gateway/status").json()["spool"]["depth"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
