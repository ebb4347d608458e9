"""One gateway as a tail sees it: the stream of what arrives there, what arrived before, and a block of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from query.errors import Unavailable
from storage.access.among import ARRIVALS, PEER_HEADER, word_for
from storage.access.carried import Carried
from storage.arrivals import ALIVE_SECONDS, BLOCK, GAP, HELLO, SEQUENCE, Arrival, Records
from storage.errors import BlockDamaged

CONNECT_SECONDS = 2.0
LISTED = 10_000
NOT_FOUND = 404
REFUSED = frozenset({401, 403})


@dataclass(frozen=True)
class Way:
    """How to hear a gateway: the one beside by a Unix socket, one of another machine by its `url`.

    `name`: as viewers are told it; none for the one beside.
    """

    url: str = "http://gateway"
    path: str = "/gateway/arrivals"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    socket: str = ""
    name: str = ""
    shown: Carried | None = None  # with https

    @classmethod
    def beside(cls, socket: str, headers: Mapping[str, str]) -> Way:
        """`headers`: what processes of one server know one another by."""
        return cls(headers=headers, socket=socket)

    @classmethod
    def among(cls, url: str, secret: bytes, shown: Carried) -> Way:
        """`secret`: what the servers of a cluster share. Raises ConfigError for certificates that cannot be used."""
        parts = urlsplit(url)
        headers = {PEER_HEADER: word_for(ARRIVALS, secret)}
        name = parts.netloc.rpartition("@")[2]
        https = parts.scheme == "https"
        if https:
            shown.context()  # what is wrong shows here
        return cls(
            f"{parts.scheme}://{name}",
            "/gateway/peers/arrivals",
            headers,
            name=name,
            shown=shown if https else None,
        )


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
    """A gateway's paths for search processes. Errors are Unavailable."""

    def __init__(self, way: Way) -> None:
        self._path = way.path
        # Read anew for each time that somebody watches: certificates are renewed. Without https nobody shows one.
        verify = way.shown.context() if way.shown is not None else False
        self._http = httpx.AsyncClient(
            base_url=way.url,
            transport=httpx.AsyncHTTPTransport(uds=way.socket or None, verify=verify),
            timeout=httpx.Timeout(3 * ALIVE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,  # no proxy stands between parts of a server
            headers=way.headers,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def said(self) -> AsyncGenerator[Said]:
        """What the gateway says, from a Hello on; ends by Unavailable."""
        records = Records()
        try:
            async with self._http.stream("GET", f"{self._path}/stream") as answer:
                _check(answer)
                async for data in answer.aiter_raw():
                    for kind, payload in records.feed(data):
                        if (one := _read(kind, payload)) is not None:
                            yield one
        except (httpx.HTTPError, BlockDamaged, KeyError, ValueError, TypeError) as error:
            raise Unavailable(f"cannot follow gateway: {type(error).__name__.lower()}", "") from error
        raise Unavailable("cannot follow gateway: it ended the stream", "")

    async def arrivals(self, after: int, upto: int, run: str) -> tuple[list[Listed], bool]:
        """What arrived in a run after a sequence up to another, and whether all of it is still known."""
        found: list[Listed] = []
        while True:
            answer = await self._get("", {"after": after, "limit": LISTED})
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
        answer = await self._get(f"/{arrival.sequence}/{arrival.block_id.hex()}", {})
        if answer.status_code == NOT_FOUND:
            return None
        _check(answer)
        return answer.content

    async def _get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        try:
            return await self._http.get(self._path + path, params=params)
        except httpx.HTTPError as error:
            raise Unavailable(f"cannot ask gateway: {type(error).__name__.lower()}") from error


def _check(answer: httpx.Response) -> None:
    if answer.status_code in REFUSED:
        hint = "set the same auth.inside for all"
        raise Unavailable(f"cannot ask gateway: it answered {answer.status_code}", hint)
    if answer.status_code != 200:
        raise Unavailable(f"cannot ask gateway: it answered {answer.status_code}", "")


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
