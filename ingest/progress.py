"""What a terminal is told while an agent runs, and at its end."""

import sys
import threading
import time
from types import TracebackType

from ingest.counters import redacted
from ingest.pipeline import Agent

REFRESH_SECONDS = 0.5
_CLEAR = "\r\x1b[K"


class Progress:
    """A line on a terminal that is written anew twice a second; warnings as they come, terminal or not."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._last = (time.monotonic(), 0)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._terminal:
            print(_CLEAR, end="", file=sys.stderr, flush=True)

    def _run(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            for line in self._agent.counters.news():
                print(
                    f"{_CLEAR if self._terminal else ''}neve ship: warning: {line}",
                    file=sys.stderr,
                    flush=True,
                )
            if self._terminal:
                print(_CLEAR + self._line(), end="", file=sys.stderr, flush=True)

    def _line(self) -> str:
        shipped = self._agent.counters.get("lines_shipped")
        before, already = self._last
        self._last = (time.monotonic(), shipped)
        rate = (shipped - already) / max(0.001, time.monotonic() - before)
        waiting = self._agent.spool.stats()
        parts = [f"{shipped:,} lines shipped", f"{rate:,.0f}/s", f"{waiting.depth} blocks wait"]
        masked = sum(redacted(self._agent.counters.all()).values())
        parts += [f"{masked:,} values masked"] if masked else []
        return " · ".join(parts + list(self._agent.counters.troubles().values())[:1])


def summary(agent: Agent) -> str:
    """One line: what was read and shipped, how fast, and what was not."""
    count = agent.counters.get
    seconds = max(0.001, agent.elapsed)
    shipped = count("lines_shipped")
    parts = [
        f"{_number(shipped, 'line')} shipped",
        _number(count("bytes"), "byte"),
        _number(count("blocks_shipped"), "block"),
        f"{seconds:.1f} s",
        f"{shipped / seconds:,.0f} events/s",
    ]
    for name, text in _WORTH_SAYING.items():
        if count(name):
            parts.append(f"{count(name):,} {text}")
    masked = redacted(agent.counters.all())
    if masked:
        parts.append("masked: " + ", ".join(f"{number:,} {name}" for name, number in masked.items()))
    if not shipped and count("files_opened") and not count("lines"):
        parts.append(f"nothing new since the last run with {agent.settings.state}")
    return "neve ship: " + " · ".join(parts)


def _number(count: int, of: str) -> str:
    return f"{count:,} {of}" if count == 1 else f"{count:,} {of}s"


_WORTH_SAYING = {
    "lines_recovered": "lines of them from an earlier run",
    "empty_lines": "empty lines passed over",
    "malformed_json": "lines kept as text (not valid json)",
    "malformed_logfmt": "lines kept as text (not valid logfmt)",
    "multiline_records": "records of several lines",
    "joined_lines": "lines joined to the one before",
    "siblings_found": "rotated files found that no pattern names",
    "split_lines": "pieces of lines longer than a mebibyte",
    "implausible_times": "lines with an implausible time",
    "lines_refused": "lines refused and set aside as dead letters",
    "blocks_damaged": "damaged blocks set aside",
}
