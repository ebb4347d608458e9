"""What Prometheus reads about the API: requests by path and status, their time, this process's memory and CPU."""

from __future__ import annotations

import os
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; a search is fast below one and slow above five."""
LIMITS = ("time", "rows", "bytes", "memory", "result", "result_rows", "concurrent")
"""That are there from the start, beside `cold`: what is first seen at one has never grown, for who watches it."""

router = APIRouter()


class Metrics:
    """Counts of requests. Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.running = 0
        self.more: Callable[[], list[tuple[str, str, str, int]]] = (
            list  # (name, kind, help, number) of other parts
        )
        self._requests: Counter[tuple[str, int]] = Counter()
        self._within: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._limits: Counter[str] = Counter(dict.fromkeys(LIMITS, 0))

    def add(self, path: str, status: int, seconds: float) -> None:
        self._requests[path, status] += 1
        self._answered[path] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]  # a Counter takes floats too
        for bucket in BUCKETS:
            self._within[path, bucket] += seconds <= bucket

    def hit(self, limit: str) -> None:
        """A query met a limit."""
        self._limits[limit] += 1

    def text(self) -> str:
        """In Prometheus's text form."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines = _head("requests_total", "counter", "requests answered")
        lines += [
            f'neve_api_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self._requests.items())
        ]
        lines += _head("request_seconds", "histogram", "time until the end of the answer")
        for path in sorted(self._answered):
            lines += self._histogram(path)
        lines += _head("limits_hit_total", "counter", "queries that met a limit, by which")
        lines += [
            f'neve_api_limits_hit_total{{reason="{name}"}} {count}'
            for name, count in sorted(self._limits.items())
        ]
        lines += [*_head("running", "gauge", "requests under way"), f"neve_api_running {self.running}"]
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        lines += [*_head("resident_bytes", "gauge", "memory in use"), f"neve_api_resident_bytes {resident}"]
        cpu = used.ru_utime + used.ru_stime
        lines += [
            *_head("cpu_seconds_total", "counter", "CPU time used"),
            f"neve_api_cpu_seconds_total {cpu}",
        ]
        for name, kind, help_, number in self.more():
            lines += [*_head(name, kind, help_), f"neve_api_{name} {number}"]
        return "\n".join(lines) + "\n"

    def _histogram(self, path: str) -> list[str]:
        name = "neve_api_request_seconds"
        counts = [(str(bucket), self._within[path, bucket]) for bucket in BUCKETS]
        counts.append(("+Inf", self._answered[path]))
        lines = [f'{name}_bucket{{path="{path}",le="{bucket}"}} {count}' for bucket, count in counts]
        lines.append(f'{name}_sum{{path="{path}"}} {self._seconds[path]}')
        return [*lines, f'{name}_count{{path="{path}"}} {self._answered[path]}']


class Counting:
    """Middleware that tells `metrics` of every request, by the route that answered it and not by what was asked."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.running += 1
        try:
            await self.app(scope, receive, watched)
        finally:
            self.metrics.running -= 1
            route = scope.get("route")
            self.metrics.add(getattr(route, "path", "other"), status, time.monotonic() - began)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics_text(request: Request) -> PlainTextResponse:
    """Counters and gauges, as Prometheus reads them."""
    metrics: Metrics = request.app.state.metrics
    return PlainTextResponse(metrics.text(), media_type=MEDIA_TYPE)


def _head(name: str, kind: str, help_: str) -> list[str]:
    return [f"# HELP neve_api_{name} {help_}", f"# TYPE neve_api_{name} {kind}"]
