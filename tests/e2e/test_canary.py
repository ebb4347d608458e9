"""`neve canary` on a whole server: all is found once; what is lost or doubled is seen."""

import json
import subprocess
from collections.abc import Callable

import pytest

import ingest.canary
import neve as program
from bench.server import Server

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("path", ["agent", "api"])
def test_every_line_is_found_once(server: Server, neve: Run, path: str) -> None:
    how = ["--direct"] if path == "api" else []
    done = neve("canary", "--rate", "500", "--seconds", "3", "--json", *how, "--to", server.url)
    said = json.loads(done.stdout)
    assert done.returncode == 0, said
    assert said["written"] == said["found"] == 1500
    assert (said["lost"], said["doubled"], said["out_of_order"], said["path"]) == (0, 0, 0, path)
    assert 0 < said["searchable_s"]["p50"] <= said["searchable_s"]["p99"] <= said["searchable_s"]["max"]


def test_lost_and_doubled_lines_are_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows are taken out and put in behind its back, when all was written and before it reads back."""
    read_back = ingest.canary.read_back

    def meddled(remote: ingest.canary.Remote, namespace: str, run: str) -> object:
        events, place = f"neve_{namespace}.events", "message LIKE {run:String}"
        like = {"run": f"%run={run}%"}
        sql = f"ALTER TABLE {events} DELETE WHERE message LIKE '%run={run}%' AND row < 3"
        server.hot.query(sql, settings={"mutations_sync": 2})
        sql = f"INSERT INTO {events} SELECT * FROM {events} WHERE {place} AND row = 4 LIMIT 1"
        server.hot.query(sql, like, {"async_insert": 0})
        return read_back(remote, namespace, run)

    monkeypatch.setattr(ingest.canary, "read_back", meddled)
    arguments = ["canary", "--rate", "100", "--seconds", "1", "--json", "--to", server.url]
    assert program.main(arguments) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["lost"] >= 3
    assert said["doubled"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rate", "0"], 2, "cannot write 0 lines a second"),
        (["--namespace", "No"], 2, "cannot use namespace"),
        (["--to", "nowhere"], 2, "cannot use url"),
        (["--to", "http://127.0.0.1:1"], 1, "cannot reach neve"),
    ],
)
def test_wrong_use_is_one_line(said: Run, arguments: list[str], code: int, message: str) -> None:
    done = said("canary", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert message in done.stderr
