"""The parameters of Loki's requests: from the address or a form, read as Loki reads them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.requests import HTTPConnection

from query import ast as neve
from query import conditions as c
from query.errors import RequestInvalid, TooLarge
from query.guards import guard_of
from query.logql.ranges import Steps
from query.logql.tokens import parse_duration
from query.params import MAX_BODY, Chosen
from query.plan import MAX_LIMIT, Plan, check_namespace
from query.times import MAX_NS, MIN_NS, SECOND, BadTime, parse_instant
from storage.access.middleware import identity_of

DEFAULT_LIMIT = 100
SINCE = 3600 * SECOND  # how far back a request looks that does not say
MAX_STEPS = 11_000
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class LokiRequest:
    """What one request asks. `now` is nanoseconds since 1970; `guard`: which events exist for who asks."""

    values: Mapping[str, str]
    lists: Mapping[str, list[str]]
    namespace: str
    flags: tuple[str, ...]
    now: int
    guard: c.Condition

    def text(self, name: str) -> str:
        return self.values.get(name, "")

    def query(self) -> str:
        return self.text("query")

    # --- time ----------------------------------------------------------------------------------------------

    def moment(self, name: str, default: int) -> int:
        """Seconds, nanoseconds, a fraction of seconds, or RFC 3339."""
        given = self.text(name)
        if not given:
            return default
        try:
            nanos = _moment(given)
        except (ValueError, OverflowError):
            raise RequestInvalid(f"could not parse '{name}' parameter: {given[:40]}") from None
        return min(max(nanos, MIN_NS), MAX_NS)

    def bounds(self) -> tuple[int, int]:
        """`start` and `end`; without a start the hour before the end."""
        end = self.moment("end", self.now)
        since = SINCE
        if self.text("since"):
            since = self.duration("since") or SINCE
        start = self.moment("start", min(end, self.now) - since)
        if end < start:
            raise RequestInvalid("end timestamp must not be before or equal to start time")
        return start, end

    def duration(self, name: str) -> int:
        """Nanoseconds of a duration, or of a number of seconds; 0 where nothing is given."""
        given = self.text(name)
        if not given:
            return 0
        if _NUMBER.fullmatch(given) and abs(float(given)) < MAX_NS / SECOND:
            return round(float(given) * SECOND)
        nanos = parse_duration(given)
        if nanos is None:
            raise RequestInvalid(f'cannot parse "{given[:40]}" to a valid duration')
        return nanos

    def steps(self) -> Steps:
        """The moments of a range query."""
        start, end = self.bounds()
        step = self.duration("step") if self.text("step") else max((end - start) // SECOND // 250, 1) * SECOND
        if step <= 0:
            raise RequestInvalid(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if (end - start) // step > MAX_STEPS:
            raise RequestInvalid(
                "exceeded maximum resolution of 11,000 points per time series. "
                "Try increasing the value of the step parameter"
            )
        return Steps(start, step, (end - start) // step + 1)

    # --- the rest ------------------------------------------------------------------------------------------

    def integer(self, name: str, default: int, least: int = 0) -> int:
        given = self.text(name)
        if not given:
            return default
        if not re.fullmatch(r"-?\d{1,18}", given, re.ASCII):
            raise RequestInvalid(f'strconv.Atoi: parsing "{given[:40]}": invalid syntax')
        if int(given) < least:
            raise RequestInvalid(f"{name} must be a positive value")
        return int(given)

    def limit(self) -> int:
        """How many lines."""
        limit = self.integer("limit", DEFAULT_LIMIT, 1)
        if limit > MAX_LIMIT:
            raise RequestInvalid(
                f"max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MAX_LIMIT})"
            )
        return limit

    def newest_first(self) -> bool:
        direction = self.text("direction").upper() or "BACKWARD"
        if direction not in ("BACKWARD", "FORWARD"):
            raise RequestInvalid(f"invalid direction '{self.text('direction')[:40]}'")
        return direction == "BACKWARD"

    def plan(
        self,
        condition: c.Condition,
        low: int | None,
        high: int | None,
        *,
        newest: bool = True,
        limit: int = 0,
    ) -> Plan:
        """The plan of events within low <= time < high."""
        text, namespace = self.query(), self.namespace
        return Plan(text, neve.Query(), namespace, self.now, condition, low, high, self.guard, newest, limit)


async def read(request: HTTPConnection) -> LokiRequest:
    """The request's parameters. Of one that comes twice the first counts, but where it is a list."""
    pairs = [
        *request.query_params.multi_items(),
        *(await _form(request) if isinstance(request, Request) else []),
    ]
    values: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, value)
        lists.setdefault(name, []).append(value)
    state, identity = request.app.state, identity_of(request)
    chosen = Chosen(identity, state.access, request.scope)
    namespace = chosen.namespace(
        request.headers.get("x-scope-orgid", ""), state.default_namespace, values.get("query", "")
    )
    check_namespace(namespace)
    now = time.time_ns()
    flags = tuple(
        flag.strip()
        for flag in request.headers.get("x-loki-response-encoding-flags", "").split(",")
        if flag.strip()
    )
    return LokiRequest(values, lists, namespace, flags, now, guard_of(identity, namespace, now))


async def _form(request: Request) -> list[tuple[str, str]]:
    if request.method != "POST":
        return []
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge("cannot read body: it is too large", f"send at most {MAX_BODY} bytes")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True)
    except ValueError:
        raise RequestInvalid("cannot read body: it is no form") from None


def _moment(text: str) -> int:
    if "." in text and _NUMBER.fullmatch(text):
        whole, _, fraction = text.partition(".")
        if "e" not in text.lower():
            nanos = int((fraction + "000000000")[:9])
            return int(whole) * SECOND + (-nanos if whole.startswith("-") else nanos)
        return round(float(text) * SECOND)
    if re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        return int(text) * (SECOND if len(text) <= 10 else 1)
    if re.fullmatch(r"-?\d+(?:\.\d+)?[eE]\+?\d+", text, re.ASCII):  # as JavaScript writes large numbers
        return round(float(text))
    try:
        datetime.fromisoformat(text[:10]).replace(tzinfo=UTC)
        return parse_instant(text, 0)
    except BadTime:
        raise ValueError(text) from None
