"""Who this agent is: an id that no other agent has, and a lock on the folder that says so."""

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ingest.durable import make_folder, replace_file
from ingest.errors import StateDamaged, StateInUse

AGENT_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """`agent_id` marks this agent's blocks; `folder` (device, inode) is where it was made."""

    agent_id: str
    folder: tuple[int, int]


class StateFolder:
    """A folder held by one process at a time: `spool/`, `deadletter/`, checkpoints and identity."""

    def __init__(self, folder: Path) -> None:
        """Raises StateInUse where another process holds it, OSError where it cannot be made."""
        self.folder = folder
        make_folder(folder)
        self._lock = _lock(folder)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def dead_letters(self) -> Path:
        return self.folder / "deadletter"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints.json"

    def identity(self) -> Identity:
        """This agent's id, made at the first call, durable. Raises StateDamaged, OSError.

        A folder that was copied or restored lies under another inode: two agents would number different
        blocks alike, so the copy takes an id of its own.
        """
        path = self.folder / "agent.json"
        found = self.folder.stat()
        here = (found.st_dev, found.st_ino)
        known = _load(path) if path.exists() else None
        return known if known is not None and known.folder == here else self.renew()

    def renew(self) -> Identity:
        """Take a new id, durably. Raises OSError."""
        found = self.folder.stat()
        made = Identity(secrets.token_hex(AGENT_ID_BYTES), (found.st_dev, found.st_ino))
        state = {"agent_id": made.agent_id, "folder": list(made.folder)}
        replace_file(self.folder / "agent.json", json.dumps(state).encode() + b"\n")
        return made

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._lock)

    def __enter__(self) -> "StateFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(folder: Path) -> int:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise StateInUse(f"cannot use state folder: {folder}: another process holds it") from error
    return handle


def _load(path: Path) -> Identity:
    try:
        state = json.loads(path.read_bytes())
        device, inode = state["folder"]
        return Identity(str(state["agent_id"]), (int(device), int(inode)))
    except (ValueError, KeyError, TypeError) as error:
        raise StateDamaged(
            f"cannot read agent identity: {path}: {error}",
            "restore the file, or delete it to take a new identity",
        ) from error
