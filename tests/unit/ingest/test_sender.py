"""Who may send while ClickHouse is away: the keys that the gateway knew, by any protocol's metadata."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from ingest.gateway import GatewaySettings, GatewayState
from ingest.receivers.sender import admitted, identified
from storage.access.config import AuthConfig, CertificateConfig
from storage.access.keys import Key, new_key
from storage.config import ClickHouseConfig
from storage.errors import Forbidden, NamespaceUnclear, NeveError, StorageUnavailable, Unauthenticated

NOWHERE = ClickHouseConfig(port=1, connect_timeout=0.2)
AUTH = AuthConfig(enabled=True, certificates={"agent-a": CertificateConfig(("shop",))})


@contextmanager
def gateway(folder: Path, *keys: Key) -> Iterator[GatewayState]:
    """One that was stopped and starts again, with ClickHouse away."""
    folder.mkdir(exist_ok=True)
    said = {"keys": {one.id: one.kept() for one in keys}, "roles": {}, "namespaces": {}}
    if keys:
        (folder / "access.json").write_text(json.dumps(said))
    (folder / "namespaces.json").write_text(json.dumps(["shop", "other"]))
    state = GatewayState(GatewaySettings(folder, NOWHERE, auth=AUTH))
    state.start()
    try:
        yield state
    finally:
        state.stop()


def request(state: GatewayState, key: str, *more: tuple[str, str]) -> Request:
    """As a receiver that is no HTTP shows who sends."""
    app = FastAPI()
    app.state.gateway = state
    pairs = [("authorization", f"Bearer {key}"), *more] if key else list(more)
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    return Request(
        {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": headers, "app": app}
    )


def test_keys_that_were_known_go_on(tmp_path: Path) -> None:
    key, text = new_key(["ingest"], ["shop"])
    two, text_of_two = new_key(["ingest"], ["shop", "other"])
    with gateway(tmp_path / "data", key, two) as state:
        assert asyncio.run(admitted(request(state, text))) == "shop"
        assert asyncio.run(admitted(request(state, text_of_two, ("x-scope-orgid", "other")))) == "other"
        with pytest.raises(NamespaceUnclear):
            asyncio.run(admitted(request(state, text_of_two)))
        said = []
        for name in ("other", "never_was"):
            with pytest.raises(Forbidden) as caught:
                asyncio.run(admitted(request(state, text), name))
            said.append(str(caught.value).replace(name, "NAME"))
        assert said[0] == said[1]


def test_keys_that_are_no_good(tmp_path: Path) -> None:
    good, text = new_key(["ingest"])
    other, search = new_key(["search"])
    expired, old = new_key(["ingest"])
    gone, revoked = new_key(["ingest"])
    now = int(time.time())
    known = (good, other, replace(expired, expires_at=now - 1), replace(gone, revoked_at=now))
    with gateway(tmp_path / "data", *known) as state:
        wrong: list[tuple[str, type[NeveError]]] = [
            ("", Unauthenticated), (old, Unauthenticated), (revoked, Unauthenticated), (text[:-1], Unauthenticated),
            (f"{text[:18]}{search[18:]}", Unauthenticated), (search, Forbidden),
            (new_key(["ingest"])[1], Unauthenticated),
        ]  # fmt: skip
        for one, kind in wrong:
            with pytest.raises(kind):
                asyncio.run(admitted(request(state, one), "shop"))
        forged = (("x-neve-inside", "x"), ("x-neve-via", "x"), ("x-neve-certificate", "agent-a"))
        with pytest.raises(Unauthenticated):
            asyncio.run(admitted(request(state, "", *forged), "shop"))


def test_a_certificate_says_who_sends(tmp_path: Path) -> None:
    with gateway(tmp_path / "data", new_key(["ingest"])[0]) as state:
        found = asyncio.run(identified(state, [], ("agent-a",)))
        assert found.choose("ingest", "", "default") == "shop"
        with pytest.raises(Forbidden):
            asyncio.run(identified(state, [], ("agent-b",)))


def test_a_gateway_that_knows_nothing_asks_to_come_back(tmp_path: Path) -> None:
    """Its first start, and ClickHouse is away: a key may be right, so it is not called wrong."""
    with gateway(tmp_path / "data") as state, pytest.raises(StorageUnavailable):
        asyncio.run(admitted(request(state, new_key(["ingest"])[1]), "shop"))
