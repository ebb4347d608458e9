"""`neve backup`, where the data are: in the ager of a running server.

    leases    no ager moves events between the tiers, of any shard
    wait      what other gateways had acknowledged is in ClickHouse
    hold      the gateways rest between two INSERTs, to all shards; what they acknowledge waits in their spools
    freeze    the tables are cloned, by hard links, on all shards at once
    link      the gateway's spool, ledger and dead letters are linked; INSERTs go on
    tag       a tag holds the snapshot of each cold table; agers go on, and nobody waits for the backup any more
    write     the clones, the links and, where they are to be copied, the cold files go to the folder
    finish    every file is synced and summed, and the manifest says that the backup is whole

Killed at any step it leaves a folder that says that it is half, and what it had put aside, which the next ager that
starts removes.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from ingest import backup as gateway_backup
from neve_hold import Gateway, Held, others_of, wait_stored
from neve_serve import PINS_FILE
from neve_steps import BUSY_SECONDS, Say, patiently, streamed
from storage.ageing import Step
from storage.backup import cold as cold_backup
from storage.backup import hot as hot_backup
from storage.backup.manifest import (
    CONFIGURATION,
    GATEWAY,
    HOT,
    PINS,
    Base,
    ColdPart,
    Manifest,
    begin,
    chain,
    finish,
    read,
)
from storage.cold import ColdTier
from storage.embedded_files import BACKUP_DISK, backups_folder, write_private
from storage.errors import BackupFailed, BackupRefused, NeveError
from storage.hot import Hot
from storage.leases import LEASE_SECONDS, held
from storage.shards import Shard, Shards
from storage.spreading import look

LEASE = "backup"
ASIDE = "backup-aside"  # in the data folder: what backups under way have put aside, by their ids
LAST = "last-backup.json"  # in the data folder: the backup that was finished last
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """What a backup is of. `gateway`, `headers`: its socket, and how it knows us; `disk`: of outside servers."""

    data: Path
    gateway: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    disk: str = ""
    embedded: bool = True
    configuration: str = ""
    gateways: tuple[str, ...] = ()  # addresses of all of the cluster
    word: str = field(default="", repr=False)  # how those know us


def backup_there(
    shards: Shards, cold: ColdTier, place: Place, asked: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Back up as was asked: the steps as they are done, and the error that ended it."""

    def work(say: Say) -> None:
        folder = Path(str(asked.get("folder", "")))
        base = Path(str(asked["base"])) if asked.get("base") else None
        without = [str(name) for name in asked.get("without") or ()]
        Backup(shards, cold, place, say, without).take(folder, asked.get("with_cold"), base)

    yield from streamed(work)


def release_there(cold: ColdTier, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Let go of what a backup holds in the cold tier: the steps as they are done, and the error that ended it."""

    def work(say: Say) -> None:
        id_ = str(asked.get("id", ""))
        count = let_go(cold, id_)
        say(Step("release", LEASE, f"{count} tables hold nothing for {id_} any more"))

    yield from streamed(work)


class Backup:
    """One backup of one server, or of all shards of a cluster but those that it is to do `without`."""

    def __init__(
        self, cluster: Shards, cold: ColdTier, place: Place, say: Say, without: Sequence[str] = ()
    ) -> None:
        self.cluster = cluster
        self.without = without
        self.shards = [one for one in cluster if one.name not in without]
        self.cold = cold
        self.place = place
        self.id = secrets.token_hex(8)
        self.aside = place.data / ASIDE / self.id
        self._say = say

    def take(self, folder: Path, with_cold: bool | None = None, base: Path | None = None) -> Manifest:
        """Back up into a folder; what is in it. Raises NeveError, BackupRefused before anything is begun."""
        self._check(folder)
        self._check_shards()
        stands_on = chain(base) if base is not None else []
        self._check_base(stands_on)
        copies = self._dies_with_the_disk() if with_cold is None else with_cold
        with self._speaking(), ExitStack() as opened:
            gateways = self._gateways(opened)
            for one in self.shards:
                opened.enter_context(patiently_held(one.hot, LEASE))
            begin(folder, self.id)
            try:
                manifest = self._freeze(gateways)
                manifest = self._write(folder, manifest, stands_on, copies=copies)
            except BaseException:
                with suppress(NeveError):
                    let_go(self.cold, self.id)
                raise
            finally:
                for one in self.shards:
                    with suppress(NeveError):
                        hot_backup.thaw(one.hot)
                remove_aside(self.place, self.id)
        size = sum(size for size, _ in manifest.files.values())
        said = {"id": self.id, "taken": manifest.taken, "at": time.time(), "bytes": size}
        write_private(self.place.data / LAST, json.dumps(said))
        text = f"backup {self.id} of {manifest.taken}: {len(manifest.files)} files, {size:,} bytes"
        lacks = "".join(f"; without shard {name}" for name in manifest.without)
        self.say("done", text + lacks)
        return manifest

    def say(self, step: str, text: str) -> None:
        self._say(Step(step, LEASE, text))

    # --- at one moment -------------------------------------------------------------------------------------

    def _freeze(self, gateways: Mapping[str, Gateway]) -> Manifest:
        with ExitStack() as leases:
            for one in self.shards:
                for namespace in one.hot.namespaces():
                    leases.enter_context(patiently_held(one.hot, f"ager of {namespace}"))
            self.aside.mkdir(parents=True)
            began = time.monotonic()
            with ExitStack() as holds:
                for gateway in gateways.values():
                    holds.enter_context(Held(gateway, self._left_out()))
                parts = self._each(lambda one: hot_backup.freeze(one.hot, self.place.disk, one.name))
                spooled, refused = gateway_backup.link(self.place.data / "gateway", self.aside)
                taken = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            rested = time.monotonic() - began
            self._refuse_others(gateways)
            # Nobody changes the cold tier meanwhile: the leases are held.
            cold = self._hold_cold()
        tables = sum(len(part.tables) for part in parts)
        text = f"{tables} tables, {spooled} blocks of the spool, as of {taken}"
        self.say("freeze", f"{text}; INSERTs rested for {rested:.1f} s")
        names = tuple(one.name for one in self.cluster if one.name)
        return Manifest(self.id, version("neve"), taken, tuple(parts), cold, spooled, refused, shards=names)

    def _hold_cold(self) -> tuple[ColdPart, ...]:
        found = []
        for namespace in self.cold.catalog.namespaces():
            table = self.cold.catalog.table(namespace)
            part = cold_backup.hold(table, self.id) if table is not None else None
            if part is not None:
                found.append(part)
        return tuple(found)

    # --- as long as it takes -------------------------------------------------------------------------------

    def _write(
        self, folder: Path, manifest: Manifest, stands_on: list[tuple[Path, Manifest]], *, copies: bool
    ) -> Manifest:
        self._write_hot(folder, manifest, stands_on)
        cold = tuple(self._write_cold(folder, part, stands_on, copies=copies) for part in manifest.cold)
        if copies:
            let_go(self.cold, self.id)
        shutil.copytree(self.aside, folder / GATEWAY)
        (folder / CONFIGURATION).write_text(self.place.configuration)
        pins = self.place.data / PINS_FILE
        if pins.exists():
            shutil.copyfile(pins, folder / PINS)
        base = Base(stands_on[0][1].id, str(stands_on[0][0].absolute())) if stands_on else None
        return finish(folder, replace(manifest, cold=cold, base=base))

    def _write_hot(self, folder: Path, manifest: Manifest, stands_on: list[tuple[Path, Manifest]]) -> None:
        disk = self.place.disk or BACKUP_DISK
        before = stands_on[0][1] if stands_on else None

        def write(shard: Shard) -> None:
            part = manifest.part(shard.number)
            assert part is not None
            known = before.part(shard.number) if before is not None else None
            base = known.path(before.id) if before is not None and known is not None else ""
            hot_backup.write(shard.hot, part, disk, part.path(self.id), base)
            of = f" of shard {shard.name}" if shard.name else ""
            self.say("hot", f"clickhouse has backed up {len(part.tables)} tables{of}")

        with links(self.place, [(folder, self.id), *((one, said.id) for one, said in stands_on)]):
            self._each(write)

    def _write_cold(
        self, folder: Path, part: ColdPart, stands_on: list[tuple[Path, Manifest]], *, copies: bool
    ) -> ColdPart:
        table = self.cold.catalog.table(part.namespace)
        if table is None:
            raise BackupFailed(f"cannot back up the cold tier of {part.namespace}: its table has gone")
        if not copies:
            cold_backup.keep_metadata(table, part, folder)
            self.say("cold", f"snapshot {part.snapshot_id} of {part.namespace} is held in the warehouse")
            return part
        known = {
            file.name: file.size
            for _, said in stands_on
            for one in said.cold
            if one.namespace == part.namespace and one.copied
            for file in one.files
        }
        part = cold_backup.copy(table, part, folder, known)
        self.say("cold", f"{part.rows:,} events of {part.namespace} in {len(part.files)} files")
        return part

    # --- what it needs -------------------------------------------------------------------------------------

    def _check(self, folder: Path) -> None:
        if not folder.is_absolute():
            raise BackupRefused(f"cannot back up to {str(folder)!r}", "give an absolute path")
        if folder.resolve().is_relative_to(self.place.data.resolve()):
            raise BackupRefused(f"cannot back up to {folder}: it is in the data folder", "use another disk")
        if not (self.place.data / GATEWAY).is_dir():
            raise BackupRefused(
                f"cannot find the gateway's folder: {self.place.data / GATEWAY}",
                "ask the ager beside the gateway",
            )
        if not self.place.embedded and not self.place.disk:
            key, whose = (
                ("cluster.backup_disk", "every server's")
                if self.cluster.home.name
                else ("clickhouse.backup_disk", "its")
            )
            raise BackupRefused(
                "cannot back up clickhouse: no disk of its is named for backups",
                f"set `{key}` to one that {whose} `backups.allowed_disk` names",
            )

    def _check_shards(self) -> None:
        """A part of the events is no backup, unless it was asked for."""
        names = [one.name for one in self.cluster if one.name]
        for name in self.without:
            if name not in names:
                raise BackupRefused(
                    f"cannot find shard: {name[:40]!r}",
                    f"known: {', '.join(names) or 'none, it is no cluster'}",
                )
        if not self.shards:
            raise BackupRefused("cannot back up without any shard", "leave one of --without out")
        if self.cluster.several and (away := look(self.cluster, self.shards)):
            name, reason = away[0].name, away[0].reason
            raise BackupRefused(
                f"cannot back up: shard {name} is away, and what is hot there would be missing: {reason}",
                f"start it; or say --without {name}, and know that this is not in the backup",
            )

    def _left_out(self) -> set[int]:
        return {one.number for one in self.cluster if one not in self.shards}

    def _gateways(self, opened: ExitStack) -> dict[str, Gateway]:
        """All that insert, by their names, with nothing in the spools of the others that they have acknowledged by now.

        Raises BackupRefused, BackupFailed.
        """
        began = time.monotonic()
        mine = opened.enter_context(Gateway.beside(self.place.gateway, self.place.headers))
        name = mine.name()
        others = others_of(name, self.place.gateways, self.place.word)
        for one in others.values():
            opened.enter_context(one)
        self._refuse_others({name: mine, **others})
        wait_stored(list(others.values()), began, self._left_out())
        return {name: mine, **others}

    def _refuse_others(self, known: Mapping[str, Gateway]) -> None:
        """Another gateway would insert while tables are cloned, and what it has acknowledged lies in its own spool."""
        for one in self.shards:
            for other in one.hot.registry.all():
                if other.live and other.who.kind == "gateway" and other.who.inserter not in known:
                    who = f"gateway {other.who.inserter} on {other.who.host}"
                    raise BackupRefused(
                        f"cannot back up: {who} inserts too, and what waits in its spool would be missing",
                        "name all in cluster.gateways; or stop it meanwhile, and copy its data folder",
                    )

    def _check_base(self, stands_on: list[tuple[Path, Manifest]]) -> None:
        for folder, said in stands_on:
            if any(part.disk != self.place.disk for part in said.hot):
                raise BackupRefused(
                    f"cannot stand on backup {folder}: it is of another clickhouse", "make one without --base"
                )

    def _dies_with_the_disk(self) -> bool:
        """Are the cold files in the data folder?"""
        return self.cold.config.is_local and self.cold.config.lake.absolute().is_relative_to(self.place.data)

    def _each(self, work: Callable[[Shard], T]) -> list[T]:
        """What it comes to on each shard, on all at once, in their order."""
        with ThreadPoolExecutor(max_workers=len(self.shards)) as pool:
            return list(pool.map(work, self.shards))

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise BackupFailed(
                f"cannot write backup{where}: {(error.strerror or str(error)).lower()}"
            ) from error


@contextmanager
def patiently_held(hot: Hot, name: str) -> Iterator[None]:
    """A lease, waited for: also until that of a process that was killed has run out. Raises AgerBusy."""
    with ExitStack() as stack:
        patiently(lambda: stack.enter_context(held(hot, name)), LEASE_SECONDS + BUSY_SECONDS)
        yield


@contextmanager
def links(place: Place, folders: list[tuple[Path, str]]) -> Iterator[None]:
    """Let the embedded server's disk for backups have those folders, by the backups' ids."""
    if not place.embedded:
        yield
        return
    made = []
    try:
        for folder, id_ in folders:
            link = backups_folder(place.data / "clickhouse") / id_
            link.parent.mkdir(parents=True, exist_ok=True)
            (folder / HOT).mkdir(exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to((folder / HOT).resolve())
            made.append(link)
        yield
    finally:
        for link in made:
            link.unlink(missing_ok=True)


def let_go(cold: ColdTier, id_: str) -> int:
    """Let every cold table go on without what it holds for a backup; how many held something. Raises NeveError."""
    count = 0
    for namespace in cold.catalog.namespaces():
        table = cold.catalog.table(namespace)
        count += int(table is not None and cold_backup.let_go(table, id_))
    return count


def remove_aside(place: Place, id_: str) -> None:
    """What a backup had put aside, and its link."""
    shutil.rmtree(place.data / ASIDE / id_, ignore_errors=True)
    (backups_folder(place.data / "clickhouse") / id_).unlink(missing_ok=True)


def last_backup(data: Path) -> float:
    """When the last backup was finished, in seconds since 1970; 0 where there was none."""
    try:
        return float(json.loads((data / LAST).read_text())["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def clear(hots: Sequence[Hot], cold: ColdTier, place: Place) -> list[str]:
    """Remove what backups that were killed have left; their ids. `hots`: of each shard.

    Raises AgerBusy while one is made, NeveError.
    """
    folder = place.data / ASIDE
    left = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    with ExitStack() as leases:
        for hot in hots:
            leases.enter_context(held(hot, LEASE))
        for hot in hots:
            hot_backup.thaw(hot)
        for id_ in left:
            let_go(cold, id_)
            remove_aside(place, id_)
    return left


def id_of(folder: Path) -> str:
    """The id of a backup, whole or half. Raises BackupRefused."""
    return read(folder).id
