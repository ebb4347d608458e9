"""A cold tier of one test's own on the shared server, and ways to fill, age and read both tiers.

`both` is in a folder; a test that is marked `parametrize("both", ["folder", "s3"], indirect=True)` runs on S3 too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from storage.ageing import Ager, Step, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig, Policy
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native.block import SealedBlock

KEY, SECRET = "AKIDHUSHHUSHHUSHHUSH", "hush-hush-secret"

EVENT = """
    toUnixTimestamp64Nano(timestamp) AS at, hex(level) AS level, hex(service) AS service, hex(host) AS host,
    hex(message) AS message, fingerprint, hex(trace_id) AS trace, hex(span_id) AS span, hex(block_id) AS block, row,
    epoch, arrayMap(t -> (hex(t.1), hex(t.2)), arraySort(arrayConcat({tags}))) AS tags
""".format(tags=", ".join(f"CAST(tags_{shard:02d}, 'Array(Tuple(String, String))')" for shard in range(31)))


class Both:
    """One namespace in both tiers."""

    def __init__(self, hot: Hot, cold: ColdTier, clickhouse: EmbeddedServer, namespace: str) -> None:
        self.hot, self.cold, self.namespace = hot, cold, namespace
        self.clickhouse = clickhouse
        self.steps: list[Step] = []
        self.ager = Ager(hot, clickhouse.config, cold, self.steps.append)
        self.database = f"neve_{namespace}"

    def insert(self, *blocks: SealedBlock) -> int:
        epoch = self.hot.current_epoch(self.namespace)
        for block in blocks:
            self.hot.insert_blocks(self.namespace, [block], epoch, block.header.block_id.hex())
        return epoch

    def age(self, grace: float = 0, **wish: Any) -> int:
        return self.ager.age(self.namespace, Wish(now=True, grace=grace, **wish))

    def said(self) -> list[str]:
        return [one.step for one in self.steps]

    def hot_rows(self) -> int:
        return int(self.hot.scalars(f"SELECT count() AS n FROM {self.database}.events")[0])

    def hot_events(self) -> list[tuple[Any, ...]]:
        return self.hot.query(f"SELECT {EVENT} FROM {self.database}.events ORDER BY block, row").rows

    def cold_events(self) -> list[tuple[Any, ...]]:
        pinned = self.cold.pin(self.namespace)
        assert pinned is not None
        inner = pinned.select(pinned.columns())
        return self.hot.query(f"SELECT {EVENT} FROM ({inner}) ORDER BY block, row", pinned.parameters).rows

    def count(self) -> tuple[int, int]:
        """Events and distinct ids over both tiers, by the rule of the record."""
        pinned = self.cold.pin(self.namespace)
        where = pinned.record.hot_condition() if pinned is not None else "1"
        sql = f"SELECT block_id, row FROM {self.database}.events WHERE {where}"
        if pinned is not None:
            sql += f" UNION ALL {pinned.select(['block_id', 'row'])}"
        found = self.hot.query(
            f"SELECT count() AS n, uniqExact(block_id, row) AS ids FROM ({sql})",
            pinned.parameters if pinned is not None else {},
        ).rows[0]
        return int(found[0]), int(found[1])


@pytest.fixture
def config(clickhouse: EmbeddedServer, namespace: str) -> ColdConfig:
    return ColdConfig(clickhouse.lake / namespace, default=Policy(grace_seconds=0), namespaces={})


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """An S3 with a bucket `lake`; its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
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
    """The same on S3, but for the catalog."""
    properties = {
        "type": "sql",
        "uri": f"sqlite:///{config.folder}/catalog.db",
        "s3.endpoint": s3,
        "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET,
        "s3.region": "us-east-1",
    }
    warehouse = f"s3://lake/{config.folder.name}"
    return ColdConfig(config.folder, warehouse, properties, default=Policy(grace_seconds=0), namespaces={})


@pytest.fixture
def both(
    request: pytest.FixtureRequest, hot: Hot, clickhouse: EmbeddedServer, config: ColdConfig, namespace: str
) -> Both:
    if getattr(request, "param", "folder") == "s3":
        config = request.getfixturevalue("on_s3")
    return Both(hot, ColdTier(config), clickhouse, namespace)


@pytest.fixture
def new_both(hot: Hot, clickhouse: EmbeddedServer, namespace: str) -> Callable[[ColdConfig], Both]:
    """The same namespace over another cold tier."""
    return lambda config: Both(hot, ColdTier(config), clickhouse, namespace)


@pytest.fixture
def events() -> Callable[..., Sequence[dict[str, Any]]]:
    """Make plain events of one service, a second apart."""

    def make(
        count: int, start: int = 1_700_000_000 * 10**9, step: int = 10**9, **more: Any
    ) -> list[dict[str, Any]]:
        return [
            {
                "timestamp": start + i * step,
                "service": "shop",
                "message": f"number {i}",
                "fingerprint": i,
                **more,
            }
            for i in range(count)
        ]

    return make
