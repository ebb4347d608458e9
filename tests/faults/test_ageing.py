"""SIGKILL of the ager before and after every step; after the next pass each event is in one tier, once."""

from __future__ import annotations

import multiprocessing
import runpy
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from storage import leases
from storage.ageing import Ager, Wish
from storage.cold import ColdTier
from storage.cold_config import ColdConfig
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.native.block import SealedBlock
from storage.pinned import Pinned
from storage.published import tier_state
from storage.record import record_of

pytestmark = pytest.mark.faults

CHILD = str(Path(__file__).with_name("child.py"))
PROCESSES = multiprocessing.get_context("forkserver")
EPOCHS, ROUNDS = 5, 3  # that age while events are counted; that come back and age again
STEPS = [
    "storage.epochs:Epochs.open",
    "storage.epochs:Epochs.try_close",
    "storage.ageing:held",
    "pyiceberg.catalog.sql:SqlCatalog.create_table",
    "storage.parquet:PartitionFiles.close",
    "storage.cold_files:SyncedFile.close",
    "storage.ageing:copy_epoch",
    "pyiceberg.table:Table._do_commit",
    "pyiceberg.catalog.sql:SqlCatalog.commit_table",
    "storage.ageing:commit",
    "storage.ageing:Pass.verify",
    "storage.ageing:publish",
    "storage.ageing:Pass.drop",
    "storage.epochs:Epochs.mark_dropped",
    "storage.hot:Hot.drop_epoch",
]


class Tiers:
    """One namespace on the shared server, and agers as processes of their own."""

    def __init__(self, hot: Hot, clickhouse: EmbeddedServer, namespace: str) -> None:
        self.hot, self.namespace = hot, namespace
        self.config = ColdConfig(clickhouse.lake / namespace)
        self.url = clickhouse.config.url()
        self.clickhouse = clickhouse
        self.started: list[ForkServerProcess] = []

    def ager(self, kill_at: str = "", grace: float = 0) -> ForkServerProcess:
        return self.process("ager", str(grace), kill_at)

    def process(self, kind: str, last: str, kill_at: str = "") -> ForkServerProcess:
        arguments = [kind, str(self.config.folder), self.url, self.namespace, last]
        given = {"ARGUMENTS": arguments, "KILL_AT": kill_at, "LISTENING": None}
        given |= {"MIRROR": None, "FORGET": "", "CLOCK": 0}
        process = PROCESSES.Process(target=runpy.run_path, args=(CHILD, given, "__main__"))
        process.start()
        self.started.append(process)
        return process

    def insert(self, block: SealedBlock) -> None:
        epoch = self.hot.current_epoch(self.namespace)
        self.hot.insert_blocks(self.namespace, [block], epoch, block.header.block_id.hex())

    def count(self) -> tuple[int, int]:
        """Events and different ids, as queries find them: by what was published, begun again where it has changed."""
        while True:
            state = tier_state(self.hot, self.config, self.namespace)
            found = self._count(state.pinned)
            if not state.misses(tier_state(self.hot, self.config, self.namespace)):
                return found

    def _count(self, pinned: Pinned | None) -> tuple[int, int]:
        sql, bound = f"SELECT block_id, row FROM neve_{self.namespace}.events", {}
        if pinned is not None:
            bound = pinned.parameters
            cold = pinned.select(["block_id", "row"])
            sql += f" WHERE {pinned.record.hot_condition()} UNION ALL {cold}"
        rows = self.hot.query(f"SELECT count() AS n, uniqExact(block_id, row) AS d FROM ({sql})", bound).rows
        return int(rows[0][0]), int(rows[0][1])

    def hot_rows(self) -> int:
        return int(self.hot.scalars(f"SELECT count() AS n FROM neve_{self.namespace}.events")[0])


@pytest.fixture
def tiers(hot: Hot, clickhouse: EmbeddedServer, namespace: str) -> Iterator[Tiers]:
    place = Tiers(hot, clickhouse, namespace)
    yield place
    for process in place.started:
        process.kill()
        process.join()


# Before a step is mostly what it is after the one before.
BOTH_SIDES = [pytest.param("before", marks=pytest.mark.slow), "after"]


def free(tiers: Tiers) -> None:
    """Let the lease of an ager that was killed run out: without waiting for it."""
    tiers.hot.execute(f"TRUNCATE TABLE {leases.LEASES}")


@pytest.mark.parametrize("when", BOTH_SIDES)
@pytest.mark.parametrize("step", STEPS)
def test_ager_killed(
    tiers: Tiers, make_block: Callable[..., SealedBlock], exit_code: Any, step: str, when: str
) -> None:
    day = 86400 * 10**9
    tiers.insert(make_block([{"timestamp": i % 5 * day, "message": f"number {i}"} for i in range(20)]))
    tiers.insert(make_block([{"message": f"number {i}"} for i in range(30)]))
    assert exit_code(tiers.ager(f"{step}:{when}:1")) == -9
    assert tiers.count() == (50, 50)
    free(tiers)
    tiers.insert(make_block([{"message": f"number {i}"} for i in range(10)]))
    assert exit_code(tiers.ager()) == 0
    assert tiers.count() == (60, 60)
    assert tiers.hot_rows() == 0
    table = ColdTier(tiers.config).catalog.table(tiers.namespace)
    assert table is not None
    assert all(record_of(one) for one in table.metadata.snapshots)


def test_two_agers_at_once(tiers: Tiers, make_block: Callable[..., SealedBlock], exit_code: Any) -> None:
    for _ in range(3):
        tiers.insert(make_block([{"message": f"number {i}"} for i in range(30)]))
        tiers.hot.open_epoch(tiers.namespace)
    agers = [tiers.ager() for _ in range(3)]
    assert {exit_code(one) for one in agers} <= {0, 1}  # 1: another had the lease
    free(tiers)
    assert exit_code(tiers.ager()) == 0
    assert tiers.count() == (90, 90)
    assert tiers.hot_rows() == 0


def test_counts_while_events_arrive_and_age(
    tiers: Tiers, make_block: Callable[..., SealedBlock], clickhouse: EmbeddedServer
) -> None:
    """Every count lies between what was stored before it was asked and what was sent before it ended; none falls."""
    sent, stored, stop = [0], [0], threading.Event()

    def fill() -> None:
        with Hot(clickhouse.config) as hot:
            while not stop.is_set():
                block = make_block([{"message": f"number {i}"} for i in range(7)])
                sent[0] += 7
                epoch = hot.current_epoch(tiers.namespace)
                try:
                    hot.insert_blocks(tiers.namespace, [block], epoch, block.header.block_id.hex())
                except Exception:  # noqa: BLE001 - its epoch was closed meanwhile; nothing was stored
                    sent[0] -= 7
                    continue
                stored[0] += 7

    def age() -> None:
        with Hot(clickhouse.config) as hot:
            ager = Ager(hot, clickhouse.config, ColdTier(tiers.config))
            while not stop.is_set():
                ager.age(tiers.namespace, Wish(now=True, grace=0))

    threads = [threading.Thread(target=work) for work in (fill, age)]
    for thread in threads:
        thread.start()
    counts = []
    try:
        while tiers.hot.epochs.dropped_through(tiers.namespace) < EPOCHS:
            assert all(thread.is_alive() for thread in threads)
            before = stored[0]
            count, distinct = tiers.count()
            assert count == distinct
            assert before <= count <= sent[0] + 7
            counts.append(count)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert counts == sorted(counts)
    assert tiers.count() == (stored[0], stored[0])
    pinned = ColdTier(tiers.config).pin(tiers.namespace)
    assert pinned is not None
    assert pinned.shard().through > 1


DELETING = [
    "storage.deletions:record",
    "storage.ageing:held",
    "storage.removing:Remover.remove_hot",
    "storage.hot:Hot.rebuild_rollup",
    "storage.rewriting:Rewriter.rewrite",
    "pyiceberg.catalog.sql:SqlCatalog.commit_table",
    "storage.rewriting:Rewriter.replace",
    "storage.rewriting:Rewriter.forget_deleted",
    "storage.removing:recount_cold",
    "storage.ageing:publish",
]


@pytest.mark.parametrize("when", BOTH_SIDES)
@pytest.mark.parametrize("step", DELETING)
def test_deletion_killed(
    tiers: Tiers, make_block: Callable[..., SealedBlock], exit_code: Any, step: str, when: str
) -> None:
    """The next pass of the ager does what is left, once the request has been recorded."""

    def insert(count: int) -> None:
        tiers.insert(make_block([{"message": f"number {i}", "service": f"s{i % 2}"} for i in range(count)]))

    insert(20)
    assert exit_code(tiers.ager()) == 0
    insert(30)
    assert exit_code(tiers.process("deleter", "service:s1", f"{step}:{when}:1")) == -9
    free(tiers)
    insert(10)
    assert exit_code(tiers.ager()) == 0
    if (step, when) == (DELETING[0], "before"):  # nobody knows of it: whoever asked asks again
        assert tiers.count() == (60, 60)
        assert exit_code(tiers.process("deleter", "service:s1")) == 0
        assert tiers.count() == (30, 30)
        return
    assert tiers.count() == (30, 30)  # the last ten have times long ago: five of them are taken for late
    counted = f"SELECT sum(count) AS n FROM neve_{tiers.namespace}.rollup"
    assert tiers.hot.scalars(counted) == [30]
    assert tiers.hot_rows() == 0


THAWING = [
    "storage.epochs:Epochs.reserve",
    "storage.thawing:record_thaw",
    "pyiceberg.catalog.sql:SqlCatalog.commit_table",
    "storage.ageing:publish",
    "storage.epochs:Epochs.mark_thawed",
    "storage.thawing:Thawing._copy",
    "storage.rewriting:Rewriter.replace",
    "storage.removing:recount_cold",
]


@pytest.mark.parametrize("when", BOTH_SIDES)
@pytest.mark.parametrize("step", THAWING)
def test_thaw_killed(
    tiers: Tiers, make_block: Callable[..., SealedBlock], exit_code: Any, step: str, when: str
) -> None:
    for _ in range(2):
        tiers.insert(make_block([{"timestamp": i, "message": f"number {i}"} for i in range(20)]))
        assert exit_code(tiers.ager()) == 0
    assert exit_code(tiers.process("thawer", "15", f"{step}:{when}:1")) == -9
    assert tiers.count() == (40, 40)
    free(tiers)
    assert exit_code(tiers.process("thawer", "10")) == 0
    assert tiers.count() == (40, 40)
    assert tiers.hot_rows() == 20
    counted = f"SELECT sum(count) AS n FROM neve_{tiers.namespace}.rollup"
    assert tiers.hot.scalars(counted) == [40]
    assert exit_code(tiers.ager()) == 0
    assert tiers.count() == (40, 40)
    assert tiers.hot_rows() == 0
    assert tiers.hot.scalars(counted) == [40]


@pytest.mark.parametrize(
    "step",
    [
        "storage.thawing:Thawing._copy",
        "storage.removing:Remover.remove_hot",
        "pyiceberg.catalog.sql:SqlCatalog.commit_table",
        "storage.rewriting:Rewriter.replace",
    ],
)
def test_thaw_of_what_is_still_hot_killed(
    tiers: Tiers, make_block: Callable[..., SealedBlock], exit_code: Any, step: str
) -> None:
    """What comes back is in the cold tier, and in a hot partition that is about to be dropped."""
    for _ in range(2):
        tiers.insert(make_block([{"timestamp": i, "message": f"number {i}"} for i in range(20)]))
        ager = Ager(tiers.hot, tiers.clickhouse.config, ColdTier(tiers.config))
        ager.age(tiers.namespace, Wish(now=True, grace=3600, wait=False))
    assert tiers.hot_rows() == 40
    assert exit_code(tiers.process("thawer", "15", f"{step}:after:1")) == -9
    assert tiers.count() == (40, 40)
    free(tiers)
    assert exit_code(tiers.process("thawer", "10")) == 0
    assert tiers.count() == (40, 40)
    assert exit_code(tiers.ager()) == 0
    assert tiers.count() == (40, 40)
    assert exit_code(tiers.ager()) == 0
    assert tiers.count() == (40, 40)
    assert tiers.hot_rows() == 0
    assert tiers.hot.scalars(f"SELECT sum(count) AS n FROM neve_{tiers.namespace}.rollup") == [40]


def test_counts_while_events_come_back_and_age(tiers: Tiers, make_block: Callable[..., SealedBlock]) -> None:
    """No count is ever another: not of those that begin before, while and after events change their tier."""
    for _ in range(2):
        tiers.insert(make_block([{"timestamp": i, "message": f"number {i}"} for i in range(200)]))
        tiers.hot.open_epoch(tiers.namespace)
    failed = []

    def move() -> None:
        with Hot(tiers.clickhouse.config) as hot:
            ager = Ager(hot, tiers.clickhouse.config, ColdTier(tiers.config))
            for _ in range(ROUNDS):
                ager.age(tiers.namespace, Wish(now=True, grace=0))
                ager.thaw(tiers.namespace, 50, 150)

    def moving() -> None:
        try:
            move()
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=moving)
    thread.start()
    try:
        while thread.is_alive():
            assert tiers.count() == (400, 400)
    finally:
        thread.join()
    assert not failed
    assert tiers.count() == (400, 400)
