"""What Prometheus reads: families of samples as lines of text, and histograms. Every process makes its own."""

from __future__ import annotations

import os
import resource
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def metric(name: str, kind: str, help_: str, values: Iterable[tuple[str, float]]) -> str:
    """One family; `values` are (labels as `labels` makes them, or empty; number). One without any is left out."""
    lines = [f"{name}{labels} {number}" for labels, number in values]
    return "\n".join([f"# HELP {name} {help_}", f"# TYPE {name} {kind}", *lines]) + "\n" if lines else ""


def labels(**values: str) -> str:
    """As they stand behind a name."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def of_process(prefix: str) -> str:
    """Memory and CPU of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return metric(f"{prefix}resident_bytes", "gauge", "memory in use", [("", float(pages * _PAGE))]) + metric(
        f"{prefix}cpu_seconds_total", "counter", "CPU time used", [("", used.ru_utime + used.ru_stime)]
    )


class Histogram:
    """How long things took, by kind. Thread-safe."""

    def __init__(self, buckets: Sequence[float]) -> None:
        """`buckets`: upper bounds in seconds, ascending."""
        self._buckets = tuple(buckets)
        self._lock = threading.Lock()
        self._counts: dict[tuple[tuple[str, str], ...], list[int]] = {}
        self._sums: dict[tuple[tuple[str, str], ...], float] = {}

    def observe(self, seconds: float, **kind: str) -> None:
        key = tuple(kind.items())
        with self._lock:
            counts = self._counts.setdefault(key, [0] * (len(self._buckets) + 1))
            counts[bisect_left(self._buckets, seconds)] += 1
            self._sums[key] = self._sums.get(key, 0.0) + seconds

    def text(self, name: str, help_: str) -> str:
        """The family; nothing before anything was observed."""
        with self._lock:
            found = [
                (dict(key), list(counts), self._sums[key]) for key, counts in sorted(self._counts.items())
            ]
        lines = [f"# HELP {name} {help_}", f"# TYPE {name} histogram"]
        for kind, counts, total in found:
            so_far = 0
            for bound, count in zip([*map(str, self._buckets), "+Inf"], counts, strict=True):
                so_far += count
                lines.append(f"{name}_bucket{labels(**kind, le=bound)} {so_far}")
            said = labels(**kind) if kind else ""
            lines += [f"{name}_sum{said} {total}", f"{name}_count{said} {so_far}"]
        return "\n".join(lines) + "\n" if found else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
