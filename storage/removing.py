"""Events that are to go, from both tiers: counted, deleted, counted anew. All under the ager's lease.

hot     of each closed epoch the events that stay are written beside it and take its place, at once for readers
cold    files that have such events are written anew without them, many with each commit
counts  the rollup's of these epochs, from what is left

All of it can be done again: what is gone is not found. The bytes of what was deleted are in the hot tier until the
server removes parts that were replaced (some minutes), and in the cold one until the snapshots before have expired and
files that nothing names are cleaned up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from pyiceberg.table import Table

from storage import deletions, schema
from storage.cold import ColdTier
from storage.config import ClickHouseConfig
from storage.deletions import Deletion
from storage.errors import ColdBroken
from storage.hot import REWRITE_SETTINGS, Hot
from storage.leases import Lease
from storage.matching import Matching
from storage.numbers import shard_of
from storage.pinned import Pinned
from storage.published import tier_state
from storage.recount import recount_cold
from storage.rewriting import Found, Rewriter
from storage.shards import Shards

Say = Callable[[str, str], None]
"""Which step, and what there is to tell."""
BATCH_BYTES = 1 << 30  # of the files that one commit replaces
BATCH_FILES = 200  # a commit costs as much as some of these, and a statement has their names in it
UNLIMITED = {"max_execution_time": 0}


class Remover:
    """Deletes events of one namespace."""

    def __init__(
        self,
        hot: Hot,
        clickhouse: ClickHouseConfig,
        cold: ColdTier,
        namespace: str,
        lease: Lease,
        say: Say,
        shards: Shards | None = None,
    ) -> None:
        """`shards`: of the cluster that `hot` is one of: the counts of what is cold of a shard are with that one."""
        self.shards = shards
        self.hot = hot
        self.clickhouse = clickhouse
        self.cold = cold
        self.namespace = namespace
        self.lease = lease
        self.say = say
        self.database = schema.namespace_database(namespace)

    # --- one deletion ------------------------------------------------------------------------------------------

    def run(self, deletion: Deletion, table: Table | None, publish: Callable[[Table], None]) -> Deletion:
        """Do what is left of it; how far it is then."""
        fresh = not deletion.done
        deletion = self._clean_hot(deletion)
        if fresh and table is not None and table.current_snapshot() is not None:
            deletion = self._clean_cold(deletion, table)
        left = self.recount(table, deletion.recount) if deletion.recount else frozenset()
        if fresh and table is not None:
            publish(table)
        if fresh or deletion.recount != left:
            deletion = deletions.record(self.hot, replace(deletion, done=True, recount=left))
        if fresh:
            text = f"{deletion.hot_rows:,} hot and {deletion.cold_rows:,} cold events are deleted"
            self.say("delete", text)
        return deletion

    def _clean_hot(self, deletion: Deletion) -> Deletion:
        closed = self.hot.epochs.closed_through(self.namespace)
        found = count_hot(self.hot, self.namespace, deletion.what, deletion.through)
        found = {epoch: rows for epoch, rows in found.items() if epoch <= closed}
        if found:
            deletion = self._recorded(deletion, found)
        for epoch, rows in found.items():
            self.remove_hot(epoch, deletion.what, rows)
        if closed > deletion.through:
            deletion = replace(deletion, through=closed, hot_rows=deletion.hot_rows + sum(found.values()))
            deletion = deletions.record(self.hot, deletion)
        return deletion

    def _clean_cold(self, deletion: Deletion, table: Table) -> Deletion:
        def known(epochs: Iterable[int], rows: int) -> None:
            nonlocal deletion
            deletion = replace(deletion, cold_rows=deletion.cold_rows + rows)
            deletion = self._recorded(deletion, epochs)

        self.remove_cold("delete", table, deletion.what, known)
        return deletion

    def _recorded(self, deletion: Deletion, epochs: Iterable[int]) -> Deletion:
        """Before events of these epochs go: whoever comes after a crash would not find what to count anew."""
        return deletions.record(self.hot, replace(deletion, recount=deletion.recount | set(epochs)))

    # --- the hot tier ------------------------------------------------------------------------------------------

    def remove_hot(self, epoch: int, matching: Matching, rows: int, kind: str = "delete") -> None:
        """Let a closed epoch go on without `rows` events. `kind`: the step that it is told as."""
        events, kept = f"{self.database}.events", self.made_beside()
        where = f"epoch = {int(epoch)}"
        self.hot.query(
            f"INSERT INTO {kept} SELECT * FROM {events} WHERE {where} AND NOT ({matching.where})",
            matching.values,
            {**REWRITE_SETTINGS, **UNLIMITED},
        )
        left = self.hot.scalars(f"SELECT count() AS n FROM {kept}")[0]
        before = self.hot.scalars(f"SELECT count() AS n FROM {events} WHERE {where}")[0]
        if left != before - rows:
            raise ColdBroken(
                f"cannot delete from epoch {epoch} of {self.namespace}: {left} of {before - rows} events were kept",
                "nothing was deleted of it; try again",
            )
        self.lease.check()
        change = f"REPLACE PARTITION {int(epoch)} FROM {kept}" if left else f"DROP PARTITION {int(epoch)}"
        self.hot.execute(f"ALTER TABLE {events} {change}")
        self.hot.execute(f"DROP TABLE {kept} SYNC")
        self.say(kind, f"epoch {epoch}: {rows:,} of {before:,} events are gone from the hot tier")

    def made_beside(self) -> str:
        """An empty table like that of the events, without fences."""
        kept = f"{self.database}.{schema.KEPT_EVENTS}"
        self.hot.execute(f"DROP TABLE IF EXISTS {kept} SYNC")
        self.hot.execute(f"CREATE TABLE {kept} AS {self.database}.events")
        for constraint in schema.fences(self._definition(schema.KEPT_EVENTS)):
            self.hot.execute(f"ALTER TABLE {kept} DROP CONSTRAINT {constraint}")
        return kept

    def _definition(self, table: str) -> str:
        sql = "SELECT create_table_query AS q FROM system.tables WHERE database = {d:String} AND name = {t:String}"
        return str(self.hot.scalars(sql, {"d": self.database, "t": table})[0])

    # --- the cold tier -----------------------------------------------------------------------------------------

    def remove_cold(
        self, kind: str, table: Table, matching: Matching, known: Callable[[Iterable[int], int], None]
    ) -> int:
        """Rewrite the files that have such events; how many went. `known` is told of each batch before it goes."""
        rewriter = Rewriter(self.hot, self.clickhouse, self.cold, self.namespace, table)
        gone = 0
        for batch in _batches(rewriter.find(matching)):
            self.lease.check()
            known(set().union(*(one.epochs for one in batch)), sum(one.rows for one in batch))
            rows = rewriter.without(kind, batch, matching)
            self.say(kind, f"{rows:,} events are gone from {len(batch)} files of the cold tier")
            gone += rows
        rewriter.forget_deleted()
        return gone

    def recount(self, table: Table | None, epochs: Iterable[int]) -> frozenset[int]:
        """Make the counts of these epochs right, by the tier that has them; those left, whose shards are away.

        Until then these counts do not add up, so queries count the events instead.
        """
        pinned: Pinned | None = None
        left: set[int] = set()
        by_shard: dict[int, list[int]] = {}
        for epoch in sorted(epochs):
            by_shard.setdefault(shard_of(epoch), []).append(epoch)
        for number, some in by_shard.items():
            hot = self.hot_of(number)
            if hot is None:
                left.update(some)
                continue
            dropped = hot.epochs.dropped_through(self.namespace)
            for epoch in some:
                hot.rebuild_rollup(self.namespace, epoch)  # does nothing for those that were dropped
            cold = [epoch for epoch in some if epoch <= dropped]
            if cold and table is not None:
                if pinned is None:
                    table.refresh()
                    pinned = self.cold.pinned(self.namespace, table)
                assert pinned is not None
                recount_cold(hot, pinned, cold)
        return frozenset(left)

    def hot_of(self, number: int) -> Hot | None:
        """The hot tier of a shard; None while it is away."""
        if number == self.hot.number:
            return self.hot
        shard = self.shards.numbered(number) if self.shards is not None else None
        return shard.hot if shard is not None and shard.alive else None


def count_hot(hot: Hot, namespace: str, matching: Matching, above: int = 0) -> dict[int, int]:
    """How many such events each epoch has in the hot table, of those above one."""
    sql = (
        f"SELECT epoch, count() AS n FROM {schema.namespace_database(namespace)}.events "
        f"WHERE epoch > {int(above)} AND ({matching.where}) GROUP BY epoch ORDER BY epoch"
    )
    return dict(hot.query(sql, matching.values, UNLIMITED).rows)


def count_both(hot: Hot, cold: ColdTier, namespace: str, matching: Matching) -> tuple[int, int]:
    """How many such events queries find in each tier."""
    state = tier_state(hot, cold.config, namespace)
    by_epoch = count_hot(hot, namespace, matching)
    found = sum(rows for epoch, rows in by_epoch.items() if not state.reads_cold(epoch))
    pinned = state.pinned
    if pinned is None or not pinned.overlaps(matching.low, matching.high):
        return found, 0
    rows = pinned.select(pinned.columns(), matching.low, matching.high, matching.cold_where)
    sql = f"SELECT count() AS n FROM ({rows}) WHERE {matching.where}"
    return found, hot.query(sql, {**matching.values, **pinned.parameters}, UNLIMITED).rows[0][0]


def _batches(found: Iterable[Found]) -> list[list[Found]]:
    """Files in the order of their partitions, at most BATCH_BYTES and BATCH_FILES together."""
    batches: list[list[Found]] = []
    size = BATCH_BYTES
    for one in sorted(found, key=lambda one: (one.file.partition[0], one.file.file_path)):
        size += one.file.file_size_in_bytes
        if not batches or size > BATCH_BYTES or len(batches[-1]) == BATCH_FILES:
            batches.append([])
            size = one.file.file_size_in_bytes
        batches[-1].append(one)
    return batches
