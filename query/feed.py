"""One gateway as a tail sees it: the stream of what arrives there, what arrived before, and a block of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from query.errors import Unavailable
from storage.arrivals import ALIVE_SECONDS, BLOCK, GAP, HELLO, SEQUENCE, Arrival, Records
from storage.errors import BlockDamaged

CONNECT_SECONDS = 2.0
LISTED = 10_000
NOT_FOUND = 404


@dataclass(frozen=True)
class Hello:
    """The stream has begun: blocks after `position` of `run` follow; those up to `recovered` are older than it."""

    run: str
    position: int
    recovered: int


@dataclass(frozen=True)
class Block:
    sequence: int
    data: bytes


@dataclass(frozen=True)
class Missed:
    """Blocks up to a sequence were not sent; how many rows there were, by namespace."""

    upto: int
    rows: dict[str, int]


Said = Hello | Block | Missed


@dataclass(frozen=True)
class Listed:
    """An arrival, and whether the gateway still has its block."""

    arrival: Arrival
    spooled: bool


class Feed:
    """A gateway's paths for search processes, at a Unix socket's path or an http address. Errors are Unavailable."""

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        is_url = address.startswith(("http://", "https://"))
        self._http = httpx.AsyncClient(
            base_url=address if is_url else "http://gateway",
            transport=httpx.AsyncHTTPTransport(uds=None if is_url else address),
            timeout=httpx.Timeout(3 * ALIVE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,  # no proxy stands between parts of a server
            headers=headers,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def said(self) -> AsyncIterator[Said]:
        """What the gateway says, from a Hello on; ends by Unavailable."""
        records = Records()
        try:
            async with self._http.stream("GET", "/gateway/arrivals/stream") as answer:
                _check(answer)
                async for data in answer.aiter_raw():
                    for kind, payload in records.feed(data):
                        if (one := _read(kind, payload)) is not None:
                            yield one
        except (httpx.HTTPError, BlockDamaged, KeyError, ValueError, TypeError) as error:
            raise Unavailable(f"cannot follow gateway: {type(error).__name__.lower()}") from error
        raise Unavailable("cannot follow gateway: it ended the stream")

    async def arrivals(self, after: int, upto: int, run: str) -> tuple[list[Listed], bool]:
        """What arrived in a run after a sequence up to another, and whether all of it is still known."""
        found: list[Listed] = []
        while True:
            answer = await self._get("/gateway/arrivals", {"after": after, "limit": LISTED})
            _check(answer)
            try:
                said = answer.json()
                page = [Listed(Arrival.from_json(one), bool(one["spooled"])) for one in said["arrivals"]]
                whole, present = bool(said["whole"]), str(said["run"])
            except (KeyError, ValueError, TypeError) as error:
                raise Unavailable("cannot read the gateway's list of arrivals") from error
            if present != run:
                raise Unavailable("cannot list arrivals: the gateway started again meanwhile")
            found += [one for one in page if one.arrival.sequence <= upto]
            if not whole or len(page) < LISTED or page[-1].arrival.sequence >= upto:
                return found, whole
            after = page[-1].arrival.sequence

    async def block(self, arrival: Arrival) -> bytes | None:
        """A block's bytes; None where it has left the spool."""
        answer = await self._get(f"/gateway/arrivals/{arrival.sequence}/{arrival.block_id.hex()}", {})
        if answer.status_code == NOT_FOUND:
            return None
        _check(answer)
        return answer.content

    async def _get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        try:
            return await self._http.get(path, params=params)
        except httpx.HTTPError as error:
            raise Unavailable(f"cannot ask gateway: {type(error).__name__.lower()}") from error


def _check(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        raise Unavailable(f"cannot ask gateway: it answered {answer.status_code}")


def _read(kind: int, payload: bytes) -> Said | None:
    """A record's meaning; None for one that says nothing, or that a newer gateway knows."""
    if kind == BLOCK:
        return Block(SEQUENCE.unpack_from(payload)[0], payload[SEQUENCE.size :])
    if kind == HELLO:
        said = json.loads(payload)
        return Hello(str(said["run"]), int(said["position"]), int(said["recovered"]))
    if kind == GAP:
        said = json.loads(payload)
        return Missed(int(said["upto"]), {str(name): int(n) for name, n in said["rows"].items()})
    return None
