"""Patterns of the server: learnt from the stored templates, grouped, found by id, ruled by the operators' file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import lexer
import neve
from lexer._lexer import hash64
from query.app import create_app
from query.learning import Learner
from storage.errors import ConfigError
from storage.hot import Hot
from storage.patterns import read_entries

from .conftest import serving

NOW = 1_769_860_800 * 10**9
NAMES = ["alice", "bob", "carol", "dave", "erin", "frank"]
Say = Callable[..., None]


@pytest.fixture
def say(hot: Hot, namespace: str, store: Callable[[Any], Any]) -> Say:
    """Store messages with their fingerprints and templates, as the agent and the gateway do."""

    def work(*messages: str, service: str = "s") -> None:
        lines = [message.encode() for message in messages]
        store(
            [
                {
                    "timestamp": NOW + i,
                    "message": line,
                    "service": service,
                    "fingerprint": lexer.fingerprint(line),
                }
                for i, line in enumerate(lines)
            ]
        )
        hot.add_templates(namespace, [(lexer.fingerprint(line), lexer.template(line)) for line in lines])

    return work


@pytest.fixture
def pinned(hot: Hot, namespace: str, tmp_path: Path) -> Iterator[tuple[httpx.Client, Path]]:
    """A client of an API that looks at an operators' file, and that file."""
    path = tmp_path / "patterns.toml"
    app = create_app(hot, default_namespace=namespace, pins_file=path)
    with serving(app) as url, httpx.Client(base_url=url, trust_env=False, timeout=240) as client:
        yield client, path


def patterns(api: httpx.Client, **params: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/api/v1/patterns", params=params).json()["patterns"]
    return found


def messages(api: httpx.Client, query: str) -> list[str]:
    return [event["message"] for event in api.get("/api/v1/search", params={"q": query}).json()["events"]]


def opened(*names: str) -> list[str]:
    return [f"session opened for user {name} now" for name in names]


def test_fingerprints_are_grouped_by_what_was_learnt(api: httpx.Client, say: Say) -> None:
    say(*opened(*NAMES), "link is up", "link is down")
    say(*opened(*NAMES), service="t")
    first, *others = patterns(api, compare_from="2026-01-31T12:00:00Z")
    assert first["template"] == "session opened for user <*> now"
    assert (first["count"], first["previous_count"], first["fingerprints"]) == (12, 12, 6)
    assert first["share"] == 12 / 14
    assert first["services"] == ["s", "t"]
    assert first["name"] is None
    assert first["sample"] in opened(*NAMES)
    assert {p["template"] for p in others} == {"link is up", "link is down"}
    piped = api.get("/api/v1/search", params={"q": "* | patterns"}).json()
    assert [row[:3] for row in piped["rows"][:1]] == [[first["fingerprint"], first["template"], 12]]


def test_a_pattern_and_a_fingerprint_are_filters(api: httpx.Client, say: Say) -> None:
    say(*opened(*NAMES), "link is up")
    (pattern,) = (p for p in patterns(api) if p["fingerprints"] > 1)
    assert sorted(messages(api, f"fingerprint:{pattern['fingerprint']}")) == opened(*NAMES)
    one = lexer.fingerprint(opened("bob")[0].encode())
    assert messages(api, f"fingerprint:{one:016x}") == opened("bob")
    assert messages(api, f"-fingerprint:{pattern['fingerprint']}") == ["link is up"]
    params = {"q": f"fingerprint:{pattern['fingerprint']} | stats count()"}
    assert api.get("/api/v1/search", params=params).json()["rows"] == [[6]]


def test_a_pattern_keeps_its_id_when_more_comes(api: httpx.Client, say: Say) -> None:
    say(*opened("alice"))
    (before,) = patterns(api)
    say(*opened(*NAMES))
    (after,) = patterns(api)
    assert after["fingerprint"] == before["fingerprint"]
    assert after["template"] == "session opened for user <*> now"
    say(*opened("zoe"))
    (joined,) = patterns(api)
    assert (joined["fingerprint"], joined["count"]) == (before["fingerprint"], 8)
    assert len(messages(api, f"fingerprint:{before['fingerprint']}")) == 8


def test_two_processes_may_learn_at_once(hot: Hot, namespace: str, api: httpx.Client, say: Say) -> None:
    say(*opened(*NAMES))
    for learner in (Learner(hot), Learner(hot)):
        learner.refresh(namespace)
    (pattern,) = patterns(api)
    assert pattern["count"] == 6
    assert {entry.pattern.id for entry in read_entries(hot, namespace).values()} == {
        hash64(b"session opened for user <*> now")
    }


def test_pins_rule_and_are_read_again(
    pinned: tuple[httpx.Client, Path], say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    api, path = pinned
    say(*opened(*NAMES), "link is up", "link is down")
    (learnt,) = (p for p in patterns(api) if p["fingerprints"] > 1)
    path.write_text(
        f'[[name]]\npattern = "{learnt["fingerprint"]}"\nname = "login"\n'
        '[[merge]]\ntemplates = ["link is up", "link is down"]\ntemplate = "link is <*>"\n'
        '[[pin]]\ntemplate = "session opened for user bob now"\nname = "Bob"\n'
    )
    found = {p["template"]: (p["count"], p["name"]) for p in patterns(api)}
    assert found == {
        "session opened for user <*> now": (5, "login"),
        "link is <*>": (2, None),
        "session opened for user bob now": (1, "Bob"),
    }
    assert neve.main(["patterns", "bob OR alice", "--url", str(api.base_url)]) == 0
    assert [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()] == ["name", "login", "Bob"]
    path.write_text("[[pni]]\n")
    os.utime(path, ns=(1, 1))
    assert {p["template"] for p in patterns(api)} == set(found), "the last good file counts"
    path.unlink()
    assert sorted(p["count"] for p in patterns(api)) == [1, 1, 6]


def test_a_wrong_file_stops_the_start(hot: Hot, tmp_path: Path) -> None:
    (tmp_path / "patterns.toml").write_text("[[pni]]\n")
    with pytest.raises(ConfigError, match="cannot use key 'pni'"):
        create_app(hot, pins_file=tmp_path / "patterns.toml")
