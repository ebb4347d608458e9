"""A real ClickHouse server as a child process, on the engine in the chdb wheel.

The wheel's entry point is private to chdb, so its version is pinned, and everything that knows of it is in
`embedded_child.py`. In the folder of a server:

    store/        ClickHouse's own data
    backups/      links to the folders that backups go to and come from
    home/         a private HOME with the configuration, written anew at each start
    logs/         clickhouse.log, and console.log for what the child printed
    password      of the user `neve`, random, readable by the owner only
    server.json   the ports, kept over restarts, and the process that runs
    lock          held by the parent, so that no two parents run the same data

Acknowledged rows are synced, so the server needs no ceremony to stop: it may be killed at any moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO
from urllib.request import ProxyHandler, build_opener

from storage import embedded_files as files
from storage import processes
from storage.config import ClickHouseConfig
from storage.errors import ConfigError, StorageUnavailable
from storage.native.connection import NativeConnection

CHILD = Path(__file__).with_name("embedded_child.py")
POLL_SECONDS = 0.02
START_SECONDS = 60.0
STOP_SECONDS = 10.0
ORPHAN_SECONDS = 5.0  # for a server whose parent was killed to follow it
ENVIRONMENT = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")  # what the child gets of ours
GIB = 1 << 30


class EmbeddedServer:
    """One server on one data folder. Not thread-safe; the parent's end is the server's end."""

    def __init__(self, data_dir: Path, memory_bytes: int | None = None, lake: Path | None = None) -> None:
        """`memory_bytes`: what the server may use at most; by default half of the machine's, 1 to 16 GiB.

        `lake`: the folder whose Iceberg tables it may read; by default one within `data_dir`.
        """
        self.data_dir = Path(data_dir).absolute()
        self.lake = Path(lake).absolute() if lake is not None else self.data_dir / "lake"
        self.log_file = self.data_dir / "logs" / "clickhouse.log"
        self._console = self.data_dir / "logs" / "console.log"
        self._memory_bytes = memory_bytes or _default_memory()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, while there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def config(self) -> ClickHouseConfig:
        """How to reach the server, as `start` returned it."""
        return saved_config(self.data_dir)

    def start(self) -> ClickHouseConfig:
        """Start the server and wait until it answers; how to reach it. Again after it died or was stopped.

        ConfigError when another process runs on this folder; StorageUnavailable when it does not come up.
        """
        self.stop()
        try:
            self._take_folder()
            record = files.read_record(self.data_dir)
            processes.end_orphan(record.pid, record.started, ORPHAN_SECONDS)
            self._launch(record)
            return self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until the server ends; its exit code, or None when the timeout (seconds) came first."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End the server, by force when it does not end on SIGTERM, and free the folder."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # --- start -------------------------------------------------------------------------------------------

    def _take_folder(self) -> None:
        for name in ("", "store", "logs", "backups", "home/.clickhouse-local"):
            (self.data_dir / name).mkdir(parents=True, exist_ok=True)
        self.lake.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        self._lock = processes.lock(self.data_dir / "lock")
        if self._lock is None:
            raise ConfigError(f"cannot use data folder: {self.data_dir} is in use", "stop the other server")

    def _launch(self, last: files.Record) -> None:
        tcp_port, http_port = processes.free_ports((last.tcp_port, last.http_port))
        files.write_config(self.data_dir, tcp_port, http_port, self._memory_bytes)
        self._process = self._spawn()
        started = processes.start_time(self._process.pid) or 0
        files.write_record(self.data_dir, files.Record(tcp_port, http_port, self._process.pid, started))

    def _spawn(self) -> subprocess.Popen[bytes]:
        # The kernel's signal at the parent's death comes when the *thread* that started the child ends, so it
        # is for the main thread only; otherwise the end of the stdin pipe has to do.
        by_signal = threading.current_thread() is threading.main_thread()
        arguments = [str(self.data_dir / "store"), str(os.getpid()), str(int(by_signal))]
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with open(self._console, "wb") as console:
            return subprocess.Popen(
                [sys.executable, "-P", str(CHILD), *arguments],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                cwd=self.lake,  # the engine's `icebergLocal` reads below its working folder and nowhere else
                env={**environment, "HOME": str(self.data_dir / "home")},
                start_new_session=True,  # an interrupt at the terminal is for the parent to handle
            )

    def _wait_ready(self) -> ClickHouseConfig:
        config = self.config
        ping = f"http://{config.host}:{files.read_record(self.data_dir).http_port}/ping"
        deadline = time.monotonic() + START_SECONDS
        while self.wait(POLL_SECONDS) is None:
            if _answers(ping) and _logs_in(config):
                return config
            if time.monotonic() > deadline:
                raise self._failed(f"no answer in {START_SECONDS:.0f} s")
        raise self._failed(self._last_words())

    def _failed(self, why: str) -> StorageUnavailable:
        return StorageUnavailable(f"cannot start clickhouse: {why}", f"see {self.log_file}")

    def _last_words(self) -> str:
        """What the child printed last that looks like a reason."""
        lines = self._console.read_text("utf-8", "replace").splitlines()
        reasons = [line.strip() for line in lines if "Exception" in line or line.startswith("cannot ")]
        return reasons[-1] if reasons else "it ended at once"


def saved_config(data_dir: Path, user: str = files.USER) -> ClickHouseConfig:
    """How to reach the server of a data folder, which any process may run; ConfigError when none ever ran."""
    record = files.read_record(data_dir)
    if not record.tcp_port:
        raise ConfigError(f"cannot find a clickhouse server: {data_dir}", "start one with neve serve")
    password = files.read_password(data_dir, user)
    return ClickHouseConfig(processes.LOOPBACK, record.tcp_port, user, password, http_port=record.http_port)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _answers(url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=1) as answer:
            return bool(answer.read() == b"Ok.\n")
    except OSError:
        return False


def _logs_in(config: ClickHouseConfig) -> bool:
    try:
        NativeConnection(config).close()
    except StorageUnavailable:
        return False
    return True


def _default_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(GIB, min(total // 2, 16 * GIB))
