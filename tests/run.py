"""All tests, in groups that run side by side: tests of whole processes wait most of their time.

    python -m tests.run [arguments of pytest]

What a group said comes in one piece when it ends, with its wall time and its CPU seconds, which tell where the time of
a run goes. Exit code 0 where every group passed that had tests to run, and some did.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

TESTS = Path(__file__).parent
SOAK = "tests/faults/test_soak.py"  # takes its two minutes whatever the others do
QUERY = "tests/integration/query"
# What takes longest of the tests of whole servers, half of it, so that neither half is what the others wait for.
LONG = [f"tests/e2e/{name}" for name in ("page", "test_access.py", "test_tiers.py", "wire")]
APART = {
    "e2e": ["tests/e2e", *(f"--ignore={path}" for path in LONG)],
    "long": LONG,
    "faults": ["tests/faults", f"--ignore={SOAK}"],
    "soak": [SOAK],
    "query": [QUERY],
}
FOLDERS = {"e2e", "faults"}  # that are in no other group
REST = "parts"
PASSED, NOTHING_CHOSEN = 0, 5


def groups() -> dict[str, list[str]]:
    """What pytest is told, by group. A new folder of tests joins the rest."""
    folders = sorted(path.name for path in TESTS.iterdir() if any(path.rglob("test_*.py")))
    rest = [f"tests/{name}" for name in folders if name not in FOLDERS]
    return {**APART, REST: [*rest, f"--ignore={QUERY}"]}


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
        command = [sys.executable, "-m", "pytest", *arguments, *sys.argv[1:]]
        return cls(name, said, time.monotonic(), subprocess.Popen(command, stdout=said, stderr=said))

    def tell(self, code: int, cpu: float) -> None:
        """Print what it said; `cpu` is seconds."""
        took = time.monotonic() - self.begun
        print(f"\n===== {self.name}: exit code {code}, {took:.0f} s, {cpu:.0f} s of CPU", flush=True)
        with self.said:
            self.said.seek(0)
            sys.stdout.buffer.write(self.said.read())
        sys.stdout.flush()


def main() -> int:
    """Run every group and tell of each as it ends, also after Ctrl-C, which the terminal sends to all of them."""
    running: dict[int, Group] = {}

    def pass_on(*_: object) -> None:
        for group in running.values():
            group.process.send_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, lambda *_: None)  # a handler, which a child does not inherit
    signal.signal(signal.SIGTERM, pass_on)
    for name, arguments in groups().items():
        group = Group.start(name, arguments)
        running[group.process.pid] = group
    print(f"side by side: {', '.join(groups())}; what each says comes when it ends", flush=True)
    codes = set()
    while running:
        pid, status, usage = os.wait4(-1, 0)
        group, code = running.pop(pid), os.waitstatus_to_exitcode(status)
        group.process.returncode = code
        group.tell(code, usage.ru_utime + usage.ru_stime)
        codes.add(code)
    return int(PASSED not in codes or not codes <= {PASSED, NOTHING_CHOSEN})


if __name__ == "__main__":
    sys.exit(main())
