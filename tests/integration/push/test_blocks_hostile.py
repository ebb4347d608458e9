"""Sealed blocks that nobody sealed well: checksums fit, and what is in them does not. Each is stored or set aside, and
the next good block goes in."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.spool import Spool
from storage.hot import Hot
from storage.native import block, frames
from storage.native.block import SealedBlock, seal
from tests.conftest import encode, string, varint
from tests.listening import Listening

PATIENCE_SECONDS = 240
EVENTS = [
    {"timestamp": 1_790_000_000 * 10**9 + row, "message": f"line {row}", "tags": {"a": f"{row}"}}
    for row in range(5)
]
Post = Callable[[bytes], int]


@pytest.fixture
def post(gateway: Listening) -> Iterator[Post]:
    yield lambda data: gateway.post("/api/v1/blocks", content=data).status_code
    drained(gateway)


def drained(gateway: Listening) -> None:
    """Wait until nothing waits for ClickHouse any more."""
    spool: Spool = gateway.app.state.gateway.spool
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(spool):
        assert time.monotonic() < deadline, gateway.get("/gateway/status").json()["troubles"]
        spool.wait_room(0.2)


def sealed(namespace: str, sequence: int, events: Sequence[dict[str, Any]] = EVENTS) -> SealedBlock:
    columns = encode(events)
    return SealedBlock.parse(
        seal(columns, agent_id="hostile", sequence=sequence, namespace=namespace, rules_version=1)
    )


def forged(good: SealedBlock, body: bytes, number: int, **header: Any) -> bytes:
    """A block with this body, whose checksums fit, and an id of its own."""
    id_ = number.to_bytes(16, "big")
    changed = dataclasses.replace(good.header, **{"block_id": id_, **header})
    return block.pack(changed, list(frames.compress([body])))


def column(name: str, kind: str, data: bytes) -> bytes:
    return string(name) + string(kind) + b"\0" + data


def stored(hot: Hot, namespace: str) -> int:
    return int(hot.query(f"SELECT count() AS n FROM neve_{namespace}.events").rows[0][0])


ROWS = b"\0" * 40
MANY = (1).to_bytes(8, "little") + (0x201).to_bytes(8, "little") + b"\xff" * 7 + b"\0"
MAP = "Map(LowCardinality(String), String)"
LOW = "LowCardinality(String)"


def only(name: str, kind: str = "String", **more: Any) -> dict[str, Any]:
    return {"columns": ((name, kind),), **more}


BODIES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "nothing": (b"", {}),
    "noise": (bytes(range(256)) * 40, {}),
    "a string of an exbibyte": (column("message", "String", varint(1 << 60) + b"x"), only("message")),
    "a string of a gibibyte": (column("message", "String", varint(1 << 30) + b"x"), only("message")),
    "a dictionary of very many": (
        column("level", LOW, MANY),
        only("level", LOW),
    ),
    "a map that ends nowhere": (
        column("tags_00", MAP, (1).to_bytes(8, "little") + b"\xff" * 40),
        only("tags_00", MAP),
    ),
    "rows that are not there": (column("row", "UInt32", b"\0" * 20), only("row", "UInt32", rows=block.MAX_ROWS)),
    "a column of another type": (column("message", "UInt64", ROWS), only("message", "UInt64")),
    "a column that is not there": (column("nothing", "UInt8", b"\0" * 5), only("nothing", "UInt8")),
    "a type that is none": (column("message", "Strung(", ROWS), only("message")),
    "a type of a gibibyte": (
        column("message", "FixedString(1073741824)", ROWS), only("message", "FixedString(1073741824)"),
    ),
    "a type nested without end": (
        string("message") + string("Array(" * 5000 + "UInt8" + ")" * 5000) + ROWS, only("message"),
    ),
    "an object of ten rows": (column("message", "JSON", ROWS), only("message", "JSON")),
    "a function's state": (
        column("message", "AggregateFunction(groupArray, String)", b"\xff" * 40), only("message"),
    ),
}  # fmt: skip


def test_each_is_stored_or_set_aside_and_the_next_goes_in(
    gateway: Listening, hot: Hot, namespace: str, post: Post
) -> None:
    good = sealed(namespace, 1)
    for number, (name, (body, header)) in enumerate(BODIES.items(), 1):
        assert post(forged(good, body, number, **header)) in (200, 422), name
        drained(gateway)
    assert post(block.pack(good.header, frames.split(good.frames))) == 200
    drained(gateway)
    assert stored(hot, namespace) == len(EVENTS)
    assert gateway.get("/gateway/status").json()["inserting"]
    letters = gateway.get("/gateway/deadletter").json()["dead_letters"]
    assert all(one["reason"] for one in letters)
    assert not [one for one in letters if "SELECT" in one["reason"] or "INSERT INTO" in one["reason"]]


def test_bodies_with_bytes_changed(gateway: Listening, hot: Hot, namespace: str, post: Post) -> None:
    good = sealed(namespace, 1)
    plain = frames.decompress(good.frames)
    numbers = iter(range(1 << 32, 1 << 33))

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(st.integers(0, len(plain) - 1), st.binary(min_size=1, max_size=9)),
            min_size=1,
            max_size=4,
        )
    )
    def send(changes: list[tuple[int, bytes]]) -> None:
        body = bytearray(plain)
        for place, data in changes:
            body[place : place + len(data)] = data
        assert post(forged(good, bytes(body), next(numbers))) in (200, 422)

    send()
    drained(gateway)
    before = stored(hot, namespace)
    assert post(block.pack(good.header, frames.split(good.frames))) == 200
    drained(gateway)
    assert stored(hot, namespace) == before + len(EVENTS)


@pytest.mark.parametrize("header", [{"agent_id": "request:ab"}, {"agent_id": "request:" + "00" * 16}])
def test_who_it_says_to_be(namespace: str, post: Post, header: dict[str, Any]) -> None:
    """Requests' own blocks are known by their agent's name: one that pretends would stop the gateway's next start."""
    good = sealed(namespace, 1)
    data = block.pack(dataclasses.replace(good.header, **header), frames.split(good.frames))
    assert post(data) == 422


def test_columns_that_unpack_to_too_much(namespace: str, post: Post) -> None:
    good = sealed(namespace, 1)
    piece = bytes(32 << 20)
    data = block.pack(good.header, list(frames.compress([piece] * 9)))
    assert post(data) == 413
