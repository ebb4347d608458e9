"""Users of ClickHouse: who searches changes nothing and sees no key, who inserts reads nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from query.limits import Limits
from query.plan import make_plan
from query.running import Running
from query.search import search
from storage.embedded import EmbeddedServer, saved_config
from storage.embedded_files import INSERTER, SEARCHER
from storage.errors import NeveError
from storage.hot import Hot
from storage.native.block import SealedBlock

FORBIDDEN = (
    "INSERT INTO neve.keys SELECT 'a', 1, now(), now(), 'x'",
    "SELECT said AS s FROM neve.keys",
    "SELECT said AS s FROM neve.roles",
    "SELECT said AS s FROM neve.namespaces",
    "DROP TABLE neve_{ns}.events",
    "DROP DATABASE neve_{ns}",
    "CREATE TABLE neve_{ns}.mine (a Int8) ENGINE = Memory",
    "ALTER TABLE neve_{ns}.events DELETE WHERE 1",
    "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')",
    "SELECT * FROM remote('127.0.0.1', 'neve.keys')",
    "SYSTEM SHUTDOWN",
    "CREATE USER other",
    "GRANT SELECT ON neve.keys TO {me}",
)


@pytest.mark.parametrize("user", [SEARCHER, INSERTER])
def test_what_they_may_not(clickhouse: EmbeddedServer, hot: Hot, namespace: str, user: str) -> None:
    hot.ping()
    with Hot(saved_config(clickhouse.data_dir, user)) as other:
        for statement in FORBIDDEN:
            with pytest.raises(NeveError):
                other.query(statement.format(ns=namespace, me=user))


def test_blocks_are_stored_and_counted_by_one_and_found_by_the_other(
    clickhouse: EmbeddedServer, hot: Hot, namespace: str, make_block: Callable[..., SealedBlock]
) -> None:
    block = make_block([{"message": "hello", "timestamp": 10**18, "service": "s", "fingerprint": 7}])
    folder = clickhouse.data_dir
    with Hot(hot._config, None, saved_config(folder, INSERTER)) as writer:
        writer.insert_blocks(namespace, [block], writer.current_epoch(namespace), "token")
    counts: list[Any] = [
        hot.scalars(f"SELECT sum(count) AS n FROM neve_{namespace}.{table}")[0]
        for table in ("rollup", "counts")
    ]
    assert counts == [1, 1]
    assert hot.scalars(f"SELECT fingerprint AS f FROM neve_{namespace}.seen") == [7]
    with Hot(saved_config(folder, SEARCHER)) as reader:
        found = search(make_plan("hello", now=0, namespace=namespace), Running(reader, Limits()))
        assert [event["message"] for event in found.events()] == ["hello"]
        with pytest.raises(NeveError):
            reader.query(f"INSERT INTO neve_{namespace}.templates VALUES (1, 'x', 1)")
        reader.cancel("nothing")
    with Hot(saved_config(folder, INSERTER)) as writer, pytest.raises(NeveError):
        writer.query(f"SELECT message AS m FROM neve_{namespace}.events")
