"""What keeps a cold table in order: retention, compaction, expiry of snapshots, orphans. All under the ager's lease.

retention    partitions whose events are all older than they are to be kept go, and their counts with them
compaction   many small files of a partition, of epochs that are cold for good, become few
expiry       snapshots that nobody pins any more are forgotten
orphans      files that no snapshot names go, once they are older than any commit under way
deletions    requests that nothing on the way can be about any more are forgotten
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from pyarrow import fs
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from storage import cold_columns, cold_schema, deletions, parquet, schema
from storage.ageing import Ager, Pass, Wish, has_cold
from storage.cold_config import Policy
from storage.commits import Change, commit, speaking_of
from storage.hot import Hot
from storage.leases import held
from storage.numbers import shard_of
from storage.parquet import rows_of
from storage.record import Record, record_at
from storage.retention import DAY_SECONDS, longest_days, retain_services
from storage.rewriting import Rewriter, data_files

COMPACT_FILES = 8
"""So many small files of a partition are worth the work: an hour each makes a day's 24 into a few."""
SMALL_BYTES = parquet.FILE_BYTES // 4
ORPHAN_SECONDS = 86400.0
"""No copy of an epoch, and no commit, takes that long."""

Now = Callable[[], float]


@dataclass
class Upkeep:
    """The chores of one ager."""

    ager: Ager
    now: Now = time.time

    def run(self, namespace: str, *, of_table: bool = True) -> None:
        """All chores of a namespace. Raises AgerBusy and what the ager raises.

        `of_table`: those of the cold table too; where there are shards, one of them has these done for all.
        """
        policy = self.ager.cold.config.policy(namespace)
        with held(self.ager.hot, f"ager of {namespace}") as lease:
            if gone := deletions.forget(self.ager.hot, namespace, self.now()):
                self.ager.say("forget", namespace, f"{gone} deletions hold no longer, and are forgotten")
            retain_services(self.ager, namespace, policy, self.now(), lease)
            if policy.tier == "hot":
                self.drop_old_epochs(namespace, policy)
            table = self.ager.table(namespace) if of_table and has_cold(self.ager, namespace) else None
            if table is None or table.current_snapshot() is None:
                return
            if policy.tier == "hot":  # what was cold before is still read, and goes when it is as old
                commit(table, "give-up", lambda _table, record: self._given_up(namespace, record))
            self.retain(namespace, table, policy)
            self.compact(namespace, table)
            self.expire(namespace, table, policy)
            # Before the files go that only earlier snapshots name.
            Pass(self.ager, namespace, Wish(), lease).publish(table)
            self.remove_orphans(namespace, table)

    # --- retention -------------------------------------------------------------------------------------------

    def drop_old_epochs(self, namespace: str, policy: Policy) -> int:
        """Of a namespace that has no cold tier: epochs that ended before the days for which any service of it is kept;
        how many. What goes earlier has gone event by event."""
        days = longest_days(policy)
        if not days:
            return 0
        hot, before = self.ager.hot, self.now() - days * DAY_SECONDS
        closed = hot.epochs.closed_through(namespace)
        ends = hot.epochs.ends(namespace)
        database, dropped = schema.namespace_database(namespace), 0
        sql = f"SELECT DISTINCT epoch AS e FROM {database}.rollup WHERE epoch <= {{closed:UInt32}} ORDER BY e"
        for epoch in hot.scalars(sql, {"closed": closed}):
            if ends.get(epoch, before) >= before:
                break
            hot.epochs.mark_dropped(namespace, epoch)
            hot.drop_epoch(namespace, epoch)
            for counts in ("rollup", "counts"):
                hot.execute(f"ALTER TABLE {database}.{counts} DROP PARTITION {int(epoch)}")
            self.ager.say("retention", namespace, f"epoch {epoch}: gone after {days} days", epoch)
            dropped += 1
        return dropped

    def _given_up(self, namespace: str, record: Record) -> Change | None:
        """The record is to name what has left the hot tier, as it does of a namespace that ages."""
        advanced = record.advanced(self.ager.hot.epochs.dropped_through(namespace))
        return Change(advanced) if advanced != record else None

    def retain(self, namespace: str, table: Table, policy: Policy) -> int:
        """Let old partitions go; how many events. Those that are hot still go once they have aged."""
        days = longest_days(policy)
        if not days:
            return 0
        edge = int(self.now()) - days * DAY_SECONDS
        gone = 0

        def change(table: Table, record: Record) -> Change | None:
            nonlocal gone
            unit = cold_columns.UNIT_SECONDS[cold_schema.unit_of(table.spec())]
            old = [file for file in data_files(table) if (file.partition[0] + 1) * unit <= edge]
            gone = rows_of(old)
            return Change(record, delete=tuple(old)) if old else None

        if commit(table, "retention", change) is None:
            return 0
        unit = cold_columns.UNIT_SECONDS[cold_schema.unit_of(table.spec())]
        database = schema.namespace_database(namespace)
        first = max(edge // unit * unit, 0)  # what is kept begins here
        record = record_at(table)

        def forget(hot: Hot) -> None:
            for counts, minute in (("rollup", f"toDateTime({first}, 'UTC')"), ("counts", str(first // 60))):
                hot.execute(
                    f"ALTER TABLE {database}.{counts} DELETE WHERE epoch <= {int(record.shard(hot.number).through)} "
                    f"AND minute < {minute} SETTINGS mutations_sync = 1"
                )

        forget(self.ager.hot)
        if self.ager.shards is not None:
            self.ager.shards.each(lambda one: forget(one.hot), without=self.ager.hot.number)
        self.ager.say("retention", namespace, f"{gone:,} events older than {days} days are gone")
        return gone

    # --- compaction ------------------------------------------------------------------------------------------

    def compact(self, namespace: str, table: Table) -> int:
        """Make few files of many; how many partitions it was done for."""
        table.refresh()
        record = record_at(table)
        small: defaultdict[int, list[DataFile]] = defaultdict(list)
        for file in data_files(table):
            if file.file_size_in_bytes < SMALL_BYTES and _is_settled(record, _highest_epoch(table, file)):
                small[file.partition[0]].append(file)
        worth = {slot: files for slot, files in small.items() if len(files) >= COMPACT_FILES}
        for _, files in sorted(worth.items()):
            self._compact(namespace, table, files)
        return len(worth)

    def _compact(self, namespace: str, table: Table, files: list[DataFile]) -> None:
        ager = self.ager
        rewriter = Rewriter(ager.hot, ager.clickhouse, ager.cold, namespace, table)
        pinned = rewriter.pinned()
        written = rewriter.rewrite(pinned, files, "c")
        if rewriter.replace("compact", pinned, files, written):
            text = f"{len(files)} files of {rows_of(files):,} events became {len(written)}"
            ager.say("compact", namespace, text)

    # --- snapshots and orphans -------------------------------------------------------------------------------

    def expire(self, namespace: str, table: Table, policy: Policy) -> int:
        """Forget snapshots but the last that are older than the policy's days; how many."""
        edge = (self.now() - policy.snapshot_days * DAY_SECONDS) * 1000
        expired: frozenset[int] = frozenset()

        def change(table: Table, record: Record) -> Change | None:
            nonlocal expired
            heads = {ref.snapshot_id for ref in table.metadata.refs.values()}
            old = [one for one in table.metadata.snapshots if one.timestamp_ms < edge]
            expired = frozenset(one.snapshot_id for one in old) - heads
            return Change(record, expire=expired) if expired else None

        commit(table, "expire", change)
        if expired:
            self.ager.say("expire", namespace, f"{len(expired)} snapshots are forgotten")
        return len(expired)

    def remove_orphans(self, namespace: str, table: Table) -> int:
        """Delete files in the table's folder that nothing names and that are old; how many."""
        dropped = self.ager.hot.epochs.dropped_through(namespace)
        with speaking_of(table):
            table.refresh()
            if dropped and not record_at(table).names(dropped):
                return 0  # the catalog is an old one, and what looks like an orphan is the only copy
            named = named_files(table)
            edge = datetime.fromtimestamp(self.now(), UTC) - timedelta(seconds=ORPHAN_SECONDS)
            orphans = [
                location
                for location, changed in stored_files(table)
                if location not in named and changed < edge
            ]
            for location in orphans:
                table.io.delete(location)
        if orphans:
            self.ager.say("orphans", namespace, f"{len(orphans)} files that nothing names are gone")
        return len(orphans)


def named_files(table: Table) -> set[str]:
    """The locations of every file that a snapshot reads, or that the table's metadata name.

    A file that a snapshot says was deleted is read by an earlier one, or by none any more.
    """
    named = {table.metadata_location, *(one.metadata_file for one in table.metadata.metadata_log)}
    for snapshot in table.metadata.snapshots:
        named.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in named:
                continue
            named.add(manifest.manifest_path)
            named.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
    return named


def stored_files(table: Table) -> Iterator[tuple[str, datetime]]:
    """Every file in the table's folder: its location and when it was written."""
    location = table.location().rstrip("/")
    parts = urlsplit(location)
    filesystem = table.io.fs_by_scheme(parts.scheme or "file", parts.netloc)  # type: ignore[attr-defined]
    root = f"{parts.netloc}{parts.path}"
    for found in filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True)):
        if found.type == fs.FileType.File and found.mtime is not None:
            yield location + found.path.removeprefix(root), found.mtime


def _is_settled(record: Record, epoch: int) -> bool:
    """Is this epoch, and all that a file has below it, cold for good? Files of several shards were, when made."""
    return epoch <= record.shard(shard_of(epoch)).through


def _highest_epoch(table: Table, file: DataFile) -> int:
    bound = (file.upper_bounds or {}).get(table.schema().find_field("epoch").field_id)
    return int.from_bytes(bound, "little", signed=True) if bound is not None else 1 << 32
