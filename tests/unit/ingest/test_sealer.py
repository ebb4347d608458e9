"""What was read is in the spool when the agent is told to stop, if there is room."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ingest.batch import Batch, Labels
from ingest.counters import Counters
from ingest.sealer import Sealer
from ingest.sources.stdin import Stdin
from ingest.spool import Spool


class Waiting(Spool):
    """Takes nothing before somebody gives up."""

    def __init__(self, folder: Path, quota: int) -> None:
        super().__init__(folder, quota, 0)
        self.given_up = threading.Event()

    def put(self, *arguments: Any, **named: Any) -> Any:
        self.given_up.wait()
        return super().put(*arguments, **named)

    def wake(self) -> None:
        super().wake()
        self.given_up.set()


def fill(sealer: Sealer, text: bytes) -> None:
    """As the agent does with a line of standard input."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    batch = sealer.empty(60)
    assert isinstance(batch, Batch)
    Stdin(Labels(), reading).read(batch)
    os.close(reading)
    sealer.seal(batch)


@pytest.mark.parametrize(("quota", "kept"), [(1 << 30, True), (1, False)])
def test_who_stops_keeps_what_there_is_room_for(tmp_path: Path, quota: int, kept: bool) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    spool = Waiting(folder, quota)
    sealer = Sealer(spool, Counters(), agent_id="a", namespace="default", first_sequence=1)
    fill(sealer, b"first\n")
    fill(sealer, b"second\n")
    assert sealer.close(give_up=True) == kept
    assert len(spool) == (2 if kept else 1)  # one alone may be above the quota
