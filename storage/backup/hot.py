"""The hot tier in a backup: the tables of one ClickHouse server (or shard) as they were at one moment.

`freeze` clones them, which takes hard links and no time to speak of; `write` lets the server back the clones up, which
takes as long as it takes while it goes on with its work; `thaw` lets them go. Nothing may insert, nor move events
between the tiers, while they are cloned: then they are of one moment.
"""

from __future__ import annotations

import re
import secrets
import time

from storage import migrations, schema
from storage.backup.manifest import HotPart
from storage.errors import BackupFailed, BackupRefused
from storage.hot import Hot

CLONES = "nevebackup"
"""Starts the names of databases that hold clones; no namespace's database does."""
HALF = migrations.HALF_RESTORED
AT_WORK = frozenset(("leases", "inserters", "evictions", "waiting"))
"""Tables of the system that say who is at work now: nothing of it holds after a restore."""
SCRATCH = frozenset((schema.REBUILT_ROLLUP, schema.REBUILT_COUNTS, schema.KEPT_EVENTS))
NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
DISK = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
POLL_SECONDS = 0.1


def freeze(hot: Hot, disk: str = "", name: str = "") -> HotPart:
    """Clone every table that has something to keep; what was cloned. Raises NeveError; `thaw` removes what there is.

    `disk`: which it will be written to; `name`: of the shard.
    """
    thaw(hot)
    tables: list[tuple[str, str]] = []
    scopes = [migrations.SYSTEM_SCOPE, *hot.namespaces()]
    for scope in scopes:
        database = schema.namespace_database(scope) if scope else schema.SYSTEM_DATABASE
        hot.execute(f"CREATE DATABASE {_clones_of(database)}")
        for table in _tables(hot, database):
            hot.execute(f"CREATE TABLE {_clones_of(database)}.{table} CLONE AS {database}.{table}")
            tables.append((database, table))
    versions = {scope: tuple(sorted(migrations.applied(hot, scope))) for scope in scopes}
    return HotPart(hot.version(), disk, tuple(tables), versions, hot.number, name)


def thaw(hot: Hot) -> None:
    """Remove every clone, also those of a backup that was killed. Raises NeveError."""
    sql = "SELECT name FROM system.databases WHERE startsWith(name, {start:String}) ORDER BY name"
    for database in hot.scalars(sql, {"start": CLONES}):
        if NAME.fullmatch(database):
            hot.execute(f"DROP DATABASE IF EXISTS {database} SYNC")


def write(hot: Hot, part: HotPart, disk: str, path: str, base: str = "") -> None:
    """Let the server write the clones to a path of one of its disks; what the backup at `base` has is left out.

    Raises BackupFailed, NeveError.
    """
    listed = ", ".join(f"TABLE {_clones_of(database)}.{table}" for database, table in part.tables)
    settings = {"id": f"'{secrets.token_hex(8)}'"}
    if base:
        settings["base_backup"] = _place(disk, base)
    _do(hot, f"BACKUP {listed} TO {_place(disk, path)}", settings)


def restore(hot: Hot, part: HotPart, disk: str, path: str) -> None:
    """Make the tables as they were, with all that was in them, on a server that has none of ours, and migrate them.

    Nobody uses the server until `finish`. Raises BackupRefused where it has some, ConfigError where a newer Neve made
    the backup, BackupFailed, NeveError.
    """
    refuse_used(hot)
    for scope, versions in part.migrations.items():
        migrations.check_known(scope, set(versions))
    hot.execute(f"CREATE DATABASE {HALF}")
    for scope, versions in part.migrations.items():
        migrations.build(hot, scope, set(versions))
    made = [(database, table) for database, table in part.tables if _are_names(database, table)]
    listed = ", ".join(
        f"TABLE {_clones_of(database)}.{table} AS {database}.{table}" for database, table in made
    )
    # The fences of closed epochs are in the definitions that were backed up, and are put up again by `migrate`.
    _do(hot, f"RESTORE {listed} FROM {_place(disk, path)}", {"allow_different_table_def": "1"})
    hot.migrate(restoring=True)


def finish(hot: Hot) -> None:
    """All that belongs to the restore is there: the server may be used."""
    hot.execute(f"DROP DATABASE IF EXISTS {HALF} SYNC")


def refuse_used(hot: Hot) -> None:
    """Raises BackupRefused where the server has tables of ours."""
    sql = "SELECT name FROM system.databases WHERE name IN {names:Array(String)}"
    found = hot.scalars(sql, {"names": [schema.SYSTEM_DATABASE, HALF]})
    if HALF in found:
        raise BackupRefused(
            "cannot restore: an earlier restore did not finish on this clickhouse",
            f"drop its databases whose names begin with {schema.SYSTEM_DATABASE}",
        )
    if found:
        raise BackupRefused(
            "cannot restore: this clickhouse has databases of neve",
            "name an empty server, or an empty folder",
        )


def _tables(hot: Hot, database: str) -> list[str]:
    sql = (
        "SELECT name FROM system.tables WHERE database = {database:String} AND endsWith(engine, 'MergeTree') "
        "ORDER BY name"
    )
    left_out = AT_WORK if database == schema.SYSTEM_DATABASE else SCRATCH
    found = hot.scalars(sql, {"database": database})
    return [name for name in found if name not in left_out and NAME.fullmatch(name)]


def _are_names(*names: str) -> bool:
    """Names out of a file become part of a statement."""
    if not all(NAME.fullmatch(name) for name in names):
        raise BackupRefused(f"cannot restore table: {'.'.join(names)!r} is no name of neve's")
    return True


def _clones_of(database: str) -> str:
    return CLONES + database.removeprefix(schema.SYSTEM_DATABASE)


def _place(disk: str, path: str) -> str:
    if not DISK.fullmatch(disk) or not re.fullmatch(r"[0-9a-z/]+", path):
        raise BackupRefused(
            f"cannot use disk of clickhouse: {disk!r}, {path!r}", "give a name of letters and digits"
        )
    return f"Disk('{disk}', '{path}')"


def _do(hot: Hot, statement: str, settings: dict[str, str]) -> None:
    """Start it, and wait for its end however long it takes."""
    given = ", ".join(f"{name} = {value}" for name, value in settings.items())
    id_ = str(hot.query(f"{statement} SETTINGS {given} ASYNC").rows[0][0])
    while True:
        found = hot.query("SELECT status, error FROM system.backups WHERE id = {id:String}", {"id": id_}).rows
        status, error = found[0] if found else ("", "the server has forgotten it")
        if status in ("BACKUP_CREATED", "RESTORED"):
            return
        if status not in ("CREATING_BACKUP", "RESTORING"):
            why = str(error).partition("\n")[0][:300]
            raise BackupFailed(f"cannot finish backup: clickhouse says {status.lower() or 'nothing'}: {why}")
        time.sleep(POLL_SECONDS)
