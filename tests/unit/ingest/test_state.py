"""The agent's folder: one process at a time, one id for ever, another one for a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.errors import StateDamaged, StateInUse
from ingest.state import StateFolder


def test_folder_is_held_by_one(tmp_path: Path) -> None:
    with StateFolder(tmp_path), pytest.raises(StateInUse, match="another process holds it"):
        StateFolder(tmp_path)
    StateFolder(tmp_path).close()


def test_folder_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "import sys, os; from ingest.state import StateFolder; from pathlib import Path\n"
    code += "StateFolder(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    StateFolder(tmp_path).close()


def test_id_stays(tmp_path: Path) -> None:
    with StateFolder(tmp_path) as state:
        first = state.identity()
        assert state.identity() == first
    with StateFolder(tmp_path) as state:
        assert state.identity() == first


def test_copied_folder_takes_an_id_of_its_own(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "one") as state:
        first = state.identity()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with StateFolder(tmp_path / "two") as copy:
        assert copy.identity().agent_id != first.agent_id


def test_damaged_identity_is_said(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text("{}")
    with StateFolder(tmp_path) as state, pytest.raises(StateDamaged, match="cannot read agent identity"):
        state.identity()


def test_folder_is_private(tmp_path: Path) -> None:
    StateFolder(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0
    assert os.listdir(tmp_path / "a" / "b") == ["lock"]
