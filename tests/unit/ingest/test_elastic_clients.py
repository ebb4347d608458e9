"""What the front door gives to the Elasticsearch receiver, and what stays the page's and the API's."""

import pytest

from ingest.receivers.elastic_clients import wants_elasticsearch

BROWSER = [(b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"), (b"Accept", b"text/html,*/*")]
CLIENTS = [
    [(b"user-agent", b"elasticsearch-py/8.19.0 (Python/3.11.7; elastic-transport/8.17.1)")],
    [(b"User-Agent", b"opensearch-py/3.2.0 (Python 3.11.7)")],
    [(b"User-Agent", b"Elastic-filebeat/8.19.0 (linux; amd64)")],
    [(b"User-Agent", b"logstash/8.19.0 (OS=Linux)")],
    [(b"User-Agent", b"Fluent-Bit")],
    [(b"User-Agent", b"Vector/0.50.0 (x86_64-unknown-linux-gnu)")],
    [(b"Accept", b"application/vnd.elasticsearch+json;compatible-with=8")],
    [(b"X-Elastic-Client-Meta", b"es=8.19.0")],
]


@pytest.mark.parametrize("headers", [[], BROWSER, *CLIENTS])
@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/_bulk", True),
        ("/logs-1/_bulk", True),
        ("/logs/_doc/1", True),
        ("/_cluster/health", True),
        ("/_nodes/http", True),
        ("/elasticsearch", True),
        ("/elasticsearch/", True),
        ("/elasticsearch/logs", True),
        ("/elasticsearches/x", False),
        ("/api/v1/search", False),
        ("/api/_bulk", False),
        ("/gateway/_x", False),
        ("/loki/_x", False),
        ("/pages/_chunk.js", False),
        ("/docs", False),
        ("/healthz", False),
        ("/a/b", False),
    ],
)
def test_paths_that_are_told_by_themselves(
    headers: list[tuple[bytes, bytes]], path: str, wanted: bool
) -> None:
    assert wants_elasticsearch(path, headers) is wanted


@pytest.mark.parametrize("path", ["/", "/logs-app"])
def test_the_page_is_nobodys_but_a_clients(path: str) -> None:
    assert not wants_elasticsearch(path, [])
    assert not wants_elasticsearch(path, BROWSER)
    assert not wants_elasticsearch(path, [(b"user-agent", b"curl/8.5.0"), (b"accept", b"*/*")])
    assert not wants_elasticsearch(path, [(b"user-agent", b"Mozilla/5.0 elasticsearch-head")])
    for headers in CLIENTS:
        assert wants_elasticsearch(path, headers)
