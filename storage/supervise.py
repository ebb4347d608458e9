"""Keep the processes of a server running: start them, start them again when they end, stop them in order."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
CALM_SECONDS = 60.0  # a process that ran this long starts again without a pause
STOP_SECONDS = 20.0

Note = Callable[[str], None]
"""Takes one line about what happened to a process."""


@dataclass
class Child:
    """One process that shall run: `command`, with `environment` as its whole environment."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0

    def start(self) -> None:
        """Start the process; its output goes to the end of its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment),
                start_new_session=True,  # an interrupt at the terminal is for the parent to pass on
            )
        self.started = time.monotonic()

    def tend(self, now: float, note: Note) -> None:
        """Start the process again if it ended and its pause is over."""
        if self.process is not None and self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            calm = now - self.started > CALM_SECONDS
            self.pause = 0.0 if calm else min(max(self.pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self.due = now + self.pause
            note(f"{self.name} ended with code {code}; see {self.log}")
        if self.process is None and now >= self.due:
            self.start()

    def stop(self, note: Note) -> None:
        """Ask the process to end, and make it after STOP_SECONDS."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            note(f"{self.name} does not end; killing it after {STOP_SECONDS:.0f} s")
            process.kill()
            process.wait()


@dataclass
class Supervisor:
    """Children in the order in which they start; they are stopped the other way round."""

    note: Note
    children: list[Child] = field(default_factory=list)

    def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        child.start()
        self.children.append(child)

    def tend(self) -> None:
        """Look after every child once. Call it whenever a child may have ended."""
        now = time.monotonic()
        for child in self.children:
            child.tend(now, self.note)

    def restart(self, environment: Mapping[str, str]) -> None:
        """Start all children anew, with new values of what is in their environments."""
        for child in self.children:
            child.stop(self.note)
            new = {name: value for name, value in environment.items() if name in child.environment}
            child.environment = {**child.environment, **new}
            child.start()

    def signal(self, number: int) -> None:
        """Send a signal to all that run."""
        for child in self.children:
            if child.process is not None:
                child.process.send_signal(number)

    def stop(self) -> None:
        """Stop all children, the last one first."""
        for child in reversed(self.children):
            child.stop(self.note)


def follow_parent(parent: int) -> None:
    """End this process when `parent` ends, however it ended."""
    try:
        handle = os.pidfd_open(parent)
    except ProcessLookupError:
        sys.exit(1)
    if os.getppid() != parent:
        sys.exit(1)
    threading.Thread(target=_end_with, args=(handle,), daemon=True).start()


def _end_with(handle: int) -> None:
    select.select([handle], [], [])
    os.kill(os.getpid(), signal.SIGKILL)
