"""The end of a process that shall run: asked for, and where it does not come made and said."""

import sys
import time
from pathlib import Path

import pytest

from storage import supervise
from storage.supervise import Child

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
HEARS = "import time; print('here', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("program", "code", "told"), [(DEAF, -9, ["one does not end; killing it after 1 s"]), (HEARS, -15, [])]
)
def test_who_does_not_end_is_killed_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, code: int, told: list[str]
) -> None:
    monkeypatch.setattr(supervise, "STOP_SECONDS", 1.0 if told else 60.0)
    child = Child("one", [sys.executable, "-c", program], {}, tmp_path / "log")
    child.start()
    process, said = child.process, list[str]()
    assert process is not None
    while "here" not in child.log.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    child.stop(said.append)
    assert (process.returncode, said, child.process) == (code, told, None)
