"""Unmodified clients of other systems, as the pages in docs/ingest say, against a whole server."""

import glob
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server import Server
from tests.snippets import snippets

OMELASTICSEARCH = glob.glob("/usr/lib/*/rsyslog/omelasticsearch.so")


@pytest.fixture
def port(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def run(code: str) -> None:
    """Run Python to its end, as a program of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def found(server: Server, query: str, count: int) -> list[dict[str, Any]]:
    server.wait_for(query, count)
    events: list[dict[str, Any]] = server.search(query, limit=10)["events"]
    return events


def test_elasticsearchs_client_bulk(server: Server, port: int) -> None:
    for code in snippets("ingest/elasticsearch.md", "python", port):
        run(code)
    event = found(server, "service:es-shop", 1000)[0]
    assert (event["message"], event["level"], event["timestamp"]) == (
        "paid 7 EUR", "warn", "2026-01-02T03:04:05.000000000Z",
    )  # fmt: skip
    assert event["tags"]["_index"] == "logs-shop"


def test_opensearchs_client_bulk(server: Server, port: int) -> None:
    for code in snippets("ingest/opensearch.md", "python", port):
        run(code)
    assert found(server, "service:os-shop", 1000)[0]["level"] == "info"


def test_lokis_handler(server: Server, port: int) -> None:
    for code in snippets("ingest/loki-push.md", "python", port):
        run(code)
        run(code.replace('version="1"', 'version="0"').replace("o-17", "o-18"))
    events = found(server, "service:loki-shop", 2)
    assert {(event["message"], event["level"], event["tags"]["order"]) for event in events} == {
        ("paid 7 EUR", "warn", "o-17"),
        ("paid 7 EUR", "warn", "o-18"),
    }
    assert events[0]["tags"]["logger"] == "payments"


def test_splunks_handlers(server: Server, port: int) -> None:
    for code in snippets("ingest/splunk-hec.md", "python", port):
        run(code)
    (text,) = found(server, '"hec-shop paid"', 1)
    assert (text["host"], text["tags"]["order"], text["tags"]["source"]) == ("web-1", "o-17", "payments")
    (structured,) = found(server, "service:hec-shop", 1)
    assert (structured["message"], structured["level"], structured["tags"]["order"]) == (
        "declined",
        "error",
        "o-18",
    )


STREAMING = """
from elasticsearch import Elasticsearch, helpers
client = Elasticsearch("http://127.0.0.1:8780", request_timeout=240)
assert client.ping()
assert client.info()["version"]["number"].startswith("8.")
assert client.indices.exists(index="anything")
docs = [{"_index": "i", "_source": {"message": f"s{n}", "service": "es-stream"}} for n in range(300)]
docs.insert(7, "[1]")
docs.insert(20, {"_index": "i", "_op_type": "delete", "_id": "x"})
docs.insert(21, {"_index": "i", "_op_type": "update", "_id": "x", "doc": {"a": 1}})
results = list(helpers.streaming_bulk(client, docs, index="i", chunk_size=50, raise_on_error=False))
assert [n for n, (ok, _) in enumerate(results) if not ok] == [7, 20, 21], results
kinds = [item[next(iter(item))]["error"]["type"] for ok, item in results if not ok]
assert kinds == ["mapper_parsing_exception"] + ["illegal_argument_exception"] * 2, kinds
docs = [{"_index": "i", "_source": {"message": f"p{n}", "service": "es-parallel"}} for n in range(2000)]
assert all(ok for ok, _ in helpers.parallel_bulk(client, docs, thread_count=3, chunk_size=100))
client.index(index="i", document={"message": "one", "service": "es-one"}, refresh=True)
client.create(index="i", id="1", document={"message": "two", "service": "es-one"})
client.indices.refresh(index="i")
tenant = {"x-neve-namespace": "tenant_es"}
gzipped = Elasticsearch("http://127.0.0.1:8780/elasticsearch", http_compress=True, headers=tenant, request_timeout=240)
helpers.bulk(gzipped, [{"_index": "i", "_id": str(n), "message": "m", "service": "es-tenant"} for n in range(100)])
sniffing = Elasticsearch("http://127.0.0.1:8780", sniff_on_start=True, request_timeout=240, sniff_timeout=240)
sniffing.index(index="i", document={"message": "three", "service": "es-one"})
try:
    client.search(index="i")
except Exception as error:
    assert "/api/v1/search" in str(error), error
else:
    raise AssertionError
"""


def test_elasticsearchs_client_in_its_other_ways(server: Server, port: int) -> None:
    run(STREAMING.replace("8780", str(port)))
    server.wait_for("service:es-stream", 300)
    server.wait_for("service:es-parallel", 2000)
    server.wait_for("service:es-one", 3)
    server.wait_for("service:es-tenant", 100, namespace="tenant_es")
    assert (
        server.search("service:es-tenant", namespace="tenant_es", limit=200)["events"][99]["tags"]["_index"]
        == "i"
    )
    assert server.count("service:es-tenant") == 0


def test_the_page_is_still_the_page(server: Server) -> None:
    browser = server.client.get("/", headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
    assert browser.headers["content-type"].startswith("text/html")
    assert "x-elastic-product" not in browser.headers
    client = server.client.get("/", headers={"user-agent": "Elastic-filebeat/8.19.0 (linux; amd64)"})
    assert client.json()["tagline"] == "You Know, for Search"
    assert (
        server.client.get("/docs", headers={"user-agent": "logstash"})
        .headers["content-type"]
        .startswith("text/html")
    )


@pytest.fixture
def rsyslog(port: int, tmp_path: Path) -> Iterator[Path]:
    """rsyslogd with the page's configuration; the file that it follows."""
    if not OMELASTICSEARCH:
        pytest.skip("needs Debian's rsyslog-elasticsearch")
    log = tmp_path / "app.log"
    log.write_bytes(b"")
    (text,) = snippets("ingest/elasticsearch.md", "rsyslog", port)
    text = f'global(workDirectory="{tmp_path}")\n' + text.replace("/var/log/app.log", str(log))
    (tmp_path / "rsyslog.conf").write_text(text)
    command = ["rsyslogd", "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")]
    path = f"{os.environ['PATH']}:/usr/sbin"
    process = subprocess.Popen(command, env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL)
    try:
        yield log
    finally:
        process.terminate()
        process.wait()


def test_rsyslog(server: Server, rsyslog: Path) -> None:
    count = 2000
    with open(rsyslog, "a") as out:
        out.writelines(f'line {n} says "{"x" * (n % 50)}"\n' for n in range(count))
    events = found(server, "service:es-rsyslog", count)
    assert events[0]["tags"]["_index"] == "rsyslog"
    assert events[0]["host"]
    assert events[0]["message"].startswith("line ")
    assert json.dumps(events[0]["level"]) == '"notice"'
