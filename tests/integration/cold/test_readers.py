"""Others read the table: what its openness is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pytest

from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.upkeep import data_files

Both = Any


@pytest.fixture
def aged(both: Both, make_block: Any, events: Any) -> Both:
    tags = {"region": "eu", "user_id": "u1"}
    both.insert(
        make_block([*events(300, tags=tags, level="warn"), {"message": b"\xff\0", "tags": {b"\xfe": b"x"}}])
    )
    both.age()
    return both


def paths(both: Both) -> list[str]:
    table = both.cold.catalog.table(both.namespace)
    return [file.file_path.removeprefix("file://") for file in data_files(table)]


def test_pyiceberg(aged: Both) -> None:
    table = aged.cold.catalog.table(aged.namespace)
    assert table.scan().to_arrow().num_rows == 301
    found = table.scan(
        row_filter="service = 'shop' AND level = 'warn'", selected_fields=("message", "tags_00")
    ).to_arrow()
    assert found.num_rows == 300
    assert table.scan(row_filter="timestamp < '2000-01-01T00:00:00+00:00'").count() == 1


def test_pyarrow(aged: Both) -> None:
    dataset = ds.dataset(paths(aged), format="parquet")
    assert dataset.count_rows() == 301
    assert dataset.schema.field("message_raw").type == "binary"
    dataset.to_table().validate(full=True)


def test_duckdb(aged: Both) -> None:
    """Strict about texts that are not UTF-8."""
    files = ", ".join(f"'{path}'" for path in paths(aged))
    sql = f"SELECT count(*), count(message_raw), sum(length(message)) > 0 FROM read_parquet([{files}])"
    assert duckdb.sql(sql).fetchall() == [(301, 1, True)]
    shop = f"SELECT count(*) FROM read_parquet([{files}]) WHERE service = 'shop'"
    assert duckdb.sql(shop).fetchall() == [(300,)]


def test_fresh_clickhouse(aged: Both, tmp_path: Path) -> None:
    location = aged.cold.catalog.table(aged.namespace).location().removeprefix("file://")
    with EmbeddedServer(tmp_path / "fresh", lake=Path(location)) as server, Hot(server.config) as hot:
        assert hot.scalars(f"SELECT count() AS n FROM icebergLocal('{location}')") == [301]


def test_field_ids_docs_and_bounds(aged: Both) -> None:
    table = aged.cold.catalog.table(aged.namespace)
    assert all(field.doc for field in table.schema().fields)
    written = ds.dataset(paths(aged), format="parquet").schema
    for field in table.schema().fields:
        assert written.field(field.name).metadata[b"PARQUET:field_id"] == str(field.field_id).encode()
    file = max(data_files(table), key=lambda one: one.record_count)
    bounded = {table.schema().find_column_name(id_) for id_ in file.lower_bounds}
    assert bounded == {
        "timestamp",
        "block_id",
        "epoch",
        "level",
        "service",
        "host",
        "fingerprint",
        "trace_id",
    }
    assert [field.name for field in table.spec().fields] == ["timestamp_day"]


def test_pruning_reads_little(both: Both, make_block: Any, events: Any) -> None:
    """A query over one day does not open the files of others."""
    both.insert(make_block(events(400, step=86400 * 10**9 // 4)))
    both.age()
    pinned = both.cold.pin(both.namespace)
    low = 1_700_000_000 * 10**9 + 10 * 86400 * 10**9
    sql = f"SELECT count() AS n FROM ({pinned.select(['timestamp'], low, low + 86400 * 10**9)}) WHERE timestamp > 0"
    found = both.hot.query(sql, pinned.parameters)
    assert found.rows == [(4,)]
    assert found.rows_read <= 8
    assert pinned.overlaps(low, low + 1)
    assert not pinned.overlaps(None, 0)
    assert not pinned.overlaps(1_900_000_000 * 10**9, None)
