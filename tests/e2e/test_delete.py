"""`neve delete` against a real server, and beside it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.server import Server

Run = Callable[..., subprocess.CompletedProcess[str]]


def ship(server: Server, neve: Run, state: Path, lines: int) -> None:
    text = "".join(f"2026-01-31T10:00:00Z number={i} user=u{i % 3}\n" for i in range(lines)).encode()
    assert neve("ship", "-", "--once", "--state", str(state), "--to", server.url, stdin=text).returncode == 0


def test_both_tiers_over_http_and_beside(tmp_path: Path, neve: Run) -> None:
    with Server(tmp_path / "server") as server:
        ship(server, neve, tmp_path / "one", 30)
        server.wait_for("*", 30)
        assert neve("age", "--now", "--grace", "0", "--to", server.url).returncode == 0
        ship(server, neve, tmp_path / "two", 60)
        server.wait_for("*", 90)

        asked = neve("delete", "user:u1", "--url", server.url, "--dry-run")
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout == "default: count: 20 events hot, 10 cold\n"
        assert server.count() == 90
        done = neve("delete", "user:u1", "--url", server.url)
        assert (done.returncode, done.stderr) == (
            2,
            "neve: cannot ask whether to delete: this is no terminal; say --yes, or --dry-run\n",
        )

        done = neve("delete", "user:u1", "--url", server.url, "--yes")
        assert done.returncode == 0, done.stderr
        assert "20 hot and 10 cold events are deleted" in done.stdout
        assert done.stdout.endswith("nothing is left that can be found\n")
        assert server.count() == 60
        assert server.count("user:u1") == 0
        said = server.client.get("/cold/deletions").json()["deletions"]
        assert [(one["query"], one["done"], one["hot"], one["cold"]) for one in said] == [
            ("user:u1", True, 20, 10)
        ]

        ship(server, neve, tmp_path / "late", 9)  # of times before the request
        server.wait_for("*", 66, exact=False)
        done = neve("delete", "user:u2", "--data", str(tmp_path / "server" / "data"), "--yes")
        assert done.returncode == 0, done.stderr
        assert server.count("user:u1") == server.count("user:u2") == 0
        assert server.count() == 33


def test_errors_say_what_is_wrong(server: Server, said: Run) -> None:
    for arguments, code, words in [
        (["*", "--namespace", "nobody"], 1, "cannot find namespace: nobody"),
        (["user:a | stats count()"], 1, "cannot delete by a query with pipes"),
        (["user:(("], 1, "expected"),
        (["message:/(?=a)/"], 1, "cannot use regex"),
        ([" "], 1, "cannot delete: no query"),
        (["*", "--from", "soon"], 1, "cannot use 'from'"),
    ]:
        done = said("delete", *arguments, "--yes", "--url", server.url)
        assert words in done.stderr, done.stderr
        assert done.stderr.startswith("neve: ")
        assert "Traceback" not in done.stderr
        assert done.returncode == code
    answer = server.client.post("/cold/delete", json={"q": "*", "form": "1h"})
    assert "cannot use parameter: 'form'" in answer.json()["error"]["message"]
