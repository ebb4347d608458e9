"""What Neve's ingest is compared with: the same JSON lines into one plain table with one Map column.

    python -m bench.baselines NAME CLICKHOUSE_URL HTTP_PORT FILE

Run as a process of its own, so that its CPU time can be told from the server's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from storage.config import ClickHouseConfig

BATCH = 100_000
REQUEST_BYTES = 8 << 20
CONNECTIONS = 2

TABLE = """
CREATE TABLE baseline (
    timestamp DateTime64(9, 'UTC'), level LowCardinality(String), service LowCardinality(String),
    host LowCardinality(String), message String, tags Map(LowCardinality(String), String)
) ENGINE = MergeTree ORDER BY (service, timestamp)
"""
COLUMNS = ["timestamp", "level", "service", "host", "message", "tags"]


def batches(path: Path) -> Iterator[list[list[Any]]]:
    """Lists of values, column by column."""
    with open(path, "rb") as lines:
        while rows := [json.loads(line) for line in islice(lines, BATCH)]:
            stamps = [datetime.fromisoformat(row["timestamp"][:26]).replace(tzinfo=UTC) for row in rows]
            yield [stamps, *([row[name] for row in rows] for name in COLUMNS[1:])]


def driver(config: ClickHouseConfig, _port: int, path: Path) -> None:
    """clickhouse-driver: Python lists over the native protocol, with LZ4."""
    from clickhouse_driver import Client

    settings = {"network_compression_method": "LZ4"}  # else the server answers in ZSTD
    login = {"user": config.user, "password": config.password}
    client = Client(config.host, config.port, **login, compression="lz4", settings=settings)
    for columns in batches(path):
        client.execute(f"INSERT INTO baseline ({', '.join(COLUMNS)}) VALUES", columns, columnar=True)


def connect(config: ClickHouseConfig, port: int, path: Path) -> None:
    """clickhouse-connect: Python lists over HTTP in the native format, with LZ4."""
    import clickhouse_connect

    client = clickhouse_connect.get_client(
        host=config.host, port=port, username=config.user, password=config.password, compress="lz4"
    )
    for columns in batches(path):
        client.insert("baseline", columns, column_names=COLUMNS, column_oriented=True)


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """The file in pieces of whole lines."""
    with open(path, "rb") as file:
        while piece := file.read(size):
            yield piece + file.readline()


def jsoneachrow(config: ClickHouseConfig, port: int, path: Path) -> None:
    """ClickHouse's own reader of JSON lines, over HTTP in requests of 8 MiB, two at a time."""
    settings = {"query": "INSERT INTO baseline FORMAT JSONEachRow", "date_time_input_format": "best_effort"}
    with (
        httpx.Client(timeout=120, trust_env=False, auth=(config.user, config.password)) as client,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):

        def send(piece: bytes) -> None:
            client.post(f"http://{config.host}:{port}/", params=settings, content=piece).raise_for_status()

        waiting = []
        for piece in pieces(path, REQUEST_BYTES):
            waiting.append(pool.submit(send, piece))
            if len(waiting) > CONNECTIONS:
                waiting.pop(0).result()
        for future in waiting:
            future.result()


BASELINES = {
    "clickhouse-driver": driver,
    "clickhouse-connect": connect,
    "clickhouse-jsoneachrow": jsoneachrow,
}


def main() -> int:
    name, url, port, path = sys.argv[1:]
    BASELINES[name](ClickHouseConfig.from_url(url), int(port), Path(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
