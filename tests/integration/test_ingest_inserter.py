"""The inserter against a real ClickHouse: every block once, whatever an earlier attempt left behind."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.attempts import Attempt, AttemptRecord, attempt_for
from ingest.counters import Counters
from ingest.deadletter import DeadLetters
from ingest.inserter import Inserter
from ingest.spool import Spool
from storage.hot import Hot
from storage.native import frames
from storage.native.block import SealedBlock, pack

Make = Callable[..., SealedBlock]


class Setting:
    """A spool and an inserter over it, as a gateway has them."""

    def __init__(self, folder: Path, hot: Hot, namespace: str) -> None:
        self.folder, self.hot, self.namespace = folder, hot, namespace
        self.spool = Spool(folder / "spool")
        self.spool.recover()
        self.dead_letters = DeadLetters(folder / "deadletter")
        self.counters = Counters()
        self.retired: list[bytes] = []

    def put(self, *blocks: SealedBlock) -> None:
        self.spool.put([(one.header.sequence, one.header.block_id, whole(one)) for one in blocks])

    def record(self, attempt: Attempt) -> None:
        """What a process that was killed afterwards had written down."""
        AttemptRecord(self.folder / "attempt.json").write(attempt)

    def inserter(self) -> Inserter:
        name = self.folder.name
        return Inserter(
            self.spool, self.hot, self.folder, self.dead_letters, self.retire, self.counters, name=name
        )

    def run(self) -> None:
        """Insert until the spool is empty."""
        inserter = self.inserter()
        inserter.start()
        while len(self.spool) and inserter.failure is None:
            self.spool.wait_room(0.2)
        inserter.stop()
        assert inserter.failure is None

    def retire(self, headers: Any) -> None:
        self.retired += [header.block_id for header in headers]

    def stored(self) -> dict[str, int]:
        """Messages and how often each is stored."""
        sql = f"SELECT message, count() AS times FROM neve_{self.namespace}.events GROUP BY message"
        return dict(self.hot.query(sql).rows)

    def counted(self) -> int:
        """What the rollup says."""
        return int(
            self.hot.query(f"SELECT sum(count) AS events FROM neve_{self.namespace}.rollup").rows[0][0]
        )


def whole(block: SealedBlock) -> bytes:
    return pack(block.header, frames.split(block.frames))


def events(first: int, count: int) -> list[dict[str, Any]]:
    return [{"message": f"line {number}", "timestamp": 10**18} for number in range(first, first + count)]


@pytest.fixture
def setting(tmp_path: Path, hot: Hot, namespace: str) -> Setting:
    return Setting(tmp_path, hot, namespace)


def once(first: int, count: int) -> dict[str, int]:
    return {f"line {number}": 1 for number in range(first, first + count)}


def test_small_blocks_go_in_together(setting: Setting, make_block: Make) -> None:
    blocks = [make_block(events(10 * number, 10)) for number in range(20)]
    setting.put(*blocks)
    setting.run()
    assert setting.stored() == once(0, 200)
    assert setting.retired == [one.header.block_id for one in blocks]
    assert setting.counters.get("inserts") == 1
    assert setting.counted() == 200


def attempted(setting: Setting, *blocks: SealedBlock) -> Attempt:
    epoch = setting.hot.current_epoch(setting.namespace)
    return attempt_for(setting.namespace, epoch, [one.header.block_id for one in blocks])


def test_attempt_that_was_never_sent_is_sent(setting: Setting, make_block: Make) -> None:
    blocks = [make_block(events(0, 5)), make_block(events(5, 5))]
    setting.put(*blocks)
    setting.record(attempted(setting, *blocks))
    setting.run()
    assert setting.stored() == once(0, 10)


def test_a_disk_that_takes_nothing_for_a_while_stops_it_no_longer_than_that(
    setting: Setting, make_block: Make
) -> None:
    aside, told = setting.folder / "attempt.json.tmp", threading.Event()
    setting.counters = Counters(lambda _subject, _reason: told.set())
    aside.mkdir()
    setting.put(make_block(events(0, 5)))
    inserter = setting.inserter()
    inserter.start()
    assert told.wait(240)
    assert "attempt.json.tmp: is a directory" in setting.counters.troubles()["inserter"]
    aside.rmdir()
    while len(setting.spool) and inserter.failure is None:
        setting.spool.wait_room(0.2)
    inserter.stop()
    assert setting.stored() == once(0, 5)
    assert setting.counters.troubles() == {}
    assert setting.hot.registry.of(setting.folder.name) == [], "it let its epochs go"


def test_what_was_stored_while_the_ledgers_disk_was_full_is_stored_once(
    setting: Setting, make_block: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, retire = [True, True, True], setting.retire

    def no_room(headers: Any) -> None:
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        retire(headers)

    monkeypatch.setattr(setting, "retire", no_room)
    setting.put(make_block(events(0, 5)), make_block(events(5, 5)))
    setting.run()
    assert full == []
    assert setting.stored() == once(0, 10)
    assert setting.counters.get("inserts") == 1
    assert setting.counted() == 10


def test_attempt_that_was_stored_is_not_sent_again(setting: Setting, make_block: Make) -> None:
    blocks = [make_block(events(0, 5)), make_block(events(5, 5))]
    setting.put(*blocks, make_block(events(10, 5)))
    attempt = attempted(setting, *blocks)
    setting.record(attempt)
    setting.hot.insert_blocks(setting.namespace, blocks, attempt.epoch, attempt.token)
    setting.run()
    assert setting.stored() == once(0, 15)
    assert setting.counted() == 15
    assert setting.counters.get("inserts") == 1


def test_one_block_of_an_attempt_was_stored(setting: Setting, make_block: Make) -> None:
    blocks = [make_block(events(0, 5)), make_block(events(5, 5))]
    setting.put(*blocks)
    attempt = attempted(setting, *blocks)
    setting.record(attempt)
    setting.hot.insert_blocks(setting.namespace, blocks[:1], attempt.epoch, "another token")
    setting.run()
    assert setting.stored() == once(0, 10)
    assert setting.counted() == 10


def test_some_rows_of_a_block_were_stored(setting: Setting, make_block: Make) -> None:
    block = make_block(events(0, 10))
    setting.put(block)
    attempt = attempted(setting, block)
    setting.record(attempt)
    setting.hot.insert_blocks(setting.namespace, [block], attempt.epoch, attempt.token)
    delete = f"ALTER TABLE neve_{setting.namespace}.events DELETE WHERE row < 4"
    setting.hot.query(delete, settings={"mutations_sync": 2})
    setting.run()
    assert setting.stored() == once(0, 10)
    assert setting.counted() == 10


def test_token_is_remembered_and_the_rows_are_gone(setting: Setting, make_block: Make) -> None:
    block = make_block(events(0, 10))
    setting.put(block)
    attempt = attempted(setting, block)
    setting.record(attempt)
    setting.hot.insert_blocks(setting.namespace, [block], attempt.epoch, attempt.token)
    delete = f"ALTER TABLE neve_{setting.namespace}.events DELETE WHERE 1"
    setting.hot.query(delete, settings={"mutations_sync": 2})
    setting.run()
    assert setting.stored() == once(0, 10)


def test_poison_block_is_found_among_good_ones(
    setting: Setting, make_block: Make, plain_columns: Any
) -> None:
    columns = plain_columns(events(50, 10))
    columns.encoded = [
        (name, type_, data[:-8] + b"\xff" * 8 if name == "service" else data)
        for name, type_, data in columns.encoded
    ]
    good = [make_block(events(10 * number, 10)) for number in range(5)]
    poison = make_block(columns)
    more = [make_block(events(60 + 10 * number, 10)) for number in range(3)]
    setting.put(*good, poison, *more)
    setting.run()
    assert setting.stored() == {**once(0, 50), **once(60, 30)}
    assert setting.counted() == 80
    assert len(setting.dead_letters) == 1
    [kept] = (setting.folder / "deadletter").glob("*.block")
    assert poison.header.block_id.hex() in kept.name
    assert sorted(setting.retired) == sorted(one.header.block_id for one in (*good, poison, *more))


def test_block_that_rotted_in_the_spool_is_set_aside(setting: Setting, make_block: Make) -> None:
    setting.put(make_block(events(0, 5)), make_block(events(5, 5)))
    path = setting.spool.folder / setting.spool.pending()[0].name
    path.write_bytes(path.read_bytes()[:-3])
    setting.run()
    assert setting.stored() == once(5, 5)
    assert setting.counters.get("blocks_damaged") == 1


def test_a_database_that_somebody_dropped_stops_nobody_else(
    tmp_path: Path, hot: Hot, namespace: str, make_block: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blocks are set aside with the reason; what is behind them goes in, and they can be sent again."""
    monkeypatch.setattr("ingest.inserter.VANISHED_SECONDS", 0.2)
    hot.create_namespace(other := f"{namespace}_dropped")
    setting = Setting(tmp_path, hot, namespace)
    plain, inside = make_block(events(0, 5)), make_block(events(0, 5))
    lost = SealedBlock.parse(pack(replace(plain.header, namespace=other), frames.split(plain.frames)))
    hot.execute(f"DROP DATABASE neve_{other} SYNC")
    setting.put(lost, inside)
    setting.run()
    assert setting.stored() == {f"line {number}": 1 for number in range(5)}
    [letter] = setting.dead_letters.all()
    assert (letter.namespace, letter.rows) == (other, 5)
    assert letter.reason == f"the database of namespace {other} is gone, and nobody deleted it here"
    hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": other})
