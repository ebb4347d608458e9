"""The program's own words: what it says to a command that it does not know, and what each room's name loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import neve
from query.cli import nothing


def test_a_mistyped_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert neve.main(["serach", "x"]) == neve.MISUSED
    assert capsys.readouterr().err == "neve: there is no command 'serach'; did you mean 'search'?\n"


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        neve.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("neve ")


def test_every_command_is_in_its_room() -> None:
    known = neve.build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert sorted(known or ()) == sorted(neve.ROOMS)


@pytest.mark.parametrize(
    ("query", "ranged", "said"),
    [
        ("service=shop", None, "a field is written service:shop"),
        ("level:error service=web-1 x", "1h", "a field is written service:web-1"),
        ("zqx", "1h", "widen --from and --to"),
        ("a=b=c", None, "nothing found; ask for less"),
    ],
)
def test_where_nothing_is_found_it_says_why(query: str, ranged: str | None, said: str) -> None:
    assert said in nothing(query, ranged)


@pytest.mark.parametrize("command", [["redact", "--preview"], ["lex"]])
def test_a_reader_of_a_pipe_may_leave(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.log").write_text("line\n" * 50_000)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        program = [sys.executable, "-m", "neve", *command, str(tmp_path / "a.log")]
        ended = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert ended.stderr == b""
