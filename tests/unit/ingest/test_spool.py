"""The spool: durable, ordered, bounded; what is damaged is set aside and said."""

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ingest import spool as spool_module
from ingest.errors import SpoolFull
from ingest.spool import DAMAGED_FOLDER, Spool, SpoolEntry
from lexer import Columns
from storage.native.block import Header, SealedBlock, seal


def opened(folder: Path, quota: int = 1 << 30) -> tuple[Spool, list[Header]]:
    spool, headers = Spool(folder, quota), []
    spool.recover(lambda _entry, header: headers.append(header))
    return spool, headers


def test_what_was_put_comes_back_in_order_after_a_restart(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path)
    blocks = [sealed(number, b"line %d\n" % number) for number in range(1, 6)]
    spool.put(blocks[:2])
    spool.put(blocks[2:])

    again, headers = opened(tmp_path)

    assert [header.sequence for header in headers] == [1, 2, 3, 4, 5]
    assert [again.read(entry) for entry in again.pending()] == [data for _, _, data in blocks]
    assert all(block_id in again for _, block_id, _ in blocks)
    assert again.last_sequence == 5


def test_several_blocks_cost_one_fsync_of_the_folder(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, _ = opened(tmp_path)
    synced = []
    monkeypatch.setattr(spool_module, "fsync_folder", lambda folder: synced.append(folder))
    spool.put([sealed(number) for number in range(1, 9)])
    assert synced == [tmp_path]


def test_quota_refuses_and_keeps_nothing_of_it(tmp_path: Path, sealed: Any) -> None:
    first, second = sealed(1), sealed(2)
    spool, _ = opened(tmp_path, quota=len(first[2]) + 10)
    [entry] = spool.put([first])
    with pytest.raises(SpoolFull) as caught:
        spool.put([second])
    assert caught.value.reason == "quota"
    assert caught.value.status == 429
    assert len(list(tmp_path.glob("*"))) == 1
    assert spool.stats().full == "quota"
    assert spool.stats().reasons == {"quota": 1}
    spool.remove([entry])
    spool.put([second])
    assert spool.stats().full == ""


def test_a_request_of_several_blocks_above_the_quota_goes_into_an_empty_spool(
    tmp_path: Path, sealed: Any
) -> None:
    """It would never fit, and until something left everybody else would be turned away."""
    spool, _ = opened(tmp_path, quota=1)
    entries = spool.put([sealed(1), sealed(2)], of_one=True)
    with pytest.raises(SpoolFull):
        spool.put([sealed(3)])
    with pytest.raises(SpoolFull):
        spool.refuse_while_full()
    spool.remove(entries)
    spool.refuse_while_full()
    assert spool.stats().full == ""
    spool.put([sealed(4), sealed(5)], of_one=True)


def test_block_above_the_quota_goes_into_an_empty_spool(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path, quota=1)
    spool.put([sealed(1)])
    assert len(spool) == 1


@pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
def test_disk_full_at_any_step_refuses_and_leaves_nothing(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    spool, _ = opened(tmp_path)

    def fail(*_args: Any, **_more: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if failing == "rename" else os, failing, fail)
        with pytest.raises(SpoolFull) as caught:
            spool.put([sealed(1), sealed(2)])
    assert caught.value.reason == "disk_full"
    assert list(tmp_path.glob("*")) == []
    assert spool.stats().bytes == 0
    spool.put([sealed(1)])
    assert len(spool) == 1


def test_disk_is_never_filled_to_the_brim(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, _ = opened(tmp_path)
    monkeypatch.setattr(spool_module, "_free_bytes", lambda _folder: spool_module.FREE_RESERVE_BYTES)
    with pytest.raises(SpoolFull) as caught:
        spool.put([sealed(1)])
    assert caught.value.reason == "disk_full"


def test_other_errors_of_the_disk_are_raised(
    tmp_path: Path, sealed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, _ = opened(tmp_path)

    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="input/output"):
        spool.put([sealed(1)])
    assert list(tmp_path.glob("*")) == []


def damage_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def damage_tail(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def damage_empty(path: Path) -> None:
    os.truncate(path, 0)


def damage_name(path: Path) -> None:
    path.rename(path.with_name(f"{9:016x}-{'0' * 32}.block"))


def damage_nonsense(path: Path) -> None:
    path.rename(path.with_name("nonsense.block"))


@pytest.mark.parametrize(
    "damage", [damage_bit, damage_last_byte, damage_tail, damage_empty, damage_name, damage_nonsense]
)
def test_damaged_file_is_set_aside_with_its_reason(tmp_path: Path, sealed: Any, damage: Any) -> None:
    spool, _ = opened(tmp_path)
    entries = spool.put([sealed(1), sealed(2, b"another\n"), sealed(3)])
    damage(tmp_path / entries[1].name)

    again = Spool(tmp_path)
    found = again.recover()

    assert [entry.sequence for entry in again.pending()] == [1, 3]
    [reason] = (tmp_path / DAMAGED_FOLDER).glob("*.reason")
    assert reason.read_text().strip() == found[0].reason
    assert (tmp_path / DAMAGED_FOLDER / found[0].name).exists()
    assert again.stats().reasons == {"damaged": 1}
    assert again.last_sequence >= 3


def test_sequence_of_a_damaged_last_block_is_not_used_again(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path)
    entries = spool.put([sealed(1), sealed(2)])
    damage_bit(tmp_path / entries[1].name)
    again, _ = opened(tmp_path)
    assert again.last_sequence == 2
    later, _ = opened(tmp_path)
    assert later.last_sequence == 2


def test_half_written_files_of_a_killed_writer_go(tmp_path: Path, sealed: Any) -> None:
    _, block_id, data = sealed(1)
    (tmp_path / f"{1:016x}-{block_id.hex()}.block.tmp").write_bytes(data[:100])
    spool, headers = opened(tmp_path)
    assert (len(spool), headers, list(tmp_path.glob("*"))) == (0, [], [])


def test_two_blocks_of_one_sequence_are_noticed(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path)
    spool.put([sealed(1, b"mine\n")])
    sequence, block_id, data = sealed(1, b"other\n")
    (tmp_path / SpoolEntry(sequence, block_id, 0, 0).name).write_bytes(data)
    again, headers = opened(tmp_path)
    assert again.twins
    assert len(headers) == len(again) == 2


def test_sequences_must_grow(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path)
    spool.put([sealed(2)])
    with pytest.raises(ValueError, match="must grow"):
        spool.put([sealed(2, b"other\n")])


def test_age_is_of_the_oldest_over_a_restart(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path)
    entries = spool.put([sealed(1), sealed(2)])
    os.utime(tmp_path / entries[0].name, (1_000_000_000, 1_000_000_000))
    again, _ = opened(tmp_path)
    assert again.stats().oldest_age > 1e8


def test_moved_block_is_in_the_other_folder_only(tmp_path: Path, sealed: Any) -> None:
    spool, _ = opened(tmp_path / "spool")
    block = sealed(1)
    [entry] = spool.put([block])
    moved = spool.move(entry, tmp_path / "dead")
    assert moved.read_bytes() == block[2]
    assert len(spool) == 0
    assert list((tmp_path / "spool").glob("*.block")) == []


_one = Columns(max_rows=10, max_bytes=1 << 16)
_one.add(b"x\n", received_ns=1)
_names = itertools.count()


class SpoolMachine(RuleBasedStateMachine):
    """Against a list: whatever is put, removed, killed and recovered, the folder is the list."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ["SPOOL_MACHINE"]) / str(next(_names))
        self.model: list[tuple[int, bytes, bytes]] = []
        self.sequence = 0
        self.size = len(seal(_one, agent_id="a", sequence=1, namespace="default"))
        self.quota = self.size * 6
        self.spool = Spool(self.folder, self.quota)
        self.spool.recover()

    @rule(count=st.integers(1, 4))
    def put(self, count: int) -> None:
        blocks = [self.make(self.sequence + 1 + place) for place in range(count)]
        fits = (count == 1 and not self.model) or sum(
            len(one[2]) for one in self.model + blocks
        ) <= self.quota
        try:
            self.spool.put(blocks)
        except SpoolFull:
            assert not fits
        else:
            assert fits
            self.model += blocks
            self.sequence += count

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.model) - 1))
        self.spool.remove([self.spool.pending()[place]])
        del self.model[place]

    @rule()
    def restart(self) -> None:
        (self.folder / "0-half.block.tmp").write_bytes(b"half")
        self.spool = Spool(self.folder, self.quota)
        assert self.spool.recover() == []

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def damage_and_restart(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.model) - 1))
        path = self.folder / self.spool.pending()[place].name
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        self.spool = Spool(self.folder, self.quota)
        assert [one.name for one in self.spool.recover()] == [path.name]
        del self.model[place]

    @invariant()
    def folder_is_the_model(self) -> None:
        pending = self.spool.pending()
        assert [(entry.sequence, entry.block_id) for entry in pending] == [one[:2] for one in self.model]
        assert [self.spool.read(entry) for entry in pending] == [one[2] for one in self.model]
        assert self.spool.stats().bytes == sum(len(one[2]) for one in self.model)
        assert self.spool.last_sequence >= max((entry.sequence for entry in pending), default=0)

    def make(self, sequence: int) -> tuple[int, bytes, bytes]:
        data = seal(_one, agent_id="a", sequence=sequence, namespace="default")
        return sequence, SealedBlock.parse(data).header.block_id, data


def test_spool_is_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_MACHINE", str(tmp_path))
    run_state_machine_as_test(
        SpoolMachine, settings=settings(max_examples=20, stateful_step_count=20, deadline=None)
    )


@settings(max_examples=20, deadline=None)
@given(cut=st.floats(0, 1))
def test_every_torn_length_is_found(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    folder = tmp_path_factory.mktemp("torn")
    data = seal(_one, agent_id="a", sequence=1, namespace="default")
    block_id = SealedBlock.parse(data).header.block_id
    torn = data[: int(cut * (len(data) - 1))]
    (folder / SpoolEntry(1, block_id, 0, 0).name).write_bytes(torn)
    spool = Spool(folder)
    assert len(spool.recover()) == 1
    assert len(spool) == 0


def test_a_block_keeps_its_shard_over_a_restart(tmp_path: Path, sealed: Any) -> None:
    spool = Spool(tmp_path / "spool")
    first, second = sealed(1), sealed(2)
    spool.put([first])
    spool.put([second], shard=2)
    again = Spool(tmp_path / "spool")
    assert again.recover() == []
    assert [(one.sequence, one.shard) for one in again.pending()] == [(1, 1), (2, 2)]
    [mine] = again.pending(shard=2)
    assert again.load(mine)[0] == second[2]
    assert (again.waits_for(2).depth, again.waits_for(2).bytes) == (1, len(second[2]))
    assert again.shards() == {1, 2}
    again.remove([mine])
    assert again.shards() == {1}
    assert not again.wait(0, shard=2)
    assert again.wait(0, shard=1)
    assert len(list((tmp_path / "spool").glob("*.block"))) == 1


@pytest.mark.parametrize("shard", ["-1", "-0", "-02", "--2", "-x", "-2-3", "-"])
def test_names_that_say_no_shard_are_damaged(tmp_path: Path, sealed: Any, shard: str) -> None:
    spool = Spool(tmp_path / "spool")
    [entry] = spool.put([sealed(1)])
    path = spool.folder / entry.name
    path.rename(path.with_name(path.name.replace(".block", f"{shard}.block")))
    [damaged] = Spool(tmp_path / "spool").recover()
    assert "not one of a spooled block" in damaged.reason
