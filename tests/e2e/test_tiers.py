"""Real logs answer the same hot and, once `neve age` has moved them, cold: in a folder and on S3."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pyarrow.dataset as ds
import pytest
from moto.server import ThreadedMotoServer

from bench.server import NEVE, Server
from neve_steps import local
from storage.cold import ColdTier
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.upkeep import data_files

pytestmark = pytest.mark.loghub
Run = Callable[..., subprocess.CompletedProcess[str]]
SETS = ("Android", "BGL", "HPC", "HealthApp", "Mac", "OpenStack", "Spark", "Windows")
# Of those that have hundreds of days: each is a file, which each query asks for. Some 110 of 720 days, on S3 some 30.
LINES = {"folder": {"BGL": 300, "HPC": 300}, "s3": {"BGL": 60, "HPC": 60}}
KEY, SECRET = "AKIDHUSHHUSHHUSHHUSH", "hush-hush-secret"

QUERIES = (
    "*",
    "error",
    "service:Spark executor",
    '"data TLB error interrupt"',
    "setSystem*",
    "service:OpenStack status:200",
    "level:>=error",
    "NOT service:(BGL OR HPC)",
    "/0x[0-9a-f]{8}/",
    "service:Windows -CBS",
    "host:* kernel",
    "(warning OR fatal) service:B*",
    "* | stats count() as n by service",
    "* | stats count() by service, level",
    "service:BGL | stats uniq(fingerprint), min(timestamp), max(timestamp)",
    "* | top 10 fingerprint",
    "service:HPC | rare 5 level",
    "service:Mac | patterns",
    "service:HealthApp | histogram(1h)",
    "service:Android | sort timestamp | fields timestamp, level, message | limit 25",
    "* | stats count() as n by bin(1d) | where n > 5",
    "service:OpenStack | uniq level",
)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server whose cold tier is a local folder, or on S3."""
    if request.param == "folder":
        with Server(tmp_path / "server") as running:
            yield running
        return
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="lake")
    file = tmp_path / "server" / "neve.toml"
    file.parent.mkdir()
    file.write_text(
        f'[cold]\nwarehouse = "s3://lake/cold"\n[cold.catalog]\n"s3.endpoint" = "{endpoint}"\n'
        f'"s3.access-key-id" = "{KEY}"\n"s3.secret-access-key" = "{SECRET}"\n"s3.region" = "us-east-1"\n'
    )
    try:
        with Server(tmp_path / "server", options=["--config", str(file)]) as running:
            yield running
    finally:
        store.stop()


@pytest.fixture
def logs(request: pytest.FixtureRequest, loghub: Path, tmp_path: Path) -> dict[str, Path]:
    """The log of each set; fewer days of those that have hundreds."""
    found = {name: loghub / name / f"{name}_2k.log" for name in SETS}
    for name, lines in LINES[request.node.callspec.params["server"]].items():
        cut = tmp_path / f"{name}.log"
        cut.write_bytes(b"".join(found[name].read_bytes().splitlines(keepends=True)[:lines]))
        found[name] = cut
    return found


def ship(server: Server, logs: dict[str, Path], folder: Path) -> int:
    """Ship every set as a service of its own; how many events."""
    events = 0
    for name, path in logs.items():
        arguments = ["ship", str(path), "--once", "--service", name, "--to", server.url]
        subprocess.run([*NEVE, *arguments, "--state", str(folder / name)], check=True, timeout=600)
        events += sum(1 for line in path.read_bytes().split(b"\n") if line.rstrip(b"\r"))
    return events


def answers(server: Server) -> dict[str, Any]:
    """Every answer, without the tiers and the costs."""
    found: dict[str, Any] = {}
    for query in QUERIES:
        answer = server.search(query, limit=200)
        assert answer["stats"]["complete"], answer["stats"]
        if "rows" in answer:
            found[query] = answer["rows"]
        else:
            found[query] = [
                {name: value for name, value in event.items() if name != "tier"} for event in answer["events"]
            ]
    for path, more in (("histogram", {"by": "service"}), ("fields", {}), ("patterns", {"limit": 50})):
        answer = server.client.get(f"/api/v1/{path}", params={"q": "*", **more}).json()
        assert answer.pop("stats")["complete"]
        found[path] = answer
    return found


def places(server: Server) -> list[str]:
    """The options that say where a server's data are, for commands beside it."""
    file = server.folder / "neve.toml"
    return ["--data", str(server.folder / "data"), *(["--config", str(file)] if file.exists() else [])]


def counted_by_others(server: Server, folder: Path) -> set[int]:
    """How many rows PyIceberg, PyArrow, DuckDB and a ClickHouse that knows nothing of Neve count in the table."""
    file = server.folder / "neve.toml"
    _, config = local(server.folder / "data", file if file.exists() else None)
    cold = ColdTier(config)
    pinned, table = cold.pin("default"), cold.catalog.table("default")
    assert pinned is not None
    assert table is not None
    paths = [one.file_path.partition("://")[2] for one in data_files(table)]
    scheme, _, rest = table.location().partition("://")
    filesystem = table.io.fs_by_scheme(scheme, rest.partition("/")[0])  # type: ignore[attr-defined]
    found = {table.scan(selected_fields=("row",)).to_arrow().num_rows}
    found.add(ds.dataset(paths, format="parquet", filesystem=filesystem).count_rows())
    if config.is_local:
        named = ", ".join(f"'{path}'" for path in paths)
        found.update(duckdb.sql(f"SELECT count(*) FROM read_parquet([{named}])").fetchall()[0])
    with EmbeddedServer(folder, lake=config.lake) as fresh, Hot(fresh.config) as hot:
        # Without a metadata file's name, as anybody would read it.
        found.update(hot.query(f"SELECT count() AS n FROM {pinned.place.call})", pinned.parameters).rows[0])
    return found


def test_real_logs_answer_the_same_once_they_are_cold(
    server: Server, logs: dict[str, Path], tmp_path: Path, neve: Run
) -> None:
    events = ship(server, logs, tmp_path)
    server.wait_for("*", events)
    server.client.get("/api/v1/patterns", params={"q": "*"})  # learns, so that both see the same patterns
    hot = answers(server)
    done = neve("age", "--now", "--grace", "0", "--to", server.url)
    assert done.returncode == 0, done.stderr
    assert f"{events:,} events became cold" in done.stdout
    cold = answers(server)
    for name, answer in hot.items():
        assert cold[name] == answer, name
    found = server.search("*", limit=500)
    assert found["stats"]["tiers"] == ["cold"]
    assert {event["tier"] for event in found["events"]} == {"cold"}
    assert server.count() == events
    assert counted_by_others(server, tmp_path / "fresh") == {events}

    gone = server.count("service:Spark")
    done = neve("delete", "service:Spark", "--yes", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert server.count() == events - gone
    assert server.count("service:Spark") == 0
    assert counted_by_others(server, tmp_path / "fresh again") == {events - gone}

    back = server.count("service:Windows")
    done = neve("restore", "range", "--from", "2016-09-01", "--to", "2016-10-01", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert {event["tier"] for event in server.search("service:Windows", limit=500)["events"]} == {"hot"}
    assert (server.count(), server.count("service:Windows")) == (events - gone, back)
    done = neve("age", "--now", "--grace", "0", *places(server))
    assert done.returncode == 0, done.stderr
    done = neve("restore", "catalog", "--replace", *places(server))
    assert done.returncode == 0, done.stderr
    assert server.search("*", limit=1)["stats"]["tiers"] == ["cold"]
    assert server.count() == events - gone
    data = server.folder / "data"
    paths = [path for place in (data / "logs", data / "clickhouse" / "logs") for path in place.glob("*.log")]
    logs = "".join(path.read_text(errors="replace") for path in paths)
    assert len(paths) > 4
    assert SECRET not in logs
