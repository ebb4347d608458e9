"""Dead letters, as they are listed while others go."""

from pathlib import Path
from typing import Any

from ingest.deadletter import DeadLetters
from ingest.spool import Spool


def test_one_that_goes_meanwhile_is_not_listed(tmp_path: Path, sealed: Any) -> None:
    spool, letters = Spool(tmp_path / "spool"), DeadLetters(tmp_path / "deadletter")
    for entry in spool.put([sealed(1), sealed(2)]):
        letters.take(spool, entry, "refused")
    gone, stays = letters.all()
    gone.path.unlink()
    gone.path.symlink_to(tmp_path / "sent again")  # its name was read, and then it was not there
    assert letters.all() == [stays]
