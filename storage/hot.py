"""The hot tier: everything that Neve asks of ClickHouse, as one thread-safe object.

Reading. Queries take bound parameters (`{name:Type}` in the SQL), never values in their text. The driver
decodes a String as str, or as bytes where it is not UTF-8; it rounds DateTime64 to microseconds and strips
zero bytes from FixedString, so ask for `toUnixTimestamp64Nano(timestamp)` and `hex(block_id)`. Give every
expression a name (`AS x`): the name that the server makes up holds the values of parameters.

Writing. ClickHouse's own deduplication by token saves work after a lost answer and proves nothing: it forgets
over crashes, and takes the same token with other data for the same. The proof that a block is stored is
`rows_present`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from storage import migrations, published, schema, tracing
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig
from storage.epochs import Epochs
from storage.errors import NamespaceUnknown
from storage.inserters import Registry
from storage.native.block import SealedBlock
from storage.native.connection import NativeConnection
from storage.native.pool import Pool
from storage.results import QueryStream, Result

# Up to this size one INSERT becomes one part, which is stored wholly or not at all; beyond it, several parts.
# The server needs about three times the bytes in memory, which a small machine must have to spare.
INSERT_ROWS = 1 << 20
INSERT_BYTES = 128 << 20  # sum of the blocks' `decoded_bytes`

# Everything that touches how an insert is cut, ordered, delayed or told from its repetition; a repetition
# under other settings would be stored twice.
INSERT_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "parallel_view_processing": 0,
    "max_insert_threads": 1,
    "max_insert_block_size": INSERT_ROWS,
    "min_insert_block_size_rows": INSERT_ROWS,
    "min_insert_block_size_bytes": 2 * INSERT_BYTES,  # counted in memory, where columns are somewhat larger
    "input_format_native_allow_types_conversion": 0,  # a wrong type is refused, not cast
    "optimize_on_insert": 1,
    "throw_on_max_partitions_per_insert_block": 1,
}

# For statements of ours that insert what they select: doing the same again is meant, not a repetition.
REWRITE_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 0,
    "deduplicate_insert_select": "disable",
}

SILENCE_SECONDS = 10.0  # that a query may go on in silence beyond its own time limit


@dataclass(frozen=True)
class Size:
    """One namespace's events, the bytes that they take on disk, and in how many parts."""

    namespace: str
    events: int
    bytes: int
    parts: int


class Hot:
    """One ClickHouse server (or shard). Thread-safe; connections are made when they are needed."""

    def __init__(
        self,
        config: ClickHouseConfig,
        cold: ColdConfig | None = None,
        inserting: ClickHouseConfig | None = None,
        number: int = 1,
    ) -> None:
        """`cold`: where blocks of epochs that have left the hot tier are looked for; else they are nowhere.

        `inserting`: as whom blocks are stored, where that is another user, who may do nothing else. `number`: which
        shard it is, from 1.
        """
        self._config = config
        self._cold = cold
        self._pool = Pool(config)
        self._inserting = Pool(inserting) if inserting is not None else self._pool
        self.number = number
        self.epochs = Epochs(self, number)
        self.registry = Registry(self)
        self._rebuild_lock = threading.Lock()
        self._known: set[str] = set()

    def close(self) -> None:
        """Close the connections; one that is in use closes when its query ends."""
        self._pool.close()
        self._inserting.close()

    def __enter__(self) -> Hot:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- queries -----------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Ask the server for an answer; StorageUnavailable when there is none."""
        self._aside("SELECT 1", {})

    def ping_again(self) -> None:
        """The same over a connection that is there, if one is: that costs the server next to nothing."""
        with self._pool.connection() as connection:
            connection.ping()

    def query(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        query_id: str = "",
        timeout: float | None = None,
        silence: float | None = None,
    ) -> Result:
        """Run a query and wait for all of it.

        `params`: str, bytes, int, float, bool, None, or lists of them. `settings` that the server does not
        know fail the query. `timeout`: seconds, kept by the server. `silence`: seconds that the server may say
        nothing, which one that works on a query does not do. Raises QueryFailed and its kin, or StorageUnavailable.
        """
        with self.query_iter(sql, params, settings, query_id, timeout, silence) as stream:
            rows = [row for rows in stream for row in rows]
        return Result(stream.columns, rows, stream.rows_read, stream.bytes_read, stream.elapsed_ms)

    def query_each(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Result]:
        """As `query`, of each server of a cluster by itself: here there is one."""
        return [self.query(sql, params)]

    def query_iter(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        query_id: str = "",
        timeout: float | None = None,
        silence: float | None = None,
    ) -> QueryStream:
        """As `query`, giving rows as they come. It holds a connection until it ends or is closed."""
        limits = {} if timeout is None else {"max_execution_time": timeout, "timeout_overflow_mode": "throw"}
        if silence is None and timeout is not None:
            silence = timeout + SILENCE_SECONDS
        with ExitStack() as resources:
            connection = resources.enter_context(self._pool.connection())
            step = tracing.begin("clickhouse", **{"db.system.name": "clickhouse", "db.query.text": sql})
            resources.callback(tracing.ended, step, {})
            packets = connection.packets(sql, params or {}, {**limits, **(settings or {})}, query_id, silence)
            resources.enter_context(closing(packets))
            return QueryStream(packets, resources.pop_all())

    def execute(
        self, sql: str, params: Mapping[str, Any] | None = None, silence: float | None = None
    ) -> None:
        """Run a statement that gives no rows; what it defines is synced. `silence`: as `query` has it."""
        self.query(sql, params, {"async_insert": 0, "fsync_metadata": 1}, silence=silence)

    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.query(sql, params).rows]

    def cancel(self, query_id: str) -> None:
        """Ask the server to stop a query, without waiting for it; harmless when it does not run."""
        self._aside("KILL QUERY WHERE query_id = {id:String} ASYNC", {"id": query_id})

    def _aside(self, sql: str, params: Mapping[str, Any]) -> None:
        """Run a statement beside the pool, which may be full of what it is about."""
        with closing(NativeConnection(self._config)) as connection:
            for _ in connection.packets(sql, params, {}, silence=self._config.connect_timeout):
                pass

    # --- namespaces --------------------------------------------------------------------------------------

    def migrate(self, *, restoring: bool = False) -> int:
        """Bring the tables of the system and of every namespace to this version; how many migrations.

        Raises ConfigError where a backup was not put back to its end, but to whoever is `restoring` it.
        """
        if not restoring:
            migrations.refuse_half(self)
        done = migrations.apply_system(self)
        for name in self.namespaces():
            done += migrations.apply_namespace(self, name)
            self.epochs.restore_fence(name)
        return done

    def namespaces(self) -> list[str]:
        """The namespaces that exist, in alphabetical order. `migrate` must have run once."""
        return migrations.namespaces(self)

    def create_namespace(self, namespace: str) -> None:
        """Make a namespace and its tables; does nothing when it is there and up to date."""
        schema.namespace_database(namespace)
        migrations.apply_system(self)
        migrations.apply_namespace(self, namespace)
        self.epochs.restore_fence(namespace)

    def holds(self, namespace: str) -> bool:
        """Is its table of events there? Not every namespace that was made: somebody may have dropped the database."""
        sql = "SELECT count() AS n FROM system.tables WHERE database = {database:String} AND name = 'events'"
        return bool(self.scalars(sql, {"database": schema.namespace_database(namespace)})[0])

    def forget(self, namespace: str) -> None:
        """A namespace was deleted: look again before it is taken for one that is there."""
        self._known.discard(namespace)

    def sizes(self) -> list[Size]:
        """What each namespace's events come to now."""
        sql = (
            "SELECT substring(database, {cut:UInt32}) AS namespace, sum(rows) AS n, sum(bytes_on_disk) AS bytes, "
            "count() AS parts FROM system.parts WHERE active AND table = 'events' "
            "AND startsWith(database, {prefix:String}) GROUP BY namespace ORDER BY namespace"
        )
        prefix = f"{schema.SYSTEM_DATABASE}_"
        return [Size(*row) for row in self.query(sql, {"prefix": prefix, "cut": len(prefix) + 1}).rows]

    def version(self) -> str:
        """The server's version."""
        return str(self.scalars("SELECT version() AS v")[0])

    # --- events ------------------------------------------------------------------------------------------

    def insert_blocks(self, namespace: str, blocks: Sequence[SealedBlock], epoch: int, token: str) -> None:
        """Store blocks with one INSERT; they must all have the same columns (`header.columns`).

        When this returns, all rows are on disk, synced. Otherwise it raises
          StorageUnavailable: nothing was sent;
          EpochClosed: the epoch takes no row any more, and not one was stored;
          InsertRefused: the server refused the data;
          InsertUnknown: rows may be stored or not, and `rows_present` tells.
        Once the blocks of the last two are settled, `rebuild_rollup` makes the counts exact again;
        send them again under another token. The same token with the same blocks in the same order is stored
        once, mostly. Up to INSERT_ROWS rows and INSERT_BYTES are stored wholly or not at all.
        """
        if not blocks:
            return
        if len({block.header.columns for block in blocks}) != 1:
            raise ValueError("blocks of one insert must have the same columns")
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        with self._inserting.connection() as connection:
            connection.insert_blocks(_events(namespace), blocks, epoch, settings)

    def rows_present(
        self, namespace: str, block_ids: Iterable[bytes], epochs: Iterable[int] | None = None
    ) -> dict[bytes, int]:
        """How many rows of each block are stored; every block asked for is in the answer, perhaps with 0.

        `epochs`: the only ones that the rows can be in, where that is known; it makes the question cheaper, and leaves
        the cold tier out.
        """
        present = dict.fromkeys(block_ids, 0)
        where, params = _block_condition(present, epochs)
        sql = f"SELECT hex(block_id) AS id, count() AS n FROM {_events(namespace)} WHERE {where} GROUP BY id"
        for block_id, count in self.query(sql, params).rows:
            present[bytes.fromhex(block_id)] = count
        absent = [block_id for block_id, count in present.items() if not count]
        if epochs is None and absent and self._cold is not None:
            present |= published.cold_rows(self, self._cold, namespace, absent)
        return present

    def reads_cold(self, namespace: str, epoch: int) -> bool:
        """Is this epoch to be read from the cold tier?"""
        if self._cold is None:
            return False
        return published.tier_state(self, self._cold, namespace).reads_cold(epoch)

    def delete_block_rows(self, namespace: str, block_id: bytes, epochs: Iterable[int] | None = None) -> None:
        """Delete every stored row of a block, wait for it, and make the counts of its epochs exact again."""
        where, params = _block_condition([block_id], epochs)
        events = _events(namespace)
        for epoch in self.scalars(f"SELECT DISTINCT epoch AS e FROM {events} WHERE {where}", params):
            # A mutation takes no bound parameters on every version; these two are an int and hex digits.
            delete = f"DELETE IN PARTITION {int(epoch)} WHERE block_id = unhex('{block_id.hex()}')"
            self.query(f"ALTER TABLE {events} {delete}", settings={"mutations_sync": 2})
            self.rebuild_rollup(namespace, epoch)

    def rebuild_rollup(self, namespace: str, epoch: int) -> None:
        """Count the events of an epoch anew and put that in the place of the rollup, and of the counts by minute.

        Only while nobody inserts into that epoch: rows that arrive meanwhile would not be counted. Does nothing
        once the epoch has left the hot tier, where only its counts are left.
        """
        if epoch <= self.epochs.dropped_through(namespace):
            return
        database, where = schema.namespace_database(namespace), f"WHERE epoch = {int(epoch)}"
        with self._rebuild_lock:
            self.rewrite(f"INSERT INTO {database}.seen {schema.seen_select(database, where)}")
            rollup, counts = schema.rollup_select(database, where), schema.counts_select(database, where)
            self._replace(f"{database}.rollup", f"{database}.{schema.REBUILT_ROLLUP}", epoch, rollup)
            self._replace(f"{database}.counts", f"{database}.{schema.REBUILT_COUNTS}", epoch, counts)

    def _replace(self, table: str, aside: str, epoch: int, select: str) -> None:
        """Put what is selected in the place of an epoch's partition, at once for readers."""
        partition = f"PARTITION {int(epoch)}"
        self.execute(f"ALTER TABLE {aside} DROP {partition}")
        self.rewrite(f"INSERT INTO {aside} {select}")
        # The server replaces no partition by nothing.
        filled = self.scalars(f"SELECT 1 AS x FROM {aside} WHERE epoch = {int(epoch)} LIMIT 1")
        self.execute(
            f"ALTER TABLE {table} {f'REPLACE {partition} FROM {aside}' if filled else f'DROP {partition}'}"
        )
        self.execute(f"ALTER TABLE {aside} DROP {partition}")

    def drop_epoch(self, namespace: str, epoch: int) -> None:
        """Drop the events of an epoch, which `mark_dropped` has been told of. Its counts stay in the rollup."""
        self.execute(f"ALTER TABLE {_events(namespace)} DROP PARTITION {int(epoch)}")

    def add_templates(
        self, namespace: str, templates: Iterable[tuple[int, str | bytes]], rules_version: int = 1
    ) -> None:
        """Store template texts by fingerprint; storing one again changes nothing."""
        known = dict(templates)
        if not known:
            return
        self.rewrite(
            f"INSERT INTO {schema.namespace_database(namespace)}.templates "
            "SELECT number, text, {version:UInt16} FROM (SELECT 1) "
            "ARRAY JOIN {numbers:Array(UInt64)} AS number, {texts:Array(String)} AS text",
            {"numbers": list(known), "texts": list(known.values()), "version": rules_version},
        )

    def rewrite(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """Run an INSERT of what it selects; doing the same again is meant, not a repetition."""
        self.query(sql, params, REWRITE_SETTINGS)

    # --- epochs ------------------------------------------------------------------------------------------

    def current_epoch(self, namespace: str) -> int:
        """The epoch to stamp on rows inserted now; opens a new one when the last is about an hour old."""
        self.require(namespace)
        return self.epochs.current(namespace)

    def open_epoch(self, namespace: str) -> int:
        """Open a new epoch and give its number; a namespace's numbers only grow and are never used again."""
        self.require(namespace)
        return self.epochs.open(namespace)

    def require(self, namespace: str) -> None:
        """Raises NamespaceUnknown where it was never made."""
        if namespace not in self._known:
            self._known.update(self.namespaces())
        if namespace not in self._known:
            raise NamespaceUnknown(f"cannot find namespace: {namespace}", "make it first")


def _events(namespace: str) -> str:
    return f"{schema.namespace_database(namespace)}.events"


def _block_condition(block_ids: Iterable[bytes], epochs: Iterable[int] | None) -> tuple[str, dict[str, Any]]:
    """A condition on `events` and its parameters; a form that the index on block_id can use."""
    params: dict[str, Any] = {"ids": [block_id.hex() for block_id in block_ids]}
    where = "block_id IN (SELECT toFixedString(unhex(arrayJoin({ids:Array(String)})), 16))"
    if epochs is not None:
        params["epochs"] = list(epochs)
        where += " AND epoch IN {epochs:Array(UInt32)}"
    return where, params
