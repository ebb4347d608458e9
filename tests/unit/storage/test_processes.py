from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from storage import processes


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_start_time_tells_a_live_process() -> None:
    assert processes.start_time(os.getpid()) == processes.start_time(os.getpid()) is not None


def test_ended_process_has_no_start_time() -> None:
    with sleeper() as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert processes.start_time(process.pid) is None


def test_orphan_is_ended() -> None:
    with sleeper() as process:
        started = processes.start_time(process.pid)
        assert started is not None
        processes.end_orphan(process.pid, started, patience=2.0)
        assert process.wait(60) == -15


def test_other_process_with_the_same_id_is_left_alone() -> None:
    with sleeper() as process:
        started = processes.start_time(process.pid)
        assert started is not None
        processes.end_orphan(process.pid, started + 1, patience=0.2)
        assert process.poll() is None
        process.kill()


def test_lock_is_for_one(tmp_path: Path) -> None:
    first = processes.lock(tmp_path / "lock")
    assert first is not None
    assert processes.lock(tmp_path / "lock") is None
    first.close()
    second = processes.lock(tmp_path / "lock")
    assert second is not None
    second.close()


def test_ports_are_those_wanted_while_free() -> None:
    one, two = processes.free_ports((0, 0))
    assert one != two
    assert processes.free_ports((one, two)) == [one, two]
    with socket.socket() as holder:
        holder.bind((processes.LOOPBACK, one))
        holder.listen()
        other, same = processes.free_ports((one, two))
    assert other != one
    assert same == two
