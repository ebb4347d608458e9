"""A ClickHouse that was lost, or put back to an old state, learns from the cold tier which epochs are taken.

An epoch ages once it is closed. So where a table's record names an epoch that the registry does not know as closed, the
registry is not the one that the record grew with. Were its numbers used again, new events would have the epochs that
queries leave out of the hot tier. Here its numbers go on above the record's, a fence refuses those below, and queries
read again what is cold. The gateway has this done, in a process of its own, before it stamps anything; the ager, before
it trusts a comparison.

What is done last, that these epochs are closed, is what tells that it is to be done: a crash in between repeats it.
"""

from __future__ import annotations

import pickle
import sys

from pyiceberg.table import Table

from storage import schema
from storage.cold import ColdTier
from storage.errors import ColdBroken, NeveError
from storage.hot import Hot
from storage.pinned import Pinned
from storage.published import publish
from storage.record import record_at


def catch_up(hot: Hot, cold: ColdTier, namespace: str, table: Table) -> int:
    """Where the record is ahead of the registry: the epoch that new numbers are above from now on. Else 0.

    Raises ColdBroken where the hot tier has taken events under numbers of epochs that are cold.
    """
    highest = record_at(table).shard(hot.number).highest
    if highest <= hot.epochs.closed_through(namespace):
        return 0
    pinned = cold.pinned(namespace, table)
    assert pinned is not None
    hot.epochs.skip_through(namespace, highest)
    present = hot.scalars(
        f"SELECT DISTINCT epoch AS e FROM {schema.namespace_database(namespace)}.events ORDER BY e"
    )
    named = [epoch for epoch in present if pinned.record.names(epoch)]
    only_hot = [epoch for epoch in present if epoch not in named]
    _refuse_strays(hot, namespace, pinned, named)
    publish(hot, pinned)
    hot.epochs.give_up_through(namespace, min([highest, *(epoch - 1 for epoch in only_hot)]))
    for epoch in named:
        hot.drop_epoch(namespace, epoch)
    hot.epochs.settle_through(namespace, highest)
    return highest


def catch_up_all(hot: Hot, cold: ColdTier) -> dict[str, int]:
    """Every namespace that has a cold table; those whose registry was behind."""
    found = {}
    for namespace in cold.catalog.namespaces():
        table = cold.catalog.table(namespace)
        if table is not None and table.current_snapshot() is not None:
            hot.create_namespace(namespace)
            if epoch := catch_up(hot, cold, namespace, table):
                found[namespace] = epoch
    return found


def _refuse_strays(hot: Hot, namespace: str, pinned: Pinned, named: list[int]) -> None:
    """An old state has copies of what is cold. Anything else came in under numbers that were taken."""
    for epoch in named:
        events = f"{schema.namespace_database(namespace)}.events"
        cold = pinned.select(["block_id", "row"], where=[f"cold.epoch = {int(epoch)}"])
        sql = f"SELECT count() AS n FROM {events} WHERE epoch = {int(epoch)} AND (block_id, row) NOT IN ({cold})"
        strays = hot.query(sql, pinned.parameters).rows[0][0]
        if strays:
            raise ColdBroken(
                f"cannot read the cold tier of {namespace}: {strays} events came in as epoch {epoch}, which is cold",
                "clickhouse was lost while the catalog did not answer; start neve serve with the catalog first",
            )


def main() -> int:
    """What `catch_up_aside` starts."""
    clickhouse, config, number = pickle.load(sys.stdin.buffer)
    try:
        with Hot(clickhouse, number=number) as hot:
            hot.migrate()
            for namespace, epoch in catch_up_all(hot, ColdTier(config)).items():
                print(f"epochs of {namespace} go on above {epoch}: clickhouse did not know what is cold")
    except NeveError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
