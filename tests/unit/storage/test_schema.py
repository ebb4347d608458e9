from __future__ import annotations

import pytest

from storage import migrations, schema
from storage.errors import NeveError


def test_columns_of_an_event() -> None:
    names = [name for name, _ in schema.EVENT_COLUMNS]
    assert names[:8] == [
        "timestamp", "level", "service", "host", "message", "fingerprint", "trace_id", "span_id",
    ]  # fmt: skip
    assert names[8:39] == [f"tags_{shard:02d}" for shard in range(31)]
    assert names[39:] == ["block_id", "row", "epoch"]


@pytest.mark.parametrize("name", ["a", "main", "a_1", "x" * 48])
def test_namespaces(name: str) -> None:
    assert schema.namespace_database(name) == f"neve_{name}"


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a.b", "a b", "a`", "é", "a\n", "x" * 49])
def test_names_that_cannot_be_namespaces(name: str) -> None:
    with pytest.raises(NeveError, match="cannot use namespace"):
        schema.namespace_database(name)


@pytest.mark.parametrize("known", [migrations.SYSTEM, migrations.NAMESPACE])
def test_migrations_are_numbered_in_order(known: tuple[migrations.Migration, ...]) -> None:
    versions = [migration.version for migration in known]
    assert versions == sorted(set(versions))
    assert versions[0] == 1


def test_every_table_is_durable() -> None:
    tables = [sql for migration in migrations.NAMESPACE for sql in migration.statements("neve_x")]
    tables += [sql for migration in migrations.SYSTEM for sql in migration.statements("neve")]
    for sql in [*tables, schema.migrations_table()]:
        assert "CREATE TABLE" not in sql or "fsync_after_insert = 1" in sql
