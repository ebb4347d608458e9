"""Every path of every process was thought of: who may ask for it stands in storage/access/paths.py."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ingest.app
import neve_alerts
import neve_cold
import query.app
from neve_serve import ServeConfig
from storage.access.paths import PROCESSES, Need, needs
from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig
from storage.hot import Hot
from tests.routes import paths_of

ROOT = Path(__file__).parents[2]
CLICKHOUSE = ClickHouseConfig()


def test_of_the_api() -> None:
    paths = paths_of(query.app.create_app(Hot(CLICKHOUSE)))
    table = PROCESSES["api"]
    for path in paths:
        named = path in table or any(
            one.endswith("/") and one != "/" and path.startswith(one) for one in table
        )
        assert named, f"{path} needs an administrator, since nobody said who may ask for it"


def test_of_the_gateway(tmp_path: Path) -> None:
    paths = paths_of(ingest.app.create_app(ingest.app.GatewaySettings(tmp_path, CLICKHOUSE)))
    need = needs("gateway")
    inside = {path for path in paths if path.startswith("/gateway/arrivals")}
    inside |= {"/gateway/hold", "/gateway/release"}
    assert {need(path) for path in inside} == {Need.INSIDE}
    peers = {path for path in paths if path.startswith("/gateway/peers/")}
    operating = {path for path in paths if path.startswith("/gateway/")} - inside - peers - {"/gateway/ready"}
    assert {need(path) for path in operating} == {Need.ADMIN}
    # What is left receives events, and can do nothing else.
    others = {path for path in paths if not path.startswith("/gateway/")}
    assert {need(path) for path in others} <= {Need.INGEST, Need.METRICS, Need.DOCS, Need.NOBODY}
    health = {"/services/collector/health", "/services/collector/health/1.0"}
    assert {path for path in others if need(path) is Need.NOBODY} <= health


def test_of_the_ager(tmp_path: Path) -> None:
    paths = paths_of(neve_cold.create_app(CLICKHOUSE, ColdConfig(tmp_path)))
    need = needs("ager")
    assert {need(path) for path in paths} == {Need.ADMIN, Need.METRICS, Need.DOCS}


def test_of_the_alerts() -> None:
    paths = paths_of(neve_alerts.create_app(CLICKHOUSE, None, ServeConfig()))
    assert {path: needs("alerts")(path) for path in paths} == {"/metrics": Need.METRICS}


@pytest.mark.parametrize("process", PROCESSES)
def test_what_nobody_thought_of_needs_an_administrator(process: str) -> None:
    need = needs(process)
    hostile = [
        "",
        "/API/V1/SEARCH",
        "//api/v1/search",
        "/api/v1/search/",
        "/api/v1/searchx",
        "/api/v1/../keys",
    ]
    if process != "gateway":
        assert {need(path) for path in hostile} == {Need.ADMIN}
    assert need("/gateway/status/../../api/v1/ingest") is Need.ADMIN


def test_every_plan_of_a_request_has_a_guard() -> None:
    """Whoever makes a plan says which events exist for who asks: nothing in `query/` leaves that out."""
    calls = 0
    for path in (ROOT / "query").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "make_plan":
                calls += 1
                assert "guard" in {word.arg for word in node.keywords}, f"{path}:{node.lineno}"
    assert calls


def test_events_are_read_in_one_place_alone() -> None:
    """The hot table is named by `sources.py`, which adds the guard, and by the tail's store, whose filter has it."""
    naming = {path.name for path in (ROOT / "query").rglob("*.py") if ".events WHERE" in path.read_text()}
    naming |= {path.name for path in (ROOT / "query").rglob("*.py") if '.events"' in path.read_text()}
    assert naming <= {"sources.py", "tailstore.py"}
