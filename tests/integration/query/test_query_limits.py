"""What a query may take: it is labelled where it hit a limit, refused where too many run, killed where nobody waits."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from query.limits import MIB, Limits
from query.logql.lines import Line
from query.loki.tail import _before
from query.plan import make_plan
from query.serving import Gate
from query.viewers import Gap
from storage.access.access import Access
from storage.access.book import Book
from storage.access.config import AuthConfig
from storage.config import ClickHouseConfig
from storage.documents import Documents
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from storage.namespace_settings import Settings
from storage.schema import namespace_database
from storage.tags import column_of

NOW = 1_769_860_800
ROWS = 400_000
NDJSON = {"Accept": "application/x-ndjson"}
# Nothing is found, and each of these walks through every message: none holds a text that could be looked for. Together
# they take seconds; more of them would, too, for one block of rows, within which ClickHouse does not look at the clock.
SLOW = " OR ".join(f"/[a-z]+ ([a-z]|[0-9 ])*[Q-Z]{{{number}}}[A-P]$/" for number in range(1, 60))
PATIENCE = 120.0  # seconds

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def many(hot: Hot) -> Iterator[str]:
    """A namespace with many events, made by the server, which no test changes."""
    hot.create_namespace(name := "test_many")
    hot.query(
        f"INSERT INTO {namespace_database(name)}.events "
        f"(timestamp, level, service, host, message, {column_of('user')}, block_id, row, epoch) "
        "SELECT toDateTime64({at:UInt32} + number / 1000, 9, 'UTC'), ['info', 'error'][number % 2 + 1], 's', 'h', "
        "concat('request ', toString(number), ' of user ', toString(number % 1000), repeat(' took', 40)), "
        "map('user', toString(number % 1000)), toFixedString('block', 16), number, 1 FROM numbers({rows:UInt64})",
        {"at": NOW, "rows": ROWS},
    )
    yield name
    hot.execute(f"DROP DATABASE {namespace_database(name)}")
    hot.execute("DELETE FROM neve.migrations WHERE scope = {scope:String}", {"scope": name})


@pytest.fixture
def namespace(many: str) -> str:
    """The namespace of every test here."""
    return many


def get(url: str, q: str, **params: Any) -> dict[str, Any]:
    asked = {"q": q, **params}
    answer = httpx.get(f"{url}/api/v1/search", params=asked, trust_env=False, timeout=240)
    found: dict[str, Any] = answer.json()
    return found


# --- limits of one query -----------------------------------------------------------------------------------


def test_a_namespace_may_have_closer_limits(serve: Serve, hot: Hot, namespace: str, tmp_path: Path) -> None:
    """What an administrator sets holds for its searches; what the configuration says is never exceeded."""
    Documents(hot, "namespaces").put(namespace, Settings().changed({"query_rows": 20_000}).to_json())
    book = Book(hot, tmp_path / "access.json")
    book.refresh()
    url = serve(access=Access(AuthConfig(), book))
    found = get(url, "* | stats count() by user")["stats"]
    assert (found["complete"], found["limits_hit"]) == (False, ["rows"])
    Documents(hot, "namespaces").put(namespace, Settings().changed({"query_rows": 10**9}).to_json())
    book.refresh()
    assert get(url, "* | stats count() by user")["stats"]["complete"]
    tight = serve(Limits(rows_read=20_000), access=Access(AuthConfig(), book))
    assert get(tight, "* | stats count() by user")["stats"]["limits_hit"] == ["rows"]


def test_what_is_known_is_kept_once_the_disk_takes_it(hot: Hot, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "not there yet" / "access.json"
    Documents(hot, "namespaces").put(namespace, Settings().changed({"query_rows": 7}).to_json())
    book = Book(hot, path)
    book.refresh()
    assert book.settings(namespace).limit("query_rows") == 7
    path.parent.mkdir()
    book.refresh()
    try:
        assert Book(hot, path).settings(namespace).limit("query_rows") == 7
    finally:
        Documents(hot, "namespaces").put(namespace, Settings().to_json())


def test_the_first_lines_of_lokis_tail_have_the_limits_of_their_namespace(hot: Hot, namespace: str) -> None:
    plan = make_plan("/no such/", now=time.time_ns(), namespace=namespace, limit=10)

    def first(**closer: int) -> tuple[list[Line], Gap | None]:
        async def ask() -> tuple[list[Line], Gap | None]:
            return await _before(Gate(hot, Limits(), settings=lambda _: Settings().changed(closer)), plan)

        return asyncio.run(ask())

    assert first() == ([], None)
    assert first(query_rows=20_000) == (
        [],
        Gap(0, "the answer is not complete: the limit on rows read was reached", unknown=True),
    )


def test_lokis_tail_goes_on_without_the_lines_before() -> None:
    """While ClickHouse is away it tells what arrives."""
    plan = make_plan("", now=time.time_ns(), namespace="default", limit=10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    away = Hot(ClickHouseConfig(port=port))

    async def ask() -> tuple[list[Line], Gap | None]:
        return await _before(Gate(away, Limits()), plan)

    assert asyncio.run(ask()) == ([], Gap(0, "the lines before could not be read", unknown=True))
    away.close()


@pytest.mark.parametrize(
    ("limits", "q", "hit"),
    [
        (Limits(rows_read=20_000), "/no such/", "rows"),
        (Limits(rows_read=20_000), "* | stats count() by user", "rows"),
        (Limits(bytes_read=MIB), "/no such/", "bytes"),
        (Limits(bytes_read=MIB), "* | stats max(message)", "bytes"),
        (Limits(memory_bytes=16 * MIB), "* | stats uniq(message), max(message) by message", "memory"),
        (Limits(seconds=0.5), SLOW, "time"),
        (Limits(seconds=0.5), f"{SLOW} | stats count()", "time"),
        (Limits(result_rows=10), "* | uniq user", "result_rows"),
    ],
)
def test_a_limit_that_was_hit_is_named(serve: Serve, limits: Limits, q: str, hit: str) -> None:
    answer = get(serve(limits), q)
    assert "error" not in answer
    assert answer["stats"]["limits_hit"] == [hit]
    assert not answer["stats"]["complete"]


def test_a_page_cut_by_a_limit_goes_on_where_it_stopped(serve: Serve) -> None:
    """The rows that were found are certain, and the cursor leads to the rest."""
    url = serve(Limits(rows_read=150_000))
    cursor, found, pages = "", [], 0
    while cursor is not None and pages < 20:
        page = get(url, '"request 5" OR "request 190000"', cursor=cursor)
        found += [event["message"].split(" of")[0] for event in page["events"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert found == ["request 190000", "request 5"]
    assert pages > 1


# --- limits of all -----------------------------------------------------------------------------------------


def running(hot: Hot) -> int:
    """How many statements look at events for a user's query."""
    sql = "SELECT count() AS n FROM system.processes WHERE query_id LIKE 'neve-%' AND query LIKE '%.events %'"
    return int(hot.scalars(sql)[0])


def killed(hot: Hot) -> int:
    """How many queries the server has given up because somebody said so."""
    return int(hot.scalars("SELECT sum(value) AS n FROM system.errors WHERE name = 'QUERY_WAS_CANCELLED'")[0])


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Ask again and again; each question takes the server some time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what


@contextmanager
def requested(url: str, path: str, headers: str = "") -> Iterator[socket.socket]:
    """A request whose answer nobody reads; the connection closes at the end."""
    at = urlsplit(url)
    with socket.create_connection((str(at.hostname), int(at.port or 0))) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        yield client


def test_more_than_may_wait_is_refused_and_later_answered(serve: Serve, hot: Hot) -> None:
    url = serve(Limits(concurrent=1, waiting=1, seconds=60))
    slow = f"/api/v1/search?q={quote(SLOW)}"
    with ThreadPoolExecutor(2) as threads:
        with requested(url, slow):
            wait_for(lambda: running(hot) == 1, "the query never ran")
            asked = [
                threads.submit(httpx.get, f"{url}/api/v1/search", trust_env=False, timeout=240)
                for _ in range(2)
            ]
            done, waits = wait(asked, timeout=PATIENCE, return_when=FIRST_COMPLETED)
            refused = done.pop().result()
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "busy"
        assert int(refused.headers["Retry-After"]) >= 1
        assert waits.pop().result(PATIENCE).status_code == 200


# --- nobody waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/api/v1/search?q={quote(SLOW)}", ""),
        (f"/api/v1/search?q={quote(SLOW + ' | stats count() by user')}", ""),
        (f"/api/v1/histogram?q={quote(SLOW)}&by=user", ""),
        (f"/api/v1/search?q={quote(SLOW)}", "Accept: application/x-ndjson\r\n"),
    ],
    ids=["page", "table", "histogram", "stream"],
)
def test_a_client_that_goes_away_ends_its_query(serve: Serve, hot: Hot, path: str, headers: str) -> None:
    url = serve(Limits(seconds=300, stream_seconds=300))
    before = killed(hot)
    with requested(url, path, headers):
        wait_for(lambda: running(hot) == 1, "the query never ran")
    wait_for(lambda: running(hot) == 0, "the query still runs")
    assert killed(hot) > before
    assert get(url, "nowhere", limit=1)["stats"]["complete"]


def test_a_stream_that_nobody_reads_on_ends(serve: Serve, hot: Hot) -> None:
    url = serve(Limits(concurrent=1))
    with requested(url, "/api/v1/search?q=*", "Accept: application/x-ndjson\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    wait_for(lambda: running(hot) == 0, "the query still runs")
    assert get(url, "nowhere", limit=1)["stats"]["complete"]  # it has given its place back


# --- streams -----------------------------------------------------------------------------------------------

SERVER = """
import json, socket, sys, uvicorn
from query.app import create_app
from storage.config import ClickHouseConfig
from storage.hot import Hot
asked = json.loads(sys.stdin.readline())
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
app = create_app(Hot(ClickHouseConfig(**asked["clickhouse"])), default_namespace=asked["namespace"])
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])
"""


@contextmanager
def served_apart(config: Any, namespace: str) -> Iterator[tuple[str, int]]:
    """The API in a process of its own: its address and the process's number."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"clickhouse": asdict(config), "namespace": namespace}) + "\n")
        process.stdin.flush()
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        process.communicate()


def peak_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def test_a_stream_of_any_length_takes_little_memory(clickhouse: EmbeddedServer, namespace: str) -> None:
    with served_apart(clickhouse.config, namespace) as (url, pid):

        def count(limit: int) -> tuple[int, dict[str, Any]]:
            lines, last = 0, b""
            params: dict[str, Any] = {"limit": limit}
            with httpx.stream(
                "GET", f"{url}/api/v1/search", params=params, headers=NDJSON, trust_env=False, timeout=240
            ) as got:
                for chunk in got.iter_raw():
                    lines += chunk.count(b"\n")
                    last = (last + chunk)[-2000:]
            stats: dict[str, Any] = json.loads(last.splitlines()[-1])["stats"]
            return lines, stats

        count(20_000)
        before = peak_mib(pid)
        lines, stats = count(100_000)
        assert lines == 100_001
        assert stats["complete"]
        # 37 MiB of answer; 100,000 events as Python has them are 160.
        assert peak_mib(pid) - before < 32
