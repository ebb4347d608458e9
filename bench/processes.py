"""What processes cost, from /proc: CPU seconds and peak memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
SCHEDULED = 2  # Linux: the clock of a process by its number, as clock_getcpuclockid(3) makes it


@dataclass(frozen=True)
class Cost:
    """`cpu`: seconds, user and system, of a process and of the children that it waited for; `peak`: MiB resident."""

    cpu: float
    peak: float


def cost(pid: int) -> Cost:
    """What a running process has cost so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return Cost(ticks / TICK, peak / 1024)


def cpu_seconds(pid: int) -> float:
    """Seconds that a running process has taken so far, user and system, of all its threads: to the nanosecond."""
    return time.clock_gettime((~pid << 3) | SCHEDULED)


def cpu_seconds_of_threads(pid: int, name: str) -> float:
    """The same of those of its threads whose names begin so and that run still, to the tick."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            if (task / "comm").read_text().startswith(name):
                ticks += sum(map(int, (task / "stat").read_text().rpartition(")")[2].split()[11:13]))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return ticks / TICK


def forget_peak(pid: int) -> None:
    """Let the peak of a process of ours start anew, from what it has resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def children(pid: int) -> list[int]:
    """Processes that a process started and that still run."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> list[str]:
    """A process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
