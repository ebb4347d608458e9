"""Completion knows what the parsers know, and its scripts work in a shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import neve
from neve_completion import SHELLS, commands, script

KNOWN = list(commands(neve.build_parser()))
COMPLETE = """
{script}
COMP_WORDS=({words})
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_neve
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_every_command_and_its_options_are_known() -> None:
    by_words = {command.words: command for command in KNOWN}
    assert set(neve.ROOMS) <= {words[0] for words in by_words if words}
    assert {"list", "replay"} <= set(by_words["deadletter",].values)
    assert "--from" in {option.flag for option in by_words["search",].options}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("neve sea", ["search"]),
        ("neve patterns --comp", ["--compare", "--compare-from", "--compare-to"]),
        ("neve search --color al", ["always"]),
        ("neve deadletter re", ["replay"]),
        ("neve completion f", ["fish"]),
    ],
)
def test_bash_is_offered_what_fits(words: str, offered: list[str]) -> None:
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("there is no bash")
    text = COMPLETE.format(script=script("bash", KNOWN), words=words)
    said = subprocess.run([bash, "--norc", "-c", text], capture_output=True, text=True, check=True)
    assert said.stdout.split() == offered
    assert said.stderr == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert neve.main(["completion", shell]) == 0
    assert "search" in capsys.readouterr().out
