"""Traces by OpenTelemetry, off by default: a request, its statements, the commit and INSERT of what it brought.

The SDK is the extra `otel`; without an endpoint nothing of it is imported, and a span costs a comparison.

A span begins a trace only for a request. What runs in the background (leases, passes of the ager) is in none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from storage.errors import ConfigError
from storage.traces_config import TracesConfig

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REMEMBERED = 1 << 14
"""Blocks whose request is known until they are inserted."""
NOT_TRACED = (
    "/metrics",
    "/healthz",
    "/readyz",
    "/gateway/ready",
    "/gateway/arrivals",
    "/cold/ready",
    "/pages/",
)


class _Tracing:
    """What is set up; nothing before `set_up`."""

    def __init__(self) -> None:
        self.tracer: Any = None
        self.provider: Any = None
        self.lock = threading.Lock()
        self.blocks: OrderedDict[bytes, Any] = OrderedDict()


_state = _Tracing()


def set_up(service: str, config: TracesConfig) -> None:
    """Send the spans of this process. Raises ConfigError where the SDK is not there."""
    if not config.endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise ConfigError(
            "cannot send traces: opentelemetry is not installed", "pip install 'neve[otel]'"
        ) from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": service}),
        sampler=ParentBased(TraceIdRatioBased(config.sample)),
    )
    headers = {"authorization": str(config.authorization)} if config.authorization else None
    exporter = OTLPSpanExporter(endpoint=config.endpoint, headers=headers)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _state.provider, _state.tracer = provider, provider.get_tracer("neve")


def end() -> None:
    """Send what waits; the last call."""
    if _state.provider is not None:
        _state.provider.shutdown()
        _state.provider = _state.tracer = None


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[Any]:
    """A step of the request at hand, for as long as this is open; None, and nothing, where there is no trace."""
    if _state.tracer is None or not _traced():
        yield None
        return
    with _state.tracer.start_as_current_span(name, attributes=attributes) as one:
        yield one


def begin(name: str, **attributes: Any) -> Any:
    """A step that ends by `.end()`, perhaps in another thread; None where there is no trace."""
    if _state.tracer is None or not _traced():
        return None
    return _state.tracer.start_span(name, attributes=attributes)


def remember(block_ids: Iterable[bytes]) -> None:
    """These blocks are of the request at hand."""
    if _state.tracer is None or not _traced():
        return
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    with _state.lock:
        for block_id in block_ids:
            _state.blocks[block_id] = context
        while len(_state.blocks) > REMEMBERED:
            _state.blocks.popitem(last=False)


@contextmanager
def span_of_blocks(name: str, block_ids: Iterable[bytes], **attributes: Any) -> Iterator[None]:
    """What is done for blocks of many requests at once: in the trace of the first, and linked to the others."""
    if _state.tracer is None:
        yield
        return
    with _state.lock:
        known = [_state.blocks.pop(one) for one in block_ids if one in _state.blocks]
    if not known:
        yield
        return
    from opentelemetry.trace import Link, NonRecordingSpan, set_span_in_context

    parent = set_span_in_context(NonRecordingSpan(known[0]))
    links = [Link(one) for one in dict.fromkeys(known[1:])]
    with _state.tracer.start_as_current_span(name, parent, links=links, attributes=attributes):
        yield


class Traced:
    """Middleware that makes a span of each request; what comes with a `traceparent` goes on in that trace."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _state.tracer is None or scope["type"] != "http" or scope["path"].startswith(NOT_TRACED):
            await self.app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        with _state.tracer.start_as_current_span(
            method, extract(carrier), kind=SpanKind.SERVER, attributes={"http.request.method": method}
        ) as one:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    one.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self.app(scope, receive, watched)
            finally:
                path = getattr(scope.get("route"), "path", "")
                one.update_name(f"{method} {path}".strip())
                if path:
                    one.set_attribute("http.route", path)


def ended(one: Any, attributes: Mapping[str, Any]) -> None:
    """End what `begin` has begun."""
    if one is not None:
        one.set_attributes(attributes)
        one.end()


def _traced() -> bool:
    from opentelemetry.trace import get_current_span

    return bool(get_current_span().get_span_context().is_valid)
