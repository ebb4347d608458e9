"""`neve restore backup`: a data folder made anew of a backup, for a server that is stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest import backup as gateway_backup
from neve_backup import Place, links
from neve_serve import PINS_FILE, RESTORING, ServeConfig
from storage.backup import cold as cold_backup
from storage.backup import hot as hot_backup
from storage.backup.manifest import GATEWAY, PINS, ColdPart, Manifest, chain, verify_all
from storage.cold import ColdTier
from storage.config import ClickHouseConfig
from storage.embedded import EmbeddedServer
from storage.embedded_files import BACKUP_DISK, sync_folders, write_private
from storage.errors import BackupFailed, BackupRefused
from storage.hot import Hot

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
        self._refuse_used(data)
        stands_on = chain(self.folder)
        verify_all(self.folder, self.tell)
        manifest = stands_on[0][1]
        try:
            data.mkdir(parents=True, exist_ok=True)
            write_private(data / RESTORING, manifest.id)
            with self._storage(data) as hot:
                self._restore_tiers(hot, stands_on)
            gateway_backup.restore(self.folder / GATEWAY, data / "gateway")
            if (self.folder / PINS).exists():
                shutil.copyfile(self.folder / PINS, data / PINS_FILE)
            (data / RESTORING).unlink()
        except OSError as error:
            raise BackupFailed(
                f"cannot restore to {data}: {(error.strerror or str(error)).lower()}"
            ) from error
        self.tell(
            f"{data}: as it was at {manifest.taken}; {manifest.spooled} blocks go on to clickhouse when it starts"
        )
        return manifest

    def _restore_tiers(self, hot: Hot, stands_on: list[tuple[Path, Manifest]]) -> None:
        manifest = stands_on[0][1]
        disk = manifest.hot.disk or BACKUP_DISK
        place = Place(self.config.data, "", embedded=not self.config.clickhouse.url)
        with links(place, [(folder, said.id) for folder, said in stands_on]):
            hot_backup.restore(hot, manifest.hot, disk, manifest.id)
        self.tell(f"{len(manifest.hot.tables)} tables are back in clickhouse")
        cold = ColdTier(self.config.cold_config())
        for part in manifest.cold:
            self.tell(
                f"{part.namespace}: {part.rows:,} cold events: {self._restore_cold(hot, cold, part, stands_on)}"
            )

    def _restore_cold(
        self, hot: Hot, cold: ColdTier, part: ColdPart, stands_on: list[tuple[Path, Manifest]]
    ) -> str:
        if not part.copied:
            return cold_backup.restore_held(hot, cold, part, self.folder)
        if part.namespace in cold.catalog.namespaces():
            raise BackupRefused(
                f"cannot restore the cold tier of {part.namespace}: the catalog has it",
                "name an empty catalog",
            )
        cold_backup.restore_copied(hot, cold, part, [folder for folder, _ in stands_on])
        return f"{len(part.files)} files are in {cold.config.warehouse_uri}"

    @contextmanager
    def _storage(self, data: Path) -> Iterator[Hot]:
        if self.config.clickhouse.url:
            with Hot(ClickHouseConfig.from_url(self.config.clickhouse.url)) as hot:
                yield hot
            return
        lake = self.config.cold_config().lake
        with EmbeddedServer(data / "clickhouse", lake=lake) as server, Hot(server.config) as hot:
            yield hot
            sync_folders(server.data_dir)

    def _refuse_used(self, data: Path) -> None:
        if data.exists() and (not data.is_dir() or any(data.iterdir())):
            half = data.is_dir() and (data / RESTORING).exists()
            what = "an earlier restore did not finish there" if half else "it is not empty"
            raise BackupRefused(
                f"cannot restore to {data}: {what}", "delete it first" if half else "name another with --data"
            )
