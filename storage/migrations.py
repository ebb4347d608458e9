"""Numbered changes to the tables, each applied once a scope and recorded.

ClickHouse has no transaction around DDL, so a crash may leave a migration applied and not recorded: every
statement can be run again without harm. A number is never used again and a published migration never changes;
the way forward is one more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from storage import schema
from storage.errors import ConfigError

SYSTEM_SCOPE = ""
HALF_RESTORED = "neverestoring"
"""A database that is there while a backup is being put back; no namespace's has such a name."""


class Runner(Protocol):
    """The part of `Hot` that migrations need."""

    def execute(self, sql: str, params: dict[str, Any] | None = None) -> None: ...

    def scalars(self, sql: str, params: dict[str, Any] | None = None) -> list[Any]: ...


@dataclass(frozen=True)
class Migration:
    """One change: its number, what it does, and its statements for a database."""

    version: int
    name: str
    statements: Callable[[str], list[str]]


SYSTEM: tuple[Migration, ...] = (
    Migration(1, "registry of epochs", lambda _database: [schema.epochs_table()]),
    Migration(
        2,
        "registry of inserters, states of epochs",
        lambda _database: [
            schema.epochs_opener_column(),
            schema.epoch_states_table(),
            schema.inserters_table(),
            schema.evictions_table(),
        ],
    ),
    Migration(3, "leases", lambda _database: [schema.leases_table()]),
    Migration(4, "snapshots of the cold tier", lambda _database: [schema.snapshots_table()]),
    Migration(5, "deletions", lambda _database: [schema.deletions_table()]),
    Migration(6, "thaws", lambda _database: [schema.epoch_states_thawed(), schema.thaws_table()]),
    Migration(7, "what inserters keep", lambda _database: [schema.deletions_kept(), schema.waiting_table()]),
    Migration(
        8,
        "keys, roles, settings of namespaces",
        lambda _database: [schema.documents_table(name) for name in schema.DOCUMENTS],
    ),
    Migration(
        9,
        "saved searches, links, alerts",
        lambda _database: [
            *(schema.documents_table(name) for name in schema.LATER_DOCUMENTS),
            schema.alert_deliveries_table(),
        ],
    ),
)

NAMESPACE: tuple[Migration, ...] = (
    Migration(
        1,
        "events, templates, seen, rollup",
        lambda database: [
            f"CREATE DATABASE IF NOT EXISTS {database}",
            schema.events_table(database),
            schema.templates_table(database),
            schema.seen_table(database),
            schema.rollup_table(database),
            schema.rollup_table(database, schema.REBUILT_ROLLUP),
            schema.seen_view(database),
            schema.rollup_view(database),
        ],
    ),
    Migration(2, "indexes for words, tags, fingerprints and traces", schema.choose_events_table),
    Migration(3, "patterns of fingerprints", lambda database: [schema.patterns_table(database)]),
    Migration(4, "counts by minute, service and level", schema.count_by_minute),
    Migration(5, "index for scripts without spaces", schema.add_later_indexes),
    Migration(6, "counting views run as the owner", schema.views_of_owner),
)


def refuse_half(runner: Runner) -> None:
    """Raises ConfigError where a backup is being put back, or was not put back to its end."""
    if runner.scalars("SELECT 1 AS x FROM system.databases WHERE name = {n:String}", {"n": HALF_RESTORED}):
        raise ConfigError(
            "cannot use this clickhouse: a backup was not put back to its end there",
            f"wait for neve restore, or drop the databases whose names begin with {schema.SYSTEM_DATABASE} "
            "and restore again",
        )


def apply_system(runner: Runner) -> int:
    """Bring the system database to the present version; how many migrations that took."""
    runner.execute(f"CREATE DATABASE IF NOT EXISTS {schema.SYSTEM_DATABASE}")
    runner.execute(schema.migrations_table())
    return _apply(runner, SYSTEM_SCOPE, schema.SYSTEM_DATABASE, SYSTEM)


def apply_namespace(runner: Runner, namespace: str) -> int:
    """Bring one namespace to the present version, making it when it is not there; how many migrations."""
    return _apply(runner, namespace, schema.namespace_database(namespace), NAMESPACE)


def namespaces(runner: Runner) -> list[str]:
    """The namespaces that were made, in alphabetical order."""
    sql = f"SELECT DISTINCT scope FROM {schema.SYSTEM_DATABASE}.migrations WHERE scope != '' ORDER BY scope"
    return runner.scalars(sql)


def forget(runner: Runner, namespace: str) -> None:
    """Forget that a namespace was made; its tables are gone."""
    schema.namespace_database(namespace)
    table = f"{schema.SYSTEM_DATABASE}.migrations"
    runner.execute(f"DELETE FROM {table} WHERE scope = {{scope:String}}", {"scope": namespace})


def check_known(namespace: str, versions: set[int]) -> None:
    """Raises ConfigError for a version of a namespace's tables (the system's where it is empty) of a newer Neve."""
    known = SYSTEM if namespace == SYSTEM_SCOPE else NAMESPACE
    if unknown := versions - {one.version for one in known}:
        raise ConfigError(
            f"cannot make tables of version {max(unknown)}: a newer neve made them", "use that or a later one"
        )


def build(runner: Runner, namespace: str, versions: set[int]) -> None:
    """Make the tables of a namespace, or of the system where it is empty, as they were at these versions.

    Nothing is recorded: what is put into them says it.
    """
    system = namespace == SYSTEM_SCOPE
    database = schema.SYSTEM_DATABASE if system else schema.namespace_database(namespace)
    known = SYSTEM if system else NAMESPACE
    if system:
        runner.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
        runner.execute(schema.migrations_table())
    for migration in known:
        if migration.version in versions:
            for statement in migration.statements(database):
                runner.execute(statement)


def applied(runner: Runner, namespace: str) -> set[int]:
    """The versions that a namespace has, or the system where it is empty."""
    sql = f"SELECT version FROM {schema.SYSTEM_DATABASE}.migrations WHERE scope = {{scope:String}}"
    return set(runner.scalars(sql, {"scope": namespace}))


def _apply(runner: Runner, scope: str, database: str, migrations: tuple[Migration, ...]) -> int:
    known = applied(runner, scope)
    due = [migration for migration in migrations if migration.version not in known]
    for migration in due:
        for statement in migration.statements(database):
            runner.execute(statement)
        _record(runner, scope, migration)
    return len(due)


def _record(runner: Runner, scope: str, migration: Migration) -> None:
    runner.execute(
        f"INSERT INTO {schema.SYSTEM_DATABASE}.migrations "
        "SELECT {scope:String}, {version:UInt32}, {name:String}, now64(3)",
        {"scope": scope, "version": migration.version, "name": migration.name},
    )
