"""`neve restore backup DIR --shard NAME`: one lost shard is put back of a backup, while the others go on.

The others have gone on since the backup: what became cold meanwhile leaves the hot tier that was put back, new epochs
go on above it, and deletions that they know hold there too. Keys, settings and namespaces it gets as any shard that was
away. Nobody may use the server before that: it is restored at an address at which nobody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neve_restore import check_places, opened, put_back_hot, spread_deletions
from neve_serve import ServeConfig
from storage.backup import cold as cold_backup
from storage.backup import hot as hot_backup
from storage.backup.manifest import Manifest, read, verify_all
from storage.cold import ColdTier
from storage.config import ShardConfig
from storage.errors import BackupRefused, StorageUnavailable
from storage.shards import Shard

ASIDE = (
    "let the new server listen at another address until this is done, name that one in a copy of the configuration, "
    "and give it with --config"
)


@dataclass
class RestoringShard:
    """One restore of the shard `name`, at the address that the configuration has for it."""

    folder: Path
    config: ServeConfig
    name: str
    tell: Callable[[str], None]

    def run(self) -> None:
        """Raises BackupRefused before anything is changed, BackupDamaged, BackupFailed, NeveError."""
        servers = self.config.shards()
        manifest = read(self.folder)
        number = self._number(manifest, servers)
        check_places(manifest, servers)
        verify_all(self.folder, self.tell)
        cold = ColdTier(self.config.cold_config())
        cold.catalog.namespaces()  # asked before anything is changed
        with opened(servers) as shards:
            mine = shards.numbered(number)
            assert mine is not None
            others = [one for one in shards if one is not mine]
            for one in others:
                _needed(one)
            _refuse_used(mine)
            put_back_hot(mine, manifest, self.tell)
            for namespace, epoch in cold_backup.follow(mine.hot, cold).items():
                self.tell(
                    f"{namespace}: what has become cold since the backup is read there; epochs go on above {epoch}"
                )
            spread_deletions(others, [mine])
            hot_backup.finish(mine.hot)
        self.tell(
            f"shard {self.name}: as it was at {manifest.taken}; what it was given after that, and is not cold, is lost"
        )

    def _number(self, manifest: Manifest, servers: Sequence[ShardConfig]) -> int:
        number = next((one.number for one in servers if one.name == self.name), 0)
        if not number:
            listed = ", ".join(one.name for one in servers) or "none"
            raise BackupRefused(
                f"cannot restore shard {self.name}: cluster.shards has no shard of this name",
                f"it has {listed}",
            )
        if manifest.part(number) is None:
            raise BackupRefused(
                f"cannot restore shard {self.name}: the backup has nothing of its place, {number}",
                "use one that was made with it",
            )
        return number


def _needed(shard: Shard) -> None:
    """What was deleted since is asked of the others."""
    try:
        shard.hot.ping()
    except StorageUnavailable as error:
        raise BackupRefused(
            f"cannot restore: shard {shard.name} is away, and knows what was deleted since the backup: {error.message}",
            "start it first",
        ) from None


def _refuse_used(shard: Shard) -> None:
    """A server at the address that everybody knows has been found, and given what it lacks, by now."""
    try:
        hot_backup.refuse_used(shard.hot)
    except BackupRefused as error:
        raise BackupRefused(error.message, f"{error.hint}; {ASIDE}") from None
