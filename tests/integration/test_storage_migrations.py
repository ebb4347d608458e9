"""Tables of older versions, brought to this one with what is in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from storage import migrations, schema
from storage.hot import Hot
from storage.native.block import SealedBlock
from storage.tags import column_of

_numbers = itertools.count(1)


@pytest.fixture
def namespace(hot: Hot, monkeypatch: pytest.MonkeyPatch) -> str:
    """A namespace as the first version made it."""
    name = f"first_{next(_numbers)}"
    with monkeypatch.context() as old:
        old.setattr(migrations, "NAMESPACE", migrations.NAMESPACE[:1])
        hot.create_namespace(name)
    return name


def insert(hot: Hot, namespace: str, block: SealedBlock) -> None:
    hot.insert_blocks(namespace, [block], 1, block.header.block_id.hex())


def events(user: str) -> Sequence[dict[str, Any]]:
    return [{"message": f"line of {user}", "tags": {"user": user}} for _ in range(3)]


def count(hot: Hot, namespace: str, where: str) -> int:
    return int(hot.scalars(f"SELECT count() AS n FROM neve_{namespace}.events WHERE {where}")[0])


def test_an_old_table_keeps_its_events_and_gets_the_indexes(
    hot: Hot, namespace: str, make_block: Callable[..., SealedBlock]
) -> None:
    insert(hot, namespace, make_block(events("old")))
    assert hot.migrate() == len(migrations.NAMESPACE) - 1
    assert hot.migrate() == 0
    insert(hot, namespace, make_block(events("new")))
    word = f"indexHint(hasToken({schema.WORDS_TEXT}, '{{}}')) AND position(message, '{{}}') > 0"
    for _ in range(2):
        for user in ("old", "new"):
            assert count(hot, namespace, f"{column_of('user')}['user'] = '{user}'") == 3
            assert count(hot, namespace, word.format(user, user)) == 3
        hot.execute(f"OPTIMIZE TABLE neve_{namespace}.events FINAL")
    absent = f"SELECT 1 AS x FROM neve_{namespace}.events WHERE {word.format('no', 'no')}"
    told = [line.strip() for line, *_ in hot.query(f"EXPLAIN indexes = 1 {absent}").rows]
    assert "Granules: 0/1" in told[told.index("Name: message_words") :]


def test_migrations_can_be_repeated(hot: Hot, namespace: str, make_block: Callable[..., SealedBlock]) -> None:
    insert(hot, namespace, make_block(events("old")))
    for _ in range(2):
        for migration in migrations.NAMESPACE:
            for statement in migration.statements(schema.namespace_database(namespace)):
                hot.execute(statement)
    assert count(hot, namespace, "1") == 3
    hot.migrate()
