"""The commands against a real server: what they print and their exit codes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import pytest

from query.cli import add_commands
from query.limits import Limits

Store = Callable[..., object]
EVENTS = [
    {
        "timestamp": 1_769_860_800_000_000_000,
        "level": "error",
        "service": "api",
        "host": "h",
        "message": "it broke",
    },
    {
        "timestamp": 1_769_860_801_000_000_000,
        "level": "info",
        "service": "api",
        "message": "fine",
        "tags": {"k": "a b"},
    },
]


def neve(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    code: int = args.run(args)
    return code


def test_search_prints_plain_lines_json_and_raw(
    url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store(EVENTS)
    assert neve("search", "--url", url) == 0
    assert capsys.readouterr().out.splitlines() == [
        '2026-01-31T12:00:01.000000000Z info  api - fine k="a b"',
        "2026-01-31T12:00:00.000000000Z error api h it broke",
    ]
    assert neve("search", "broke", "--raw", "--url", url) == 0
    assert capsys.readouterr().out == "it broke\n"
    assert neve("search", "level:info", "--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == {"k": "a b"}
    assert neve("search", "level:info", "--raw", "--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == {"k": "a b"}
    assert neve("search", "level:info", "--tags", "other,k", "--url", url) == 0
    assert capsys.readouterr().out.endswith('fine k="a b"\n')
    assert neve("search", "level:info", "--tags", "", "--url", url) == 0
    assert capsys.readouterr().out.endswith("fine\n")


def test_tables_patterns_fields_and_context(
    url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store(EVENTS)
    assert neve("search", "* | stats count() as n by service", "--url", url) == 0
    assert capsys.readouterr().out == "service\tn\napi\t2\n"
    assert neve("patterns", "broke", "--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 1
    assert neve("fields", "service", "--url", url) == 0
    assert capsys.readouterr().out == "value\tcount\napi\t2\n"
    assert neve("search", "broke", "--json", "--url", url) == 0
    event = json.loads(capsys.readouterr().out)
    assert neve("context", event["id"], "--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out) == event


def test_what_is_no_pipe_leaves_the_usual_limit(
    url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store([{**EVENTS[0], "message": "a|b", "timestamp": i * 10**9} for i in range(110)])
    for query in ("/a|c/", '"a|b"', "broke OR 'a|b'"):
        assert neve("search", query, "--url", url) == 0
        assert len(capsys.readouterr().out.splitlines()) == 100
    assert neve("search", "/a|c/ | fields message", "--url", url) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 110
    assert neve("search", "broke |", "--url", url) == 2


def test_a_wrong_query_is_2_and_a_missing_server_is_1(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert neve("search", "status:", "--url", url) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("neve: line 1, column 8: expected a value right after 'status:'; ")
    assert said[1:] == ["status:", "       ^"]
    assert neve("search", "--url", "http://127.0.0.1:1") == 1
    assert "cannot reach neve" in capsys.readouterr().err


def test_what_goes_on_begins_with_the_last_events(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert neve("search", "--follow", "--oldest", "--url", url) == 2
    assert capsys.readouterr().err.startswith("neve: cannot use --oldest with --follow: ")


@pytest.mark.usefixtures("zone")
def test_times_of_this_machines_zone(url: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store(EVENTS)
    assert neve("search", "broke", "--local", "--url", url) == 0
    assert capsys.readouterr().out.startswith("2026-01-31T17:45:00.000000000+05:45 error")
    assert neve("search", "* | fields timestamp", "--local", "--to", "2026-01-31T17:45:01", "--url", url) == 0
    assert capsys.readouterr().out == "timestamp\n2026-01-31T17:45:00.000000000+05:45\n"
    assert neve("search", "--utc", "--to", "2026-01-31T12:00:01", "--url", url) == 0
    assert capsys.readouterr().out.startswith("2026-01-31T12:00:00.000000000Z error")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_patterns_beside_another_time_and_new_ones(
    url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store([{**EVENTS[0], "fingerprint": 1}, {**EVENTS[1], "fingerprint": 2}])
    hour = {"timestamp": 1_769_860_800_000_000_000 - 3600 * 10**9}
    store([{**EVENTS[0], "fingerprint": 1, **hour} for _ in range(2)])
    span = ["--from", "2026-01-31T11:59:30Z", "--to", "2026-01-31T12:30:00Z", "--url", url]

    def rows(*words: str) -> list[list[str]]:
        assert neve("patterns", *words, *span) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    head, *found = rows("--compare=1h")
    assert head == ["count", "share", "before", "change", "fingerprint", "template"]
    assert [row[:4] for row in found] == [["1", "50.00%", "2", "-50%"], ["1", "50.00%", "0", "new"]]
    assert [row[2] for row in rows("--compare")[1:]] == ["0", "0"]
    head, *found = rows("--new-since", "2026-01-31T11:59:30Z")
    assert [dict(zip(head, row, strict=True))["first_seen"] for row in found] == [
        "2026-01-31T12:00:01.000000000Z"
    ]
    for words in (["--compare"], ["--compare=error", "--from", "1h"]):
        assert neve("patterns", *words, "--url", url) == 2
        assert "cannot use --compare" in capsys.readouterr().err


def test_colour_and_what_is_incomplete(
    serve: Callable[..., str], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store(EVENTS)
    assert neve("search", "broke", "--color", "always", "--url", serve()) == 0
    assert "\x1b[31merror\x1b[0m" in capsys.readouterr().out
    slow = serve(Limits(stream_seconds=0.0))
    for query in ("broke", "* | stats count()"):
        assert neve("search", query, "--url", slow) == 1
        said = capsys.readouterr()
        assert "answer is incomplete" in said.err
