"""Files of a local warehouse, on disk before anything names them.

The catalog's pointer is synced by SQLite. What it points to must be on disk by then, and the hot partition goes for
good soon after: so every file is synced when it is closed, with the folders that were made for it.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO


class SyncedFile(io.FileIO):
    """A file that is on disk, with its name, once `close` has returned."""

    def __init__(self, path: str, *, overwrite: bool) -> None:
        self._folders = _make_folders(Path(path).parent)
        super().__init__(path, "w" if overwrite else "x")

    def write(self, data: Any) -> int:
        """All of it: pyiceberg does not look at how much was written."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return done

    def close(self) -> None:
        if not self.closed:
            os.fsync(self.fileno())
            super().close()
            for folder in self._folders:
                _sync_folder(folder)


class SyncedOutput(PyArrowFile):
    """Makes a SyncedFile."""

    def create(self, overwrite: bool = False) -> Any:
        return io.BufferedWriter(SyncedFile(self._path, overwrite=overwrite), 1 << 20)


class SyncedFileIO(PyArrowFileIO):
    """pyiceberg's own files, synced where they are local."""

    def new_output(self, location: str) -> PyArrowFile:
        made: PyArrowFile = super().new_output(location)
        scheme, _, path = self.parse_location(location, self.properties)
        if scheme != "file":
            return made
        return SyncedOutput(location, path, made._filesystem)


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it; those whose entries have changed, to be synced."""
    made = [folder]
    while not folder.exists():
        folder = folder.parent
        made.append(folder)
    made[0].mkdir(parents=True, exist_ok=True)
    return made


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
