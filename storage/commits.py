"""The one function through which every change of a cold table goes: appending, replacing, dropping, expiring.

It puts the whole record into each snapshot that it makes. Iceberg takes a commit only on top of the very snapshot that
it was made from, so the record is worked out anew for each try. After an outcome that is not known it looks for the
commit by its own id, and again before each further try: one that lands late would look like another's to the plan.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

from storage.cold_schema import PROPERTIES
from storage.errors import ColdUnavailable, NeveError
from storage.record import COMMIT, KIND, RECORD, Record, record_at

ATTEMPTS = 12
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 5.0
NO_RETRY = "commit.retry.num-retries"


@dataclass(frozen=True)
class Change:
    """What a commit does. `record` holds after it; `expire` are ids of snapshots that go.

    `anew`: make a snapshot though nothing changes. An append takes no manifest along that says only what was deleted.
    `tag`: a name by which the snapshot with that id stays; `untag`: a name that is given up.
    """

    record: Record
    append: tuple[DataFile, ...] = ()
    delete: tuple[DataFile, ...] = ()
    expire: frozenset[int] = frozenset()
    anew: bool = False
    tag: tuple[str, int] | None = None
    untag: str = ""


Plan = Callable[[Table, Record], Change | None]
"""What to change about a table as it is now, whose record is given; None for nothing. It may be asked again."""


def commit(table: Table, kind: str, plan: Plan) -> Snapshot | None:
    """Change a table; its present snapshot after that, None where the plan had nothing to do.

    Raises ColdUnavailable when the outcome cannot be found out, or others are faster again and again; and
    whatever the plan raises.
    """
    pause, why = FIRST_PAUSE_SECONDS, ""
    tried: set[str] = set()
    for _ in range(ATTEMPTS):
        id_ = uuid.uuid4().hex
        with speaking_of(table):
            table.refresh()
            if tried and _has_any(table, tried):
                return table.current_snapshot()
            _forbid_retries(table)
        change = plan(table, record_at(table))
        if change is None:
            return None
        tried.add(id_)
        try:
            _try(table, kind, id_, change)
            return table.current_snapshot()
        except (CommitFailedException, ValidationException) as error:
            why = type(error).__name__  # somebody else was faster
        except Exception as error:  # noqa: BLE001 - any other error leaves it open whether the commit is in
            why = type(error).__name__
            if _landed(table, id_, why):
                return table.current_snapshot()
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    raise ColdUnavailable(f"cannot commit to {'.'.join(table.name())}: {why}, {ATTEMPTS} times")


@contextmanager
def speaking_of(table: Table) -> Iterator[None]:
    """Turn what a catalog or a warehouse raises into ColdUnavailable. Its words may hold credentials: its type does."""
    try:
        yield
    except NeveError:
        raise
    except Exception as error:
        name = ".".join(table.name())
        raise ColdUnavailable(f"cannot read {name}: {type(error).__name__}") from error


def _try(table: Table, kind: str, id_: str, change: Change) -> None:
    with table.transaction() as transaction:
        if change.append or change.delete or change.anew or change.record != record_at(table):
            words = {RECORD: change.record.to_text(), COMMIT: id_, KIND: kind}
            update = transaction.update_snapshot(snapshot_properties=words)
            with update.overwrite() if change.delete else update.fast_append() as producer:
                for file in change.append:
                    producer.append_data_file(file)
                for file in change.delete:
                    producer.delete_data_file(file)
        if change.expire:
            with ExpireSnapshots(transaction) as expiring:
                expiring.by_ids(sorted(change.expire))
        if change.tag is not None:
            with ManageSnapshots(transaction) as managing:
                managing.create_tag(change.tag[1], change.tag[0])
        if change.untag:
            with ManageSnapshots(transaction) as managing:
                managing.remove_tag(change.untag)


def _landed(table: Table, id_: str, why: str) -> bool:
    """Did a commit get in whose answer was lost? Raises ColdUnavailable while that cannot be found out."""
    pause = FIRST_PAUSE_SECONDS
    for _ in range(ATTEMPTS):
        try:
            table.refresh()
            return _has_any(table, {id_})
        except Exception:  # noqa: BLE001 - whatever it is, it does not answer
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    raise ColdUnavailable(f"cannot find out whether {'.'.join(table.name())} was changed: {why}")


def _has_any(table: Table, ids: set[str]) -> bool:
    return any(_id_of(one) in ids for one in table.metadata.snapshots)


def _id_of(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(COMMIT) if snapshot.summary is not None else None


def _forbid_retries(table: Table) -> None:
    """pyiceberg's own next try would carry the record of the first."""
    if table.properties.get(NO_RETRY) != PROPERTIES[NO_RETRY]:
        with table.transaction() as transaction:
            transaction.set_properties({NO_RETRY: PROPERTIES[NO_RETRY]})
        table.refresh()
