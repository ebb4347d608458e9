"""The commands against a real server: what they print and their exit codes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import pytest

from query.cli import add_commands

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


def test_a_wrong_query_is_2_and_a_missing_server_is_1(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert neve("search", "status:", "--url", url) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("neve: line 1, column 8: expected a value right after 'status:'; ")
    assert said[1:] == ["status:", "       ^"]
    assert neve("search", "--url", "http://127.0.0.1:1") == 1
    assert "cannot reach neve" in capsys.readouterr().err
