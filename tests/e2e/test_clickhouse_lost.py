"""ClickHouse's folder is lost and the cold tier is kept: old events stay, and new ones are not taken for old."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.server import Server

Run = Callable[..., subprocess.CompletedProcess[str]]


def ship(server: Server, neve: Run, state: Path, lines: int) -> None:
    text = "".join(f"2026-01-31T10:00:00Z number {i}\n" for i in range(lines)).encode()
    assert neve("ship", "-", "--once", "--state", str(state), "--to", server.url, stdin=text).returncode == 0


def test_old_and_new_events_are_found_once(tmp_path: Path, neve: Run) -> None:
    place = tmp_path / "server"
    with Server(place) as server:
        for number, lines in enumerate((30, 40)):
            ship(server, neve, tmp_path / f"old{number}", lines)
            server.wait_for("number", 30 + 40 * number)
            assert neve("age", "--now", "--grace", "0", "--to", server.url).returncode == 0
    shutil.rmtree(place / "data" / "clickhouse")
    with Server(place) as server:
        ship(server, neve, tmp_path / "new", 50)
        server.wait_for("number", 120)
        ids = server.search("number", limit=1000)["events"]
        assert len({one["id"] for one in ids}) == 120
        assert {one["tier"] for one in ids} == {"hot", "cold"}
        epochs = server.hot.scalars("SELECT DISTINCT epoch AS e FROM neve_default.events")
        assert all(epoch > 2 for epoch in epochs)
        done = neve("age", "--now", "--grace", "0", "--to", server.url)
        assert done.returncode == 0, done.stderr
        assert "50 events became cold" in done.stdout
        assert server.count("number") == 120
