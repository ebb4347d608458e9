"""Small facts about processes, ports and locks on Linux, for whoever starts a child server."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # of malloc.h
LOOPBACK = "127.0.0.1"


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it has ended.

    With its id it names a process for good, since ids are used again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def wait_end(pid: int, timeout: float) -> None:
    """Wait until a process, which may be nobody's child of ours, has ended, at most `timeout` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(timeout * 1000)
    finally:
        os.close(handle)


def end_orphan(pid: int, started: int, patience: float) -> None:
    """Make sure that a process whose parent was killed has ended: wait, then SIGTERM, then SIGKILL.

    `patience`: seconds for each of the three.
    """
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if pid == 0 or start_time(pid) != started:
            return
        if number is not None:
            os.kill(pid, number)
        wait_end(pid, patience)


def lock(path: Path) -> IO[str] | None:
    """Lock a file until the handle is closed or this process ends; None when another has it."""
    handle = open(path, "a")  # noqa: SIM115 - the caller holds it
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def give_memory_back() -> None:
    """Let glibc return what is freed instead of keeping it for each thread; call before threads start.

    Blocks come and go by the megabyte, in threads that take turns: arenas of their own hold some 60 MiB for nothing,
    and a threshold that adapts puts the next large one into the heap, where it stays. No cost was measurable.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # not every C library has it
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, 1 << 20)


def free_ports(wanted: Sequence[int]) -> list[int]:
    """A port of the loopback for each one wanted: that one when it is free (and not 0), else any."""
    with ExitStack() as stack:
        return [_probe(stack.enter_context(socket.socket()), port) for port in wanted]


def _probe(probe: socket.socket, wanted: int) -> int:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, wanted))
    except OSError:
        probe.bind((LOOPBACK, 0))
    return int(probe.getsockname()[1])
