"""Which requests are for the Elasticsearch receiver: the front door asks before it passes one on."""

from collections.abc import Sequence

PREFIX = "/elasticsearch"
"""Below it everything is."""
CLIENTS = (
    "elastic", "opensearch", "filebeat", "metricbeat", "auditbeat", "heartbeat", "packetbeat", "winlogbeat", "libbeat",
    "logstash", "fluent", "vector/", "rsyslog", "manticore",
)  # fmt: skip
"""How their User-Agents start, or what is in them."""
OURS = ("docs", "healthz", "readyz", "metrics", "openapi.json", "favicon.ico")

FOLDERS = ("api", "auth", "cold", "docs", "gateway", "loki", "pages", "services", "v1")
"""Whatever is below them is not."""

Headers = Sequence[tuple[bytes, bytes]]


def wants_elasticsearch(path: str, headers: Headers) -> bool:
    """By the path where only Elasticsearch has it; `/` and `/{index}` only from a client that says what it is."""
    first, _, rest = path[1:].partition("/")
    if path.startswith("/_") or rest.startswith("_") or path == PREFIX or path.startswith(PREFIX + "/"):
        return first not in FOLDERS
    return not rest and first not in OURS and is_client(headers)


def is_client(headers: Headers) -> bool:
    """Whether an Elasticsearch or OpenSearch client says that it is one."""
    for name, value in headers:
        name, text = name.lower(), value.decode("latin-1").lower()
        if name == b"x-elastic-client-meta" or (name == b"accept" and "vnd.elasticsearch" in text):
            return True
        if name == b"user-agent" and "mozilla" not in text and any(client in text for client in CLIENTS):
            return True
    return False
