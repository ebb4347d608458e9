"""The files of an embedded server's folder: its configuration, password and record."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from storage.errors import StorageUnavailable

USER, SEARCHER, INSERTER = "neve", "neve_search", "neve_ingest"
"""Who owns the tables, who may only read events, and who may only insert them."""
BACKUP_DISK = "backups"
"""The disk of an embedded server that takes backups: a folder of links to where each is to be."""


def backups_folder(data_dir: Path) -> Path:
    """Where the server's disk for backups is."""
    return data_dir / "backups"


@dataclass(frozen=True)
class Record:
    """What `server.json` says: the ports, and the process by its id and start time."""

    tcp_port: int = 0
    http_port: int = 0
    pid: int = 0
    started: int = 0


def read_record(data_dir: Path) -> Record:
    """The record; an empty one when there is none."""
    try:
        return Record(**json.loads((data_dir / "server.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Record()


def write_record(data_dir: Path, record: Record) -> None:
    write_private(data_dir / "server.json", json.dumps(asdict(record)))


def read_password(data_dir: Path, user: str = USER) -> str:
    """The password of one of our users, made at random the first time."""
    path = data_dir / ("password" if user == USER else f"password.{user}")
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def write_config(data_dir: Path, tcp_port: int, http_port: int, memory_bytes: int) -> None:
    """Write the server's configuration into its private HOME."""
    home = data_dir / "home"
    users = home / "users.xml"
    query_memory = memory_bytes // 4 * 3
    passwords = {name: escape(read_password(data_dir, name)) for name in (USER, SEARCHER, INSERTER)}
    write_private(
        users,
        USERS_XML.format(
            query_memory=query_memory, searching=_grants(SEARCHING), inserting=_grants(INSERTING), **passwords
        ),
    )
    config = CONFIG_XML.format(
        tcp_port=tcp_port,
        http_port=http_port,
        users=escape(str(users)),
        log=escape(str(data_dir / "logs" / "clickhouse.log")),
        memory=memory_bytes,
        cache=memory_bytes // 16,
        backup_disk=BACKUP_DISK,
        backups=escape(str(backups_folder(data_dir))),
    )
    write_private(home / ".clickhouse-local" / "config.xml", config)


def _grants(statements: tuple[str, ...]) -> str:
    return "".join(f"<query>{escape(one)}</query>" for one in statements)


def write_private(path: Path, text: str) -> None:
    """Put a file that only its owner can read in place of the old one, wholly or not at all."""
    draft = path.with_name(path.name + ".new")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(path)
    except OSError as error:
        what = f"cannot write file: {path}: {error.strerror}"
        raise StorageUnavailable(what, "check the disk and its rights") from error


FOLDER_DEPTH = (
    3  # store/, store/xyz/, store/xyz/<a table's own>/; below are parts, which the server syncs itself
)


def sync_folders(data_dir: Path) -> list[Path]:
    """Make tables durable that the server has just made or changed; the folders that were synced.

    It syncs the files of definitions and parts, and the folder of every part, but not the folders in which it
    makes a table (seen with strace): a power cut could take away the table of rows that are on disk.
    """
    top = data_dir / "store"
    level, found = [top], [top]
    for _ in range(FOLDER_DEPTH):
        inside = (entry for folder in level for entry in os.scandir(folder))
        level = [Path(entry.path) for entry in inside if entry.is_dir(follow_symlinks=False)]
        found += level
    for folder in reversed(found):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # the server has just removed it
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return found


SEARCHING = (
    "GRANT SELECT ON neve_*.*",
    *(
        f"GRANT SELECT ON neve.{table}"
        for table in ("migrations", "epochs", "epoch_states", "snapshots", "deletions", "thaws")
    ),
    "GRANT CREATE TEMPORARY TABLE ON *.*",  # what reading the cold tier's files takes
    "GRANT READ ON FILE",
    "GRANT READ ON S3",
    "GRANT READ ON REMOTE",  # other shards, as the same user
    "GRANT NAMED COLLECTION ON *",
    "GRANT SELECT ON system.processes",  # its own, to stop them
    "GRANT SELECT ON system.parts",  # of tables that it may read: which epochs are hot
)
"""Events of both tiers, and which of them are where; neither keys nor anything that changes."""

INSERTING = ("GRANT INSERT ON neve_*.*",)
"""Nothing can be read. The views that count what comes run as who made them."""

# Merges of 31 maps are many streams: few at once, so that a small machine keeps memory for queries. What logs
# have no use for is off or small. A section <compression>, which a real server would take, collides with
# an option of clickhouse-local and ends it silently.
CONFIG_XML = """<clickhouse>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>{tcp_port}</tcp_port>
  <http_port>{http_port}</http_port>
  <users_config>{users}</users_config>
  <log-level>warning</log-level>
  <logger><log>{log}</log><size>20M</size><count>3</count></logger>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{cache}</mark_cache_size>
  <primary_index_cache_size>{cache}</primary_index_cache_size>
  <index_mark_cache_size>{cache}</index_mark_cache_size>
  <query_condition_cache_size>33554432</query_condition_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <max_concurrent_queries>64</max_concurrent_queries>
  <asynchronous_metrics_update_period_s>60</asynchronous_metrics_update_period_s>
  <send_crash_reports><enabled>false</enabled></send_crash_reports>
  <merge_tree><old_parts_lifetime>60</old_parts_lifetime></merge_tree>
  <storage_configuration><disks><{backup_disk}>
    <type>local</type><path>{backups}/</path>
  </{backup_disk}></disks></storage_configuration>
  <backups><allowed_disk>{backup_disk}</allowed_disk></backups>
</clickhouse>
"""

# The engine logs itself in as `default` without a password, so that user must exist: it may start the
# listeners and nothing else.
USERS_XML = """<clickhouse>
  <profiles>
    <default>
      <log_queries>0</log_queries>
      <fsync_metadata>1</fsync_metadata>
      <max_memory_usage>{query_memory}</max_memory_usage>
    </default>
    <launcher>
      <log_queries>0</log_queries>
      <max_memory_usage>100000000</max_memory_usage>
    </launcher>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>launcher</profile>
      <quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query></grants>
    </default>
    <neve>
      <password>{neve}</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </neve>
    <neve_search>
      <password>{neve_search}</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>{searching}</grants>
    </neve_search>
    <neve_ingest>
      <password>{neve_ingest}</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>{inserting}</grants>
    </neve_ingest>
  </users>
</clickhouse>
"""
