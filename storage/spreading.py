"""Several shards asked as one: a statement goes to one of them, which asks the others and puts the answers together.

ClickHouse's `remote` names the shards to ask in the statement itself: those alone are asked, aggregation and LIMIT are
done on each, and no server needs to be told of the cluster. What it names is bound, the password too, so neither a
statement nor an error has it in its text; the servers know the same users (`config.py` sees to it). Decision 025.

What is small (documents, patterns, what was published) is written to every shard that answers, and read from all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from storage import deletions, schema
from storage.cold_config import ColdConfig
from storage.config import ShardConfig
from storage.documents import Documents
from storage.errors import NamespaceUnknown, NeveError, QueryFailed, StorageUnavailable
from storage.hot import REWRITE_SETTINGS, Hot, Size
from storage.numbers import first_epoch
from storage.results import Result
from storage.shards import Shard, Shards, bring_up

TABLE = re.compile(r"\bFROM (neve(?:_[a-z0-9_]+)?)\.([a-z_]+)(?: AS (\w+))?\b")
"""Nothing else in our SQL looks like that, and nothing of a user's is in it."""
ON_EACH = "remote({shards:String}, view("
PART = "cityHash64(cold._path) % {shards_asked:UInt64} = shardNum() - 1"
"""For a row `cold` of the cold table within `on_each`: is its file among those that this shard reads?"""
SILENCE_SECONDS = 5  # of a shard that is asked; one that is well says how far it is ten times a second
CONNECT_MS = 1000
WRITE_SECONDS = 20.0  # that one may say nothing while it is given something small
HOOK_SECONDS = 10.0  # that a shard may say nothing while another gets from it what it lacks
LOOK_SECONDS = 2.0  # for one that is to say whether it is there
QUERY_BYTES = 16 << 20  # what is bound stands in the text that the others get
TRIES = 3
SETTINGS: Mapping[str, Any] = {
    "skip_unavailable_shards": 0,
    "connections_with_failover_max_tries": 1,  # who is away is found out here, and said
    "connect_timeout_with_failover_ms": CONNECT_MS,
    "connect_timeout_with_failover_secure_ms": CONNECT_MS,
    "handshake_timeout_ms": SILENCE_SECONDS * 1000,
    "receive_timeout": SILENCE_SECONDS,
    "use_hedged_requests": 0,  # there is nobody else to ask
    "prefer_localhost_replica": 1,
    "distributed_product_mode": "global",  # IN (SELECT …): asked once, of all shards, and its answer sent along
    "max_query_size": QUERY_BYTES,
}
APART_SETTINGS: Mapping[str, Any] = {"prefer_localhost_replica": 0}
"""For `on_each`: the one that is asked is a shard as the others are, and has its number told in the same way."""
NOT_THERE = (60, 81)  # ClickHouse's codes for a table and a database that are missing


def over(sql: str, params: Mapping[str, Any], shards: Sequence[Shard]) -> tuple[str, dict[str, Any]]:
    """A statement over tables of these shards, and what is bound in it."""
    first = shards[0].config
    remote = "remoteSecure" if first.secure else "remote"

    def call(found: re.Match[str]) -> str:
        database, table, alias = found.groups()
        where = (
            f"{{shards:String}}, '{database}', '{table}', {{shards_user:String}}, {{shards_password:String}}"
        )
        return f"FROM {remote}({where}) AS {alias or table}"

    bound = {
        "shards": ",".join(_address(one) for one in shards),
        "shards_user": first.user,
        "shards_password": first.password,
        "shards_asked": len(shards),
    }
    text = TABLE.sub(call, sql).replace(ON_EACH, ON_EACH.replace("remote", remote, 1))
    return text, {**params, **bound}


def on_each(select: str) -> str:
    """A table function: what a SELECT gives on each shard that is asked, put together. `over` binds what is named.

    It reads tables of the shard that it runs on, as `own_table` names them, and no others.
    """
    return f"{ON_EACH}{select}), {{shards_user:String}}, {{shards_password:String}})"


def own_table(database: str, table: str) -> str:
    """A table of the shard that a SELECT of `on_each` runs on, to stand behind FROM: `over` leaves it as it is."""
    return f"`{database}`.{table}"


def _address(shard: Shard) -> str:
    host = shard.config.host
    return f"{f'[{host}]' if ':' in host else host}:{shard.config.port}"


def look(shards: Shards, asked: Iterable[Shard]) -> list[Shard]:
    """Those of them that do not answer now; they are away from here on."""
    some = list(asked)
    with ThreadPoolExecutor(max_workers=max(1, len(some))) as pool:
        errors = list(pool.map(_silence, some))
    for one, error in zip(some, errors, strict=True):
        if error is not None:
            shards.lost(one, error)
    return [one for one, error in zip(some, errors, strict=True) if error is not None]


def _silence(shard: Shard) -> NeveError | None:
    config = replace(shard.config, connect_timeout=LOOK_SECONDS)
    try:
        with Hot(config) as hot:
            hot.ping()
    except NeveError as error:
        return error
    return None


class Spread:
    """All shards that answer as one, for what is small. Has what its users need of `Hot`; thread-safe."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards

    # --- reading -----------------------------------------------------------------------------------------

    def query(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Result:
        """As `Hot.query`, over all shards that answer. Raises StorageUnavailable where none does."""
        for left in reversed(range(TRIES)):
            alive = some_alive(self.shards)
            text, bound = over(sql, params or {}, alive)
            try:
                initiator = random.choice(alive).hot
                return initiator.query(text, bound, {**SETTINGS, **(settings or {})}, silence=SILENCE_SECONDS)
            except (StorageUnavailable, QueryFailed):
                if not look(self.shards, alive) or not left:
                    raise
        raise AssertionError

    def query_each(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Result]:
        """As `Hot.query`, of each shard that answers by itself. Raises StorageUnavailable where none does."""
        return list(
            self.shards.each(lambda one: one.hot.query(sql, params, silence=SILENCE_SECONDS)).values()
        )

    def scalars(self, sql: str, params: Mapping[str, Any] | None = None) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.query(sql, params).rows]

    def namespaces(self) -> list[str]:
        return self.shards.namespaces()

    def require(self, namespace: str) -> None:
        """Raises NamespaceUnknown where no shard that answers has it."""
        if not any(self.shards.each(lambda one: _has(one.hot, namespace)).values()):
            raise NamespaceUnknown(f"cannot find namespace: {namespace}", "make it first")

    def sizes(self) -> list[Size]:
        """What each namespace's events come to on the shards that answer."""
        found: dict[str, Size] = {}
        for sizes in self.shards.each(lambda one: one.hot.sizes()).values():
            for one in sizes:
                so_far = found.get(one.namespace, Size(one.namespace, 0, 0, 0))
                found[one.namespace] = Size(
                    one.namespace,
                    so_far.events + one.events,
                    so_far.bytes + one.bytes,
                    so_far.parts + one.parts,
                )
        return [found[name] for name in sorted(found)]

    def ping(self) -> None:
        """Raises StorageUnavailable while no shard answers."""
        some_alive(self.shards)

    # --- writing -----------------------------------------------------------------------------------------

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """On every shard that answers. Raises StorageUnavailable where none does."""
        self.shards.each(lambda one: one.hot.execute(sql, params, WRITE_SECONDS))

    def rewrite(self, sql: str, params: Mapping[str, Any] | None = None) -> None:
        """As `Hot.rewrite`, on every shard that answers."""
        self.shards.each(lambda one: one.hot.rewrite(sql, params))

    def create_namespace(self, namespace: str) -> None:
        self.shards.create_namespace(namespace)

    def open_epoch(self, namespace: str) -> None:
        """On every shard that answers."""
        self.shards.each(lambda one: one.hot.open_epoch(namespace))

    def close(self) -> None:
        """The shards are closed by who made them."""


def some_alive(shards: Shards) -> list[Shard]:
    """Those that answer, as far as is known. Raises StorageUnavailable where that is none."""
    if alive := shards.alive():
        return alive
    reasons = "; ".join(f"{one.name}: {one.reason}" for one in shards.away())
    raise StorageUnavailable("cannot reach any shard", detail=reasons)


def _has(hot: Hot, namespace: str) -> bool:
    try:
        hot.require(namespace)
    except NamespaceUnknown:
        return False
    return True


def open_shards(configs: Sequence[ShardConfig], cold: ColdConfig | None = None) -> Shards:
    """The shards for a process that reads: one that comes back gets first what it lacks. To be started."""
    shards = Shards(configs, cold)

    def come_back(shard: Shard) -> None:
        aside = shards.beside(send_receive_timeout=HOOK_SECONDS, pool_size=2)
        mine = aside.all[shard.number - 1]
        settings = Documents(mine.hot, "namespaces")
        try:
            mine.hot.migrate()
            bring_up_to_date(aside, mine)  # so it knows what was deleted meanwhile
            bring_up(aside, mine, lambda name: bool((settings.get(name) or {}).get("deleted_at")))
        finally:
            for one in aside:
                one.hot.close()

    shards.on_return.append(come_back)
    return shards


# --- what a shard that was away lacks --------------------------------------------------------------------------

SPREAD_TABLES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys((*schema.DOCUMENTS, *schema.LATER_DOCUMENTS), ("name", "version")),
    "snapshots": ("namespace", "sequence, said_at"),
}
"""The tables of the system that every shard has the same of: what a row is about, and which is the newest."""


def bring_up_to_date(shards: Shards, shard: Shard) -> None:
    """Give a shard what was written to the others while it was away, before it counts as there. Raises NeveError."""
    others = [one for one in shards.alive() if one.number != shard.number]
    for table, (about, newest) in SPREAD_TABLES.items():
        for other in others:
            _copy_newer(other, shard, f"{schema.SYSTEM_DATABASE}.{table}", about, newest)
    for other in others:
        _copy_deletions(other, shard)


def _copy_deletions(source: Shard, target: Shard) -> None:
    """Deletions hold on a new shard too, for what comes late: for what is older than the request."""
    known = {one.id for one in deletions.active(target.hot)}
    base = first_epoch(target.number)
    for one in deletions.active(source.hot):
        if one.id not in known:
            fresh = replace(one, until=base, through=base, version=0, done=False, hot_rows=0, cold_rows=0)
            deletions.record(target.hot, replace(fresh, recount=frozenset()))


def _copy_newer(source: Shard, target: Shard, table: str, about: str, newest: str) -> None:
    own = f"(SELECT {about} AS about, max(tuple({newest})) AS last FROM {table} GROUP BY about)"
    [remote_sql, bound] = over(f"SELECT * FROM {table}", {}, [source])
    target.hot.query(
        f"INSERT INTO {table} SELECT theirs.* FROM ({remote_sql}) AS theirs LEFT JOIN {own} AS mine "
        f"ON theirs.{about} = mine.about WHERE {_tuple_of('theirs', newest)} > mine.last OR mine.about = ''",
        bound,
        {**SETTINGS, **REWRITE_SETTINGS},
    )


def _tuple_of(row: str, columns: str) -> str:
    return f"tuple({', '.join(f'{row}.{name}' for name in columns.split(', '))})"
