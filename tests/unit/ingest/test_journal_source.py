"""The journal as the agent reads it, where journalctl is not what it should be."""

from pathlib import Path

import pytest

from ingest.batch import Batch, Labels
from ingest.checkpoints import Checkpoints
from ingest.counters import Counters
from ingest.sources import journal as journal_module
from ingest.sources.journal import Journal, JournalSettings

DENIED = "No journal files were opened due to insufficient permissions."


def test_why_journalctl_ends_is_told_until_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(journal_module, "AGAIN_SECONDS", 0.0)
    program, counters, batch = tmp_path / "journalctl", Counters(), Batch()

    def becomes(text: str) -> None:
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    becomes(f"echo '{DENIED}' >&2; exit 1")
    feed = Journal(
        JournalSettings(), Checkpoints(tmp_path / "checkpoints.json"), Labels(), counters, once=False
    )
    try:
        while not counters.troubles():
            feed.read(batch)
            feed.sleep(1.0)
        assert DENIED in counters.troubles()["journal"]
        becomes("printf '__CURSOR=a\\nMESSAGE=one\\n\\n'; exec sleep 60")
        while not batch.rows:
            feed.read(batch)
            feed.sleep(1.0)
        assert counters.troubles() == {}
    finally:
        feed.close()
