"""`neve restore backup`: a data folder made anew of a backup, for a server that is stopped.

Of a cluster each shard's part goes to the shard of its number, all of which are empty before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ingest import backup as gateway_backup
from neve_backup import Place, links
from neve_serve import PINS_FILE, RESTORING, ServeConfig
from storage import deletions
from storage.backup import cold as cold_backup
from storage.backup import hot as hot_backup
from storage.backup.manifest import GATEWAY, PINS, ColdPart, Manifest, chain, verify_all
from storage.cold import ColdTier
from storage.config import ShardConfig
from storage.deletions import Deletion
from storage.embedded import EmbeddedServer
from storage.embedded_files import BACKUP_DISK, sync_folders, write_private
from storage.errors import BackupFailed, BackupRefused
from storage.numbers import FIRST_SHARD
from storage.shards import Shard, Shards

Tell = Callable[[str], None]


@dataclass
class Restoring:
    """One restore, into the data folder of a configuration."""

    folder: Path
    config: ServeConfig
    tell: Tell

    def run(self) -> Manifest:
        """Raises BackupRefused before anything is changed, BackupDamaged, BackupFailed, NeveError."""
        data = self.config.data
        servers = self.config.shards()
        self._refuse_used(data)
        stands_on = chain(self.folder)
        manifest = stands_on[0][1]
        check_places(manifest, servers)
        verify_all(self.folder, self.tell)
        if servers:
            _refuse_used_shards(servers)
        try:
            data.mkdir(parents=True, exist_ok=True)
            write_private(data / RESTORING, manifest.id)
            with self._storage(data, servers) as shards:
                self._restore_tiers([one for one in shards if manifest.part(one.number)], stands_on)
            gateway_backup.restore(self.folder / GATEWAY, data / "gateway")
            if (self.folder / PINS).exists():
                shutil.copyfile(self.folder / PINS, data / PINS_FILE)
            (data / RESTORING).unlink()
        except OSError as error:
            raise BackupFailed(
                f"cannot restore to {data}: {(error.strerror or str(error)).lower()}"
            ) from error
        for name in manifest.without:
            self.tell(f"shard {name} is empty: the backup was made without it")
        self.tell(
            f"{data}: as it was at {manifest.taken}; {manifest.spooled} blocks go on to clickhouse when it starts"
        )
        return manifest

    def _restore_tiers(self, shards: Sequence[Shard], stands_on: list[tuple[Path, Manifest]]) -> None:
        manifest = stands_on[0][1]

        def put_back(shard: Shard) -> None:
            put_back_hot(shard, manifest, self.tell)

        place = Place(self.config.data, "", embedded=not self.config.shards())
        with (
            links(place, [(folder, said.id) for folder, said in stands_on]),
            ThreadPoolExecutor(max_workers=len(shards)) as pool,
        ):
            list(pool.map(put_back, shards))
        spread_deletions(shards)
        cold = ColdTier(self.config.cold_config())
        for part in manifest.cold:
            self.tell(
                f"{part.namespace}: {part.rows:,} cold events: {self._restore_cold(shards, cold, part, stands_on)}"
            )
        for one in shards:
            hot_backup.finish(one.hot)

    def _restore_cold(
        self,
        shards: Sequence[Shard],
        cold: ColdTier,
        part: ColdPart,
        stands_on: list[tuple[Path, Manifest]],
    ) -> str:
        hots = [one.hot for one in shards]
        if not part.copied:
            return cold_backup.restore_held(hots, cold, part, self.folder)
        if part.namespace in cold.catalog.namespaces():
            raise BackupRefused(
                f"cannot restore the cold tier of {part.namespace}: the catalog has it",
                "name an empty catalog",
            )
        cold_backup.restore_copied(hots, cold, part, [folder for folder, _ in stands_on])
        return f"{len(part.files)} files are in {cold.config.warehouse_uri}"

    @contextmanager
    def _storage(self, data: Path, servers: Sequence[ShardConfig]) -> Iterator[Shards]:
        """The shards: all have to answer."""
        if servers:
            with opened(servers) as shards:
                yield shards
            return
        lake = self.config.cold_config().lake
        with EmbeddedServer(data / "clickhouse", lake=lake) as server:
            with opened([ShardConfig("", FIRST_SHARD, server.config)]) as shards:
                yield shards
            sync_folders(server.data_dir)

    def _refuse_used(self, data: Path) -> None:
        if data.exists() and (not data.is_dir() or any(data.iterdir())):
            half = data.is_dir() and (data / RESTORING).exists()
            what = "an earlier restore did not finish there" if half else "it is not empty"
            raise BackupRefused(
                f"cannot restore to {data}: {what}", "delete it first" if half else "name another with --data"
            )


def check_places(manifest: Manifest, servers: Sequence[ShardConfig]) -> None:
    """Is there a shard for each part, of its number? `servers`: none where the embedded one is meant.

    Raises BackupRefused.
    """
    listed = ", ".join(manifest.shards)
    if len(manifest.shards) > max(1, len(servers)):
        have = f"{len(servers)} of them" if len(servers) > 1 else "one server"
        raise BackupRefused(
            f"cannot restore: the backup is of {len(manifest.shards)} shards ({listed}), "
            f"the configuration names {have}",
            "name as many in cluster.shards, in this order, each of them empty",
        )
    for one in servers:
        if one.name in manifest.shards and (was := manifest.shards.index(one.name) + 1) != one.number:
            raise BackupRefused(
                f"cannot restore: shard {one.name} was number {was} of the cluster, and is number {one.number} now",
                f"keep the order of cluster.shards: {listed}",
            )
    if not servers and manifest.hot[0].disk:
        raise BackupRefused(
            f"cannot restore: the hot tier is on the disk {manifest.hot[0].disk} of a clickhouse of your own",
            "name an empty server that has that disk with --config",
        )


def put_back_hot(shard: Shard, manifest: Manifest, tell: Tell) -> None:
    """The hot tier of a shard, which nobody uses until `hot_backup.finish`. Raises BackupRefused, BackupFailed."""
    part = manifest.part(shard.number)
    assert part is not None
    hot_backup.restore(shard.hot, part, part.disk or BACKUP_DISK, part.path(manifest.id))
    of = f" of shard {shard.name}" if shard.name else ""
    tell(f"{len(part.tables)} tables are back in clickhouse{of}")


@contextmanager
def opened(servers: Sequence[ShardConfig]) -> Iterator[Shards]:
    """Connections to all of them, of which nobody asks whether they answer."""
    shards = Shards(servers)
    try:
        yield shards
    finally:
        shards.close()


def _refuse_used_shards(servers: Sequence[ShardConfig]) -> None:
    """All of them, before anything is made on one. Raises BackupRefused, StorageUnavailable."""
    with opened(servers) as shards:
        for one in shards:
            hot_backup.refuse_used(one.hot)


def spread_deletions(shards: Sequence[Shard], to: Sequence[Shard] | None = None) -> None:
    """One that was being asked for while tables were cloned may be on some shards only: it holds on all of them.

    `to`: those that may lack one; default: all.
    """
    to = shards if to is None else to
    known = {one.number: {said.id for said in deletions.active(one.hot)} for one in to}
    for source in shards:
        for deletion in deletions.active(source.hot):
            for one in to:
                if deletion.id not in known[one.number]:
                    known[one.number].add(deletion.id)
                    deletions.record(one.hot, _anew(deletion, one))


def _anew(deletion: Deletion, shard: Shard) -> Deletion:
    """A deletion for a shard that does not know of it, by its own epochs."""
    until = max(shard.hot.epochs.last(deletion.namespace)[0], shard.hot.epochs.base)
    return replace(
        deletion, until=until, through=0, version=0, done=False, hot_rows=0, cold_rows=0, recount=frozenset()
    )
