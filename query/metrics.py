"""What Prometheus reads about the API: requests by path and status, their time by kind, memory and CPU."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage.metrics import MEDIA_TYPE, Histogram, labels, metric, of_process

BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds; a search is fast below one and slow above five."""
KIND = "neve.kind"
"""Where a request's scope says what kind of question it is, where its path does not tell."""
KINDS = {
    "/api/v1/histogram": "histogram",
    "/api/v1/patterns": "patterns",
    "/api/v1/patterns/compare": "compare",
    "/api/v1/fields": "fields",
    "/api/v1/fields/compare": "compare",
    "/api/v1/fields/{name}/values": "values",
    "/api/v1/context": "context",
}
LOKI = "/loki/"

router = APIRouter()


class Metrics:
    """Counts of requests. Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.running = 0
        self.more: Callable[[], list[tuple[str, str, str, int]]] = (
            list  # (name, kind, help, number) of other parts
        )
        self.families: Callable[[], str] = str  # of other parts, as text
        self.limits_hit: Counter[str] = Counter()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._paths = Histogram(BUCKETS)
        self._kinds = Histogram(BUCKETS)

    def add(self, path: str, status: int, seconds: float, kind: str = "") -> None:
        self._requests[path, status] += 1
        self._paths.observe(seconds, path=path)
        if kind := kind or KINDS.get(path, "logql" if path.startswith(LOKI) else ""):
            self._kinds.observe(seconds, kind=kind)

    def text(self) -> str:
        """In Prometheus's text form."""
        requests = [
            (labels(path=path, status=str(status)), count)
            for (path, status), count in sorted(self._requests.items())
        ]
        hit = [(labels(limit=limit), count) for limit, count in sorted(self.limits_hit.items())]
        families = [
            metric("neve_api_requests_total", "counter", "requests answered", requests),
            self._paths.text("neve_api_request_seconds", "time until the end of the answer, by path"),
            self._kinds.text(
                "neve_api_query_seconds", "time until the end of the answer, by kind of question"
            ),
            metric("neve_api_limits_hit_total", "counter", "answers that a limit cut, or refused", hit),
            metric("neve_api_running", "gauge", "requests under way", [("", self.running)]),
            of_process("neve_api_"),
        ]
        families += [
            metric(f"neve_api_{name}", kind, help_, [("", n)]) for name, kind, help_, n in self.more()
        ]
        return "".join(families) + self.families()


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
            seconds = time.monotonic() - began
            self.metrics.add(getattr(route, "path", "other"), status, seconds, scope.get(KIND, ""))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics_text(request: Request) -> PlainTextResponse:
    """Counters and gauges, as Prometheus reads them."""
    metrics: Metrics = request.app.state.metrics
    return PlainTextResponse(metrics.text(), media_type=MEDIA_TYPE)
