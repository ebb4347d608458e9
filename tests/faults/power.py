"""What a power cut leaves: a copy of a folder that takes over only what was synced.

SIGKILL never tests an fsync, because the kernel keeps what a dead process wrote. Here every fsync of a process
also copies what it made durable (a file's bytes, or the names in a folder) into a second place; after the
process was killed, the folder is put back to that. What was written or renamed and not synced is gone.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Mirror:
    """The durable state of `root`, kept in `folder`, which lies outside."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "folders").mkdir(exist_ok=True)

    # --- in the process that will be killed ---

    def install(self) -> None:
        """Make this process's fsyncs count."""
        self._wrap("fsync")
        self._wrap("fdatasync")
        real = os.open

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
            handle = real(path, flags, *args, **kwargs)
            if new:  # the inode may have been another file's
                self._file(os.fstat(handle).st_ino).unlink(missing_ok=True)
            return handle

        os.open = opened

    def _wrap(self, name: str) -> None:
        real: Callable[[int], None] = getattr(os, name)

        def synced(handle: int) -> None:
            real(handle)
            self._synced(Path(os.readlink(f"/proc/self/fd/{handle}")))

        setattr(os, name, synced)

    def _synced(self, path: Path) -> None:
        if path != self.root and self.root not in path.parents:
            return
        if path.is_dir():
            with os.scandir(path) as entries:
                names = {entry.name: entry.inode() for entry in entries}
            self._put(self._listing(path), json.dumps(names).encode())
        else:
            self._put(self._file(path.stat().st_ino), path.read_bytes())

    def _put(self, path: Path, data: bytes) -> None:
        aside = path.with_name(f"{path.name} {os.getpid()}")
        aside.write_bytes(data)
        aside.rename(path)

    # --- after it was killed ---

    def adopt(self) -> None:
        """Take everything that is in the folder now for synced: the state that a test starts from."""
        for path in (self.root, *self.root.rglob("*")):
            self._synced(path)

    def cut_power(self, chance: random.Random | None = None) -> None:
        """Put the folder back to what was synced. With `chance`, some of what was not may have survived too."""
        state = self._durable(self.root, chance)
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        _write(self.root, state)

    def _durable(self, folder: Path, chance: random.Random | None) -> dict[str, Any]:
        """Names to bytes, or to the same of a folder."""
        listing = self._listing(folder)
        synced: dict[str, int] = json.loads(listing.read_bytes()) if listing.exists() else {}
        now = {path.name: path.stat().st_ino for path in folder.iterdir()} if folder.is_dir() else {}
        found: dict[str, Any] = {}
        for name in sorted(synced.keys() | now.keys()):
            inode = synced.get(name)
            if chance is not None and now.get(name) != inode and chance.random() < 0.5:
                inode = now.get(name)
            if inode is None:
                continue
            path = folder / name
            if path.is_dir() or self._listing(path).exists():
                found[name] = self._durable(path, chance)
            else:
                found[name] = self._content(path, inode, chance)
        return found

    def _content(self, path: Path, inode: int, chance: random.Random | None) -> bytes:
        synced = self._file(inode).read_bytes() if self._file(inode).exists() else b""
        if chance is None or not path.exists() or path.stat().st_ino != inode:
            return synced
        now = path.read_bytes()
        if now == synced or not now.startswith(synced):
            return synced
        return now[: chance.randrange(len(synced), len(now) + 1)]  # as much as the disk had come to

    def _file(self, inode: int) -> Path:
        return self.folder / "files" / str(inode)

    def _listing(self, folder: Path) -> Path:
        name = "in " + str(folder.relative_to(self.root)).replace("/", "%")
        return self.folder / "folders" / name


def _write(folder: Path, state: dict[str, Any]) -> None:
    for name, content in state.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            _write(folder / name, content)
        else:
            (folder / name).write_bytes(content)


def forget(name: str) -> None:
    """Let the spool sync no file (`fsync`) or no folder (`fsync_folder`), as if somebody had forgotten to."""
    from ingest import durable, spool

    def write_aside(path: Path, data: bytes) -> Path:
        aside = path.with_name(path.name + durable.TEMPORARY_SUFFIX)
        aside.write_bytes(data)
        return aside

    if name == "fsync":
        spool.write_aside = write_aside
    else:
        spool.fsync_folder = lambda _folder: None
