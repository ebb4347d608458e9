"""A gateway's folder in a backup: what it has acknowledged and ClickHouse does not have, and what it knows of the rest.

A spooled block never changes, so to link its file takes no time; the copy is made from the link, later. The ledger
grows in place and is copied. Whoever asks lets the gateway hold (`holding.py`): nothing leaves the spool meanwhile.
"""

import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ingest.durable import fsync_folder, make_folder
from ingest.ledger import Ledger
from ingest.spool import BLOCK_SUFFIX, DAMAGED_FOLDER

SPOOL, DEAD_LETTERS, LEDGER = "spool", "deadletter", "ledger/accepted"
# Dead letters before the spool: one that is sent again meanwhile is in both, and known as a repetition.
LINKED = (DEAD_LETTERS, f"{SPOOL}/{DAMAGED_FOLDER}", SPOOL)
COPIED = (LEDGER, "namespaces.json", "access.json")


def link(gateway: Path, aside: Path) -> tuple[int, int]:
    """Put what is to be kept into `aside`, on the same disk; how many blocks wait and were refused. Raises OSError."""
    for name in COPIED:
        with suppress(FileNotFoundError):
            _copy(gateway / name, aside / name)
    for name in LINKED:
        (aside / name).mkdir(parents=True, exist_ok=True)
        for path in _blocks(gateway / name):
            with suppress(FileNotFoundError):  # a dead letter that was sent again
                os.link(path, aside / name / path.name)
    return _count(aside / SPOOL), _count(aside / DEAD_LETTERS)


def restore(kept: Path, gateway: Path, now: float | None = None) -> None:
    """Make a gateway's folder of what was kept. Raises OSError.

    Who restores does not know what was accepted, and stored in the cold tier, after the backup: so ClickHouse is asked
    for every block that was made before now.
    """
    for name in (*LINKED, *(str(Path(one).parent) for one in COPIED)):
        make_folder(gateway / name)
    for path in [one for one in kept.rglob("*") if one.is_file()]:
        _copy(path, gateway / path.relative_to(kept), sync=True)
    for name in LINKED:
        fsync_folder(gateway / name)
    ledger = Ledger(gateway / LEDGER)
    ledger.doubt_through(time.time() if now is None else now)
    ledger.close()


def _blocks(folder: Path) -> Iterable[Path]:
    """Blocks, and the reasons beside those that were set aside."""
    return [one for one in folder.glob(f"*{BLOCK_SUFFIX}*") if not one.name.endswith(".tmp")]


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*" + BLOCK_SUFFIX))


def _copy(source: Path, target: Path, *, sync: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as reading, open(target, "wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        if sync:
            writing.flush()
            os.fsync(writing.fileno())
