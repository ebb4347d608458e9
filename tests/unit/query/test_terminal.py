"""What a line of an event has on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest

from query.terminal import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, message: str, tags: dict[str, str]) -> str:
    event = {"timestamp": "2026-01-31T12:00:00.000000000Z", "level": "info", "service": "api", "host": "h"}
    Screen(out, colour="never").event({**event, "message": message, "tags": tags})
    return out.getvalue().partition(" h ")[2].rstrip("\n")


@pytest.mark.parametrize(
    ("message", "tags", "said"),
    [
        ("took ms=5 user=ann", {"ms": "5", "user": "ann", "env": "prod"}, "took ms=5 user=ann env=prod"),
        ("took ms=50", {"ms": "5"}, "took ms=50 ms=5"),
        ("took rooms=5", {"ms": "5"}, "took rooms=5 ms=5"),
        ("took", {"ms": "5"}, "took ms=5"),
    ],
)
def test_a_terminal_shows_what_the_message_has_once(message: str, tags: dict[str, str], said: str) -> None:
    assert shown(Terminal(), message, tags) == said


def test_a_pipe_gets_every_tag() -> None:
    assert shown(io.StringIO(), "took ms=5", {"ms": "5"}) == "took ms=5 ms=5"
