"""One gateway for the receivers of other systems' clients, before the shared ClickHouse; each test has a namespace."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingest.app import GatewaySettings, create_app
from ingest.spool import Spool
from storage.embedded import EmbeddedServer
from storage.hot import Hot
from tests.conftest import SHARDS
from tests.listening import Listening

Event = dict[str, Any]
Events = Callable[[], list[Event]]
COLUMNS = ("message", "level", "service", "host", "trace_id", "span_id")
TAGS = f"mapConcat({', '.join(f'tags_{shard:02d}' for shard in range(SHARDS))})"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, clickhouse: EmbeddedServer) -> Iterator[Listening]:
    # No namespace of its own: other tests on this server want `default` not to be there.
    settings = GatewaySettings(tmp_path_factory.mktemp("push"), clickhouse.config, namespaces=())
    with Listening(create_app(settings)) as one:
        yield one


@pytest.fixture
def tenant(gateway: Listening, namespace: str) -> Iterator[dict[str, str]]:
    """The header that sends to this test's namespace, which ends once nothing waits for it any more."""
    yield {"x-scope-orgid": namespace}
    spool: Spool = gateway.app.state.gateway.spool
    while len(spool):
        spool.wait_room(0.2)


@pytest.fixture
def events(gateway: Listening, hot: Hot, namespace: str) -> Events:
    """What is stored, in the order of its messages, once nothing waits any more: columns, `time` in ns, and `tags`."""

    def read() -> list[Event]:
        spool: Spool = gateway.app.state.gateway.spool
        while len(spool):
            spool.wait_room(0.2)
        sql = (
            f"SELECT {', '.join(COLUMNS)}, toUnixTimestamp64Nano(timestamp), {TAGS} "
            f"FROM neve_{namespace}.events ORDER BY message, row"
        )
        return [dict(zip((*COLUMNS, "time", "tags"), row, strict=True)) for row in hot.query(sql).rows]

    return read
