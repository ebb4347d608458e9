"""`neve ship` used wrongly: one line on stderr that says what to do, and an exit code."""

import argparse
from pathlib import Path

import pytest

from ingest import pipeline
from ingest.cli import add_commands
from ingest.pipeline import Agent, AgentSettings

NOWHERE = "http://127.0.0.1:9"


def ship(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(["ship", "--to", NOWHERE, *map(str, arguments)])
    code: int = args.run(args)
    return code


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--multiline", "start:("], 2, "cannot read regex: (: "),
        (["--multiline", "ruby"], 2, "cannot join lines by: ruby; give java, python, go, auto or start:REGEX"),
        (["--multiline", ""], 2, "cannot join lines by: ; give"),
        (["--multiline", "go", "--format", "json"], 2, "cannot join lines of format: json; leave out"),
        (["--tag", "x"], 2, "cannot read tag: x; write --tag key=value"),
        (["--to", "ftp://x"], 2, "cannot ship to: ftp://x; give http://host:port"),
        (["--namespace", "../x"], 2, "cannot use namespace: '../x'; use"),
        (["-", "-"], 2, "cannot read standard input twice: -; give - once"),
        (["--state", "/dev/null"], 1, "not a directory; give another folder with --state"),
    ],
)  # fmt: skip
def test_one_line_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert ship("--state", tmp_path / "state", tmp_path / "a.log", *arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("neve ship: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.log", "it is not there; check the path"), ("*.none", "none matches; check the pattern")],
)
def test_once_without_a_file_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert ship(tmp_path / name, "--once", "--state", tmp_path / "state") == 1
    err = capsys.readouterr().err
    assert err == f"neve ship: warning: {tmp_path / name}: cannot read file{'s' * (name[0] == '*')}: {said}\n"


def test_once_with_a_folder_without_a_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    assert ship(tmp_path / "logs", "--once", "--state", tmp_path / "state") == 1
    err = capsys.readouterr().err
    said = "cannot read files: the folder has none; check the path"
    assert err == f"neve ship: warning: {tmp_path / 'logs'}: {said}\n"


def test_a_gateway_that_is_away_ends_no_pipe_while_another_takes_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "FIRST_CONTACT_SECONDS", -1.0)
    agent = Agent(
        AgentSettings(("-",), NOWHERE, tmp_path / "state", once=True, others=("http://127.0.0.1:8",))
    )
    try:
        agent.counters.trouble(f"gateway {NOWHERE}", "cannot reach it")
        assert agent._hopeless() == ""
        assert agent._hopeless() == ""
    finally:
        agent.close()


def test_damaged_state_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "checkpoints.json").write_text("00000000\n{}\n")
    assert ship(tmp_path / "a.log", "--once", "--state", tmp_path / "state") == 1
    err = capsys.readouterr().err
    assert "cannot read checkpoints" in err
    assert "delete it to read everything again" in err
    assert err.count("\n") == 1


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    with pytest.raises(SystemExit):
        parser.parse_args(["ship", "--help"])
    assert "--multiline" in capsys.readouterr().out
    [command] = parser._subparsers._group_actions  # type: ignore[union-attr]
    for action in command.choices["ship"]._actions:  # type: ignore[index,union-attr]
        assert action.help, action
