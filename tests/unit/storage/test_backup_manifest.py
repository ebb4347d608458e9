"""The file that says what a backup is: what it is not is refused in a line."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from storage.backup.manifest import (
    MANIFEST,
    Base,
    ColdFile,
    ColdPart,
    HotPart,
    Manifest,
    begin,
    chain,
    finish,
    read,
    verify,
    verify_all,
)
from storage.errors import BackupDamaged, BackupRefused

HOT = HotPart("26.9.1", "", (("neve", "epochs"), ("neve_default", "events")), {"": (1, 2), "default": (1,)})
FILE = ColdFile("timestamp_day=2026-01-31/e1.parquet", 20484, 15950)
COLD = ColdPart(
    "default", "s3://lake/neve/default/metadata/1.json", 2**62, "day", "{}", 7, copied=True, files=(FILE,)
)


def made(folder: Path, id_: str, base: Base | None = None) -> Manifest:
    begin(folder, id_)
    (folder / "gateway" / "spool").mkdir(parents=True)
    (folder / "gateway" / "spool" / "one.block").write_bytes(b"block of " + id_.encode())
    return finish(folder, Manifest(id_, "0.1.0", "2026-01-31T10:00:00Z", (HOT,), (COLD,), 1, 0, base))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = made(tmp_path / "a", "aa")
    assert set(written.files) == {"gateway/spool/one.block"}
    assert read(tmp_path / "a") == written
    assert verify(tmp_path / "a", written) == len("block of aa")


def test_every_byte_of_it_counts(tmp_path: Path) -> None:
    made(tmp_path / "a", "aa")
    place = tmp_path / "a" / MANIFEST
    good = place.read_text()
    for changed in (good.replace("26.9.1", "26.9.2"), good[:-2], "[]", "{}", json.dumps({"format": 2})):
        place.write_text(changed)
        with pytest.raises(BackupDamaged, match=f"cannot read {place}"):
            read(tmp_path / "a")


@pytest.mark.parametrize("change", ["gone", "longer", "other"])
def test_what_is_not_what_was_written_is_named(tmp_path: Path, change: str) -> None:
    manifest = made(tmp_path / "a", "aa")
    path = tmp_path / "a" / "gateway" / "spool" / "one.block"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"x" if change == "longer" else b"block of ab")
    with pytest.raises(BackupDamaged, match=str(path)):
        verify(tmp_path / "a", manifest)


def test_half_is_refused_by_name_and_so_is_what_is_none(tmp_path: Path) -> None:
    begin(tmp_path / "a", "aa")
    with pytest.raises(BackupRefused, match="it did not finish; make another"):
        read(tmp_path / "a")
    with pytest.raises(BackupRefused, match="an earlier backup did not finish there"):
        begin(tmp_path / "a", "bb")
    with pytest.raises(BackupRefused, match="cannot find a backup"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupRefused, match="it is not empty"):
        begin(tmp_path / "file", "cc")


def test_those_that_one_stands_on_are_found_where_both_were_moved(tmp_path: Path) -> None:
    made(tmp_path / "a", "aa")
    made(tmp_path / "b", "bb", Base("aa", str(tmp_path / "a")))
    (tmp_path / "moved").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert [said.id for _, said in chain(tmp_path / "moved" / "b")] == ["bb", "aa"]
    said: list[str] = []
    verify_all(tmp_path / "moved" / "b", said.append)
    assert len(said) == 2
    place = tmp_path / "moved" / "a" / MANIFEST
    place.write_text(replace(read(tmp_path / "moved" / "a"), id="cc").to_text())
    with pytest.raises(BackupRefused, match="is not the backup that it stands on"):
        chain(tmp_path / "moved" / "b")


def test_one_of_the_first_format_is_read_as_that_of_a_server_alone(tmp_path: Path) -> None:
    written = made(tmp_path / "a", "aa")
    said = json.loads(written.to_text())
    del said["checksum"], said["shards"]
    for added in ("shard", "name"):
        del said["hot"][0][added]
    said |= {"format": 1, "hot": said["hot"][0]}
    summed = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    (tmp_path / "a" / MANIFEST).write_text(json.dumps({**said, "checksum": summed}))
    assert read(tmp_path / "a") == written
    assert written.hot[0].path("aa") == "aa"


def test_what_it_was_made_without_is_said(tmp_path: Path) -> None:
    second = replace(HOT, disk="far", shard=2, name="b")
    whole = replace(made(tmp_path / "a", "aa"), hot=(second,), shards=("a", "b", "c"))
    (tmp_path / "a" / MANIFEST).write_text(whole.to_text())
    assert read(tmp_path / "a") == whole
    assert whole.without == ("a", "c")
    assert whole.part(2) == second
    said: list[str] = []
    verify_all(tmp_path / "a", said.append)
    assert [line.partition(": ")[2] for line in said[1:]] == [
        "the hot tier of shard b is on clickhouse's disk far, as aa/2, where it was not looked at",
        "it is without shard a: what was hot there is not in it",
        "it is without shard c: what was hot there is not in it",
    ]
