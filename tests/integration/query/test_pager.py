"""Long answers go through a pager where somebody looks at them, and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import sys
from query.pager import paged
from query.terminal import Screen
with paged(wanted=sys.argv[1] == "yes") as out:
    screen = Screen(out)
    for number in range(int(sys.argv[2])):
        screen.line(f"line {number}")
"""


def on_terminal(wanted: str, lines: int, **environment: str) -> str:
    """What the program writes on a terminal of its own."""
    master, slave = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name not in ("PAGER", "NEVE_PAGER", "LESS")}
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW, wanted, str(lines)], stdin=slave, stdout=slave, stderr=slave, env=env | environment
    )  # fmt: skip
    os.close(slave)
    said = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the last who wrote to it has ended
            break
        if not data:
            break
        said += data
    os.close(master)
    assert process.wait() in (0, 1)
    return said.decode().replace("\r\n", "\n")


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """One that says that it was here, and with which options."""
    script = tmp_path / "pager"
    script.write_text('#!/bin/sh\necho "pager $LESS"; cat\n')
    script.chmod(0o755)
    return str(script)


def test_a_terminal_gets_a_pager(pager: str) -> None:
    assert on_terminal("yes", 2, PAGER=pager) == "pager FRX\nline 0\nline 1\n"
    assert on_terminal("yes", 1, PAGER="cat", NEVE_PAGER=f"{pager} -x", LESS="S") == "pager S\nline 0\n"


def test_who_wants_none_gets_none(pager: str) -> None:
    assert on_terminal("no", 1, PAGER=pager) == "line 0\n"
    assert on_terminal("yes", 1, PAGER="cat") == "line 0\n"
    assert on_terminal("yes", 1, NEVE_PAGER="", PAGER=pager) == "line 0\n"
    assert on_terminal("yes", 0, PAGER=pager) == ""


def test_a_pager_that_is_not_there_loses_nothing() -> None:
    said = on_terminal("yes", 1, PAGER="/nowhere/pager")
    assert said == "neve: cannot start pager /nowhere/pager: no such file or directory; set PAGER\nline 0\n"


def test_a_pager_that_cannot_be_read_is_told_of() -> None:
    said = on_terminal("yes", 3, PAGER="less '")
    assert "neve: cannot read PAGER: no closing quotation; set it to a command" in said
    assert "line 2" in said
    assert "Traceback" not in said


def test_a_pipe_gets_the_lines_alone(pager: str) -> None:
    command = [sys.executable, "-c", SHOW, "yes", "2"]
    found = subprocess.run(
        command, env={**os.environ, "PAGER": pager}, capture_output=True, text=True, check=True
    )
    assert found.stdout == "line 0\nline 1\n"
