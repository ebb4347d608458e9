"""All tests, in groups of which some run side by side: tests of whole processes wait much of their time.

    python -m tests.run [arguments of pytest]

Two for each core at once. With more, tests that wait for something that works take more of the CPU to wait.

What a group said comes in one piece when it ends, with its wall time and its CPU seconds, which tell where the time of
a run goes. Exit code 0 where every group passed that had tests to run, and some did.

A test that failed among thousands on a machine full of processes is run once more by itself: what fails again is
broken, and so is a run in which more than FEW failed. One that passes is shaky: it is named at the end, and is a fault
of its own, of Neve or of the test, to be found before anything is built upon it.

A run ends: a group that is not through after DEADLINE_SECONDS says where it stands and is killed, and so are processes
that tests left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

import pytest

TESTS = Path(__file__).parent
SOAK = "tests/faults/test_soak.py"  # takes its two minutes whatever the others do
QUERY = "tests/integration/query"
COLD = "tests/integration/cold"
# What takes longest of the tests of whole servers, half of it, so that neither half is what the others wait for.
NAMES = "access backup_cluster clickhouse_lost otlp tail_cluster tiers"  # with servers of their own
LONG = ["tests/e2e/page", *(f"tests/e2e/test_{name}.py" for name in NAMES.split()), "tests/e2e/wire"]
FOLDERS = {"e2e", "faults"}  # that are in groups of their own
AT_ONCE = 2 * (os.cpu_count() or 1)
PASSED, FAILED, NOTHING_CHOSEN = 0, 1, 5
FEW = 3
TOLD = "TESTS_THAT_FAILED"  # the file that takes the names of tests that failed, a line each
DEADLINE_SECONDS = 60 * 60.0  # three times what a group takes
LAST_WORDS_SECONDS = 20.0
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>: orphans of our children become ours


def groups() -> dict[str, list[str]]:
    """What pytest is told, by group; what takes longest comes first. A new folder of tests joins the `parts`."""
    folders = sorted(path.name for path in TESTS.iterdir() if any(path.rglob("test_*.py")))
    rest = [f"tests/{name}" for name in folders if name not in FOLDERS]
    return {
        "e2e": ["tests/e2e", *(f"--ignore={path}" for path in LONG)],
        "long": LONG,
        "query": [QUERY],
        "faults": ["tests/faults", f"--ignore={SOAK}"],
        "parts": [*rest, f"--ignore={QUERY}", f"--ignore={COLD}"],
        "cold": [COLD],
        "soak": [SOAK],
    }


@dataclass
class Group:
    """One run of pytest."""

    name: str
    said: IO[bytes]
    begun: float
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, arguments: list[str]) -> Group:
        said = TemporaryFile()  # noqa: SIM115 - closed with the group
        command = [sys.executable, "-m", "pytest", "-p", "tests.run", *arguments, *sys.argv[1:]]
        return cls(name, said, time.monotonic(), subprocess.Popen(command, stdout=said, stderr=said))

    def end(self) -> None:
        """Let it say where every thread of it stands, then kill it."""
        self.process.send_signal(signal.SIGABRT)
        time.sleep(LAST_WORDS_SECONDS)
        self.process.kill()

    def tell(self, code: int, cpu: float) -> None:
        """Print what it said; `cpu` is seconds."""
        took = time.monotonic() - self.begun
        print(f"\n===== {self.name}: exit code {code}, {took:.0f} s, {cpu:.0f} s of CPU", flush=True)
        with self.said:
            self.said.seek(0)
            sys.stdout.buffer.write(self.said.read())
        sys.stdout.flush()


def run() -> set[int]:
    """Run every group and tell of each as it ends, also after Ctrl-C, which the terminal sends to all of them."""
    running: dict[int, Group] = {}
    waiting = list(groups().items())

    def start() -> None:
        while waiting and len(running) < AT_ONCE:
            group = Group.start(*waiting.pop(0))
            running[group.process.pid] = group

    def pass_on(*_: object) -> None:
        waiting.clear()
        for group in running.values():
            group.process.send_signal(signal.SIGINT)

    def end() -> None:
        print(
            f"\nnot through after {DEADLINE_SECONDS:.0f} s: {', '.join(one.name for one in running.values())}"
        )
        waiting.clear()
        for group in list(running.values()):
            group.end()

    signal.signal(signal.SIGINT, lambda *_: waiting.clear())  # a handler, which a child does not inherit
    signal.signal(signal.SIGTERM, pass_on)
    print(f"{AT_ONCE} at once: {', '.join(groups())}; what each says comes when it ends", flush=True)
    start()
    deadline = threading.Timer(DEADLINE_SECONDS, end)
    deadline.daemon = True
    deadline.start()
    codes = set()
    while running:
        pid, status, usage = os.wait4(-1, 0)
        if pid not in running:
            continue  # an orphan that ended by itself
        group, code = running.pop(pid), os.waitstatus_to_exitcode(status)
        group.process.returncode = code
        group.tell(code, usage.ru_utime + usage.ru_stime)
        codes.add(code)
        start()
    deadline.cancel()
    return codes


def kill_orphans() -> None:
    """Kill what tests left behind, and say what it was: whoever waits for our output waits for all that hold it."""
    while orphans := [
        int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ]:
        for pid in orphans:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words:  # else it has ended
                print(f"left behind and killed: {pid} {words[:200]}", flush=True)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Within a group: name a test that failed."""
    if report.failed:
        with open(os.environ[TOLD], "a") as told:
            told.write(f"{report.nodeid}\n")


def again(failed: list[str]) -> bool:
    """Whether tests that failed beside the others pass by themselves; says which they are."""
    print(f"\n===== by itself, what failed beside the others: {', '.join(failed)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", *failed, *sys.argv[1:]], check=False).returncode
    kill_orphans()
    if code == PASSED:
        print("\nSHAKY: these failed beside the others and passed alone. Find out why.", *failed, sep="\n  ")
    return code == PASSED


def main() -> int:
    """See above."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with NamedTemporaryFile() as told:
        os.environ[TOLD] = told.name
        codes = run()
        failed = list(dict.fromkeys(told.read().decode().splitlines()))
    kill_orphans()
    if FAILED in codes and codes <= {PASSED, FAILED, NOTHING_CHOSEN} and 0 < len(failed) <= FEW:
        codes = codes - {FAILED} | {PASSED} if again(failed) else codes
    return int(PASSED not in codes or not codes <= {PASSED, NOTHING_CHOSEN})


if __name__ == "__main__":
    sys.exit(main())
