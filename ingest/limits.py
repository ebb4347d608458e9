"""How much may come in, and how fast: `[limits]` in the configuration. What is beyond is told to come back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields

from ingest.errors import SpoolFull
from storage.errors import ConfigError

BURST_SECONDS = 5.0
"""Of a rate that may come at once: senders that were away come back with what they have."""
MAX_BUCKETS = 10_000
"""Namespaces and keys whose rate is remembered; those that were quiet longest are full again, and may be forgotten."""


SENDING: ContextVar[str] = ContextVar("SENDING", default="")
"""The id of the key that the request under way was sent with; empty where there is none."""


@dataclass(frozen=True)
class Rate:
    """Of one namespace, or of one key; 0 is no limit."""

    lines_per_second: int = 0  # events a second; 0: no limit
    bytes_per_second: int = 0  # bytes of them a second, as sent; 0: no limit

    def __post_init__(self) -> None:
        check_numbers(self)


@dataclass(frozen=True)
class IngestLimits:
    """`lines_per_second`, `bytes_per_second`: of each namespace that `namespaces` says nothing of; 0 is no limit.
    `bodies_bytes`: of all bodies in memory at once. `requests`: that send one at once. `slow_body_seconds`,
    `slow_body_bytes_per_second`: a body has this long, and a second more for so many bytes of it."""

    lines_per_second: int = 0  # of each namespace that limits.namespaces says nothing of; 0: no limit
    bytes_per_second: int = 0  # the same, of bytes
    bodies_bytes: int = 40 << 20  # the gateway's memory is this, an INSERT and a little more
    requests: int = 512  # that send at once
    slow_body_seconds: float = 30.0  # a body has this long,
    slow_body_bytes_per_second: int = 4096  # and a second more for so many bytes of it
    namespaces: Mapping[str, Rate] = field(default_factory=dict)  # rates of some

    def __post_init__(self) -> None:
        check_numbers(self)
        for name in ("bodies_bytes", "requests", "slow_body_seconds", "slow_body_bytes_per_second"):
            if not getattr(self, name):
                raise ConfigError(f"cannot use limit {name}: 0", "give more than 0")

    def rate(self, namespace: str) -> Rate:
        return self.namespaces.get(namespace) or Rate(self.lines_per_second, self.bytes_per_second)


def check_numbers(limits: object) -> None:
    """Refuse numbers below 0 in a dataclass. Raises ConfigError."""
    for one in fields(limits):  # type: ignore[arg-type]
        value = getattr(limits, one.name)
        if isinstance(value, (int, float)) and (value < 0 or not math.isfinite(value)):
            raise ConfigError(f"cannot use limit {one.name}: {value}", "give 0 or more")


class RateExceeded(SpoolFull):
    """A namespace, or a key, sends more than it may; nothing of the request was kept. `reason` says which."""

    code = "rate_limited"
    default_hint = "send less, or raise its limit"


@dataclass(frozen=True)
class Share:
    """Who is to have sent something: `kind` namespace or key, `name`, and what it may."""

    kind: str
    name: str
    rate: Rate


@dataclass(slots=True)
class _Bucket:
    lines: float
    bytes: float
    at: float


class Rates:
    """A bucket of lines and one of bytes for each namespace, and for each key. A request is taken while none of its
    buckets is empty, whatever its size, and those after it wait for what it took too much: so none is too large to be
    ever taken. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, shares: Iterable[Share], lines: int, size: int) -> None:
        """Take so many lines and bytes of each; none: look whether any may be taken. Raises RateExceeded, and takes
        nothing."""
        limited = [one for one in shares if one.rate.lines_per_second or one.rate.bytes_per_second]
        if not limited:
            return
        with self._lock:
            buckets = [self._filled(one) for one in limited]
            for one, bucket in zip(limited, buckets, strict=True):
                wait = max(
                    _wait(bucket.lines, one.rate.lines_per_second),
                    _wait(bucket.bytes, one.rate.bytes_per_second),
                )
                if wait:
                    message = f"cannot take request: {one.kind} {one.name} sends more than it may"
                    raise RateExceeded(f"{one.kind}_rate", message, math.ceil(wait))
            for bucket in buckets:
                bucket.lines -= lines
                bucket.bytes -= size

    def _filled(self, share: Share) -> _Bucket:
        now, rate, key = self._clock(), share.rate, (share.kind, share.name)
        full = _Bucket(rate.lines_per_second * BURST_SECONDS, rate.bytes_per_second * BURST_SECONDS, now)
        bucket = self._buckets.pop(key, full)
        passed = now - bucket.at
        bucket.lines = min(full.lines, bucket.lines + passed * rate.lines_per_second)
        bucket.bytes = min(full.bytes, bucket.bytes + passed * rate.bytes_per_second)
        bucket.at = now
        self._buckets[key] = bucket  # the last that was asked for is the last that is forgotten
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.pop(next(iter(self._buckets)))
        return bucket


def _wait(left: float, rate: int) -> float:
    """Seconds until there is something left again; 0 where there is, or where nothing is limited."""
    return max(0.0, -left / rate, 0.001) if rate and left <= 0 else 0.0
