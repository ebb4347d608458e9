"""The benchmark of the hot table speaks of the table that is."""

from __future__ import annotations

import pytest

from bench.table_variants import AS_IT_IS, TAG_VARIANTS, VARIANTS, Variant
from storage import schema
from storage.hot import Hot


def test_the_benchmark_measures_the_table_that_is(hot: Hot, namespace: str) -> None:
    database = schema.namespace_database(namespace)
    hot.execute(AS_IT_IS.ddl(f"{database}.measured"))
    of_table = f"WHERE database = '{database}' AND table = {{name:String}}"
    indexes = f"SELECT name, type_full, expr, granularity FROM system.data_skipping_indices {of_table} ORDER BY name"
    columns = f"SELECT name, type, compression_codec FROM system.columns {of_table} ORDER BY name"
    keys = f"SELECT sorting_key, partition_key FROM system.tables {of_table.replace('table =', 'name =')}"
    for sql in (indexes, columns, keys):
        measured, real = (hot.query(sql, {"name": table}).rows for table in ("measured", "events"))
        assert measured == real


@pytest.mark.parametrize("variant", [*VARIANTS, *TAG_VARIANTS], ids=lambda variant: variant.name)
def test_every_variant_can_be_made(hot: Hot, variant: Variant) -> None:
    hot.execute(variant.ddl("default.variant"))
    hot.execute("DROP TABLE default.variant SYNC")
