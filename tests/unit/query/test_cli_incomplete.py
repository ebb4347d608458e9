"""What the command line says of an answer that lacks something."""

import pytest

from query.cli import _complete


@pytest.mark.parametrize(
    ("hit", "said"),
    [
        ([], "answer is incomplete: limit on the answer broke off; narrow the time range or the filter"),
        (["time"], "answer is incomplete: limit on time; narrow the time range or the filter"),
        (["shard:b"], "answer is incomplete: without shard b, which is away"),
    ],
)
def test_it_says_what(hit: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not _complete({"complete": False, "limits_hit": hit})
    assert capsys.readouterr().err == f"neve: {said}\n"


def test_a_shard_and_a_limit_are_said_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert not _complete({"complete": False, "limits_hit": ["time", "shard:a", "shard:b"]})
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[2] for line in lines] == [
        "without shard a, b, which is away",
        "limit on time; narrow the time range or the filter",
    ]
