"""The line that says that a long command still works."""

from __future__ import annotations

import io
import threading

import pytest

from query import progress
from query.progress import ERASE, Progress
from query.terminal import Screen


class Terminal(io.StringIO):
    """Says when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)


def test_it_shows_itself_on_a_terminal_and_goes_away() -> None:
    out = Terminal()
    with Progress(out) as line:
        assert out.written.wait(60)
        line.lines = 12_345
        assert line.text().startswith("12,345 lines, ")
    assert out.getvalue().startswith(f"{ERASE}searching, ")
    assert out.getvalue().endswith(ERASE)


def test_it_ends_where_the_answer_begins() -> None:
    out = Terminal()
    with Progress(out) as line:
        assert out.written.wait(60)
        Screen(Terminal(), progress=line).line("an event")
        shown = out.getvalue()
        assert shown.endswith(ERASE)
    assert out.getvalue() == shown


def test_it_counts_where_the_answer_goes_elsewhere() -> None:
    with Progress(Terminal()) as line:
        Screen(io.StringIO(), progress=line).line("an event")
        assert line.lines == 1


@pytest.mark.parametrize("wanted", [True, False])
def test_it_is_silent_elsewhere(wanted: bool) -> None:
    out = Terminal() if not wanted else io.StringIO()
    with Progress(out, wanted=wanted):
        pass
    assert out.getvalue() == ""
