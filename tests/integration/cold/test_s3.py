"""The same on S3: files by pyiceberg, read by ClickHouse, and no credential where it can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from storage.cold_config import ColdConfig, Policy
from storage.errors import ColdUnavailable
from storage.upkeep import Upkeep

Both = Any
KEY, SECRET = "AKIDHUSHHUSHHUSHHUSH", "hush-hush-secret"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
    )
    client.create_bucket(Bucket="lake")
    yield url
    server.stop()


@pytest.fixture
def on_s3(config: ColdConfig, s3: str) -> ColdConfig:
    properties = {
        "type": "sql",
        "uri": f"sqlite:///{config.folder}/catalog.db",
        "s3.endpoint": s3,
        "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET,
        "s3.region": "us-east-1",
    }
    return ColdConfig(config.folder, "s3://lake/cold", properties, default=Policy(grace_seconds=0))


def test_an_epoch_ages_to_s3(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    both = new_both(on_s3)
    both.insert(
        make_block([*events(50, tags={"region": "eu"}), {"message": b"\xff", "tags": {"k": b"\xfe"}}])
    )
    before = both.hot_events()
    assert both.age() == 51
    assert both.cold_events() == before
    assert both.count() == (51, 51)


def test_chores_on_s3(
    new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("storage.upkeep.COMPACT_FILES", 2)
    both = new_both(on_s3)
    for _ in range(4):
        both.insert(make_block(events(10)))
        both.age()
    later = 40 * 86400
    upkeep = Upkeep(both.ager, now=lambda: 1_800_000_000 + later)
    upkeep.run(both.namespace)
    assert {"compact", "expire", "orphans"} <= set(both.said())
    assert both.count() == (40, 40)


def test_credentials_are_said_nowhere(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    both = new_both(on_s3)
    both.insert(make_block(events(5)))
    both.age()
    pinned = both.cold.pin(both.namespace)
    said = [repr(pinned), pinned.source, repr(on_s3), *(one.text for one in both.steps)]
    assert not any(SECRET in one or KEY in one for one in said)
    log = both.clickhouse.log_file.read_text(errors="replace")
    assert SECRET not in log


def test_s3_that_is_away(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    properties = {**on_s3.catalog, "s3.endpoint": "http://127.0.0.1:1", "s3.connect-timeout": "1"}
    both = new_both(replace(on_s3, catalog=properties))
    both.insert(make_block(events(5)))
    with pytest.raises(ColdUnavailable) as raised:
        both.age()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert both.hot_rows() == 5
