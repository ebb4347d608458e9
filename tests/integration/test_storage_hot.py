"""Blocks into a real ClickHouse and back out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import errors, tags
from storage.hot import Hot
from storage.native.block import SealedBlock

MakeBlock = Callable[..., SealedBlock]

BASE = 1_700_000_000_000_000_000
TAG_COLUMNS = [tags.column_name(shard) for shard in range(tags.SHARDS)]

texts = st.text(max_size=12)
raw = st.binary(max_size=12)
events = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.integers(0, 4_102_444_800 * 10**9),
        "level": texts,
        "service": texts,
        "host": texts,
        "message": raw,
        "fingerprint": st.integers(0, 2**64 - 1),
        "trace_id": raw,
        "span_id": texts,
        "tags": st.dictionaries(texts, raw, max_size=5),
    },
)


def simple(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"timestamp": BASE + row, "message": f"line {row}", **fields} for row in range(count)]


def store(hot: Hot, namespace: str, *blocks: SealedBlock, token: str = "token") -> int:
    epoch = hot.current_epoch(namespace)
    hot.insert_blocks(namespace, blocks, epoch, token)
    return epoch


def count(hot: Hot, namespace: str, table: str = "events", what: str = "count()") -> int:
    return int(hot.scalars(f"SELECT {what} AS n FROM neve_{namespace}.{table}")[0])


def as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def read_back(hot: Hot, namespace: str) -> dict[tuple[bytes, int], dict[str, Any]]:
    names = ("level", "service", "host", "message", "trace_id", "span_id")
    sql = (
        "SELECT hex(block_id) AS id, row, toUnixTimestamp64Nano(timestamp) AS timestamp, fingerprint, "
        f"{', '.join(names)}, {', '.join(TAG_COLUMNS)} FROM neve_{namespace}.events"
    )
    result = hot.query(sql)
    found = {}
    for values in result.rows:
        row = dict(zip((name for name, _ in result.columns), values, strict=True))
        every_tag = {key: value for column in TAG_COLUMNS for key, value in row[column].items()}
        assert all(key in row[tags.column_of(key)] for key in every_tag)
        event = {name: as_bytes(row[name]) for name in names}
        event |= {"timestamp": row["timestamp"], "fingerprint": row["fingerprint"]}
        event["tags"] = {key: as_bytes(value) for key, value in every_tag.items()}
        found[bytes.fromhex(row["id"]), row["row"]] = event
    return found


def expected(event: dict[str, Any]) -> dict[str, Any]:
    names = ("level", "service", "host", "message", "trace_id", "span_id")
    whole = {name: as_bytes(event.get(name, "")) for name in names}
    whole |= {name: event.get(name, 0) for name in ("timestamp", "fingerprint")}
    whole["tags"] = {key: as_bytes(value) for key, value in event.get("tags", {}).items()}
    return whole


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(events, min_size=1, max_size=8), min_size=1, max_size=3))
def test_events_come_back_as_they_went_in(
    hot: Hot, namespace: str, make_block: MakeBlock, batches: list[list[dict[str, Any]]]
) -> None:
    blocks = [make_block(batch) for batch in batches]
    store(hot, namespace, *blocks, token=blocks[0].header.block_id.hex())
    found = read_back(hot, namespace)
    for block, batch in zip(blocks, batches, strict=True):
        for row, event in enumerate(batch):
            assert found[block.header.block_id, row] == expected(event)


def test_a_block_of_131072_rows(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    block = make_block(simple(131_072, service="api", tags={"region": "eu", "status": "200"}))
    epoch = store(hot, namespace, block)
    assert hot.rows_present(namespace, [block.header.block_id]) == {block.header.block_id: 131_072}
    counts = "uniqExact(row) AS rows, uniqExact(message) AS n"
    sql = f"SELECT epoch, {counts} FROM neve_{namespace}.events GROUP BY epoch"
    assert hot.query(sql).rows == [(epoch, 131_072, 131_072)]


def test_blocks_of_one_insert_are_one_part(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    store(hot, namespace, *(make_block(simple(100)) for _ in range(20)))
    where = "active AND database = {d:String} AND table = 'events'"
    sql = f"SELECT rows, part_type FROM system.parts WHERE {where}"
    assert hot.query(sql, {"d": f"neve_{namespace}"}).rows == [(2000, "Compact")]


def test_same_blocks_and_token_twice_are_stored_once(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    blocks = [make_block(simple(50, fingerprint=9)) for _ in range(3)]
    for _ in range(2):
        store(hot, namespace, *blocks)
    assert count(hot, namespace) == 150
    assert count(hot, namespace, "rollup", "sum(count)") == 150


def test_rows_present_counts_each_block(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    first, second, absent = (make_block(simple(rows)) for rows in (3, 5, 7))
    epoch = store(hot, namespace, first, second)
    ids = [block.header.block_id for block in (first, second, absent)]
    assert hot.rows_present(namespace, ids) == dict(zip(ids, (3, 5, 0), strict=True))
    assert hot.rows_present(namespace, ids, [epoch]) == dict(zip(ids, (3, 5, 0), strict=True))
    assert hot.rows_present(namespace, ids, [epoch + 1]) == dict.fromkeys(ids, 0)
    assert hot.rows_present(namespace, []) == {}


def test_rows_present_skips_what_cannot_hold_the_block(
    hot: Hot, namespace: str, make_block: MakeBlock
) -> None:
    for number in range(5):
        store(hot, namespace, make_block(simple(20_000)), token=str(number))
    block = make_block(simple(1))
    store(hot, namespace, block, token="last")
    sql = f"SELECT count() AS n FROM neve_{namespace}.events WHERE block_id IN (SELECT unhex({{id:String}}))"
    result = hot.query(sql, {"id": block.header.block_id.hex()})
    assert result.rows == [(1,)]
    assert result.rows_read < 20_000


def test_delete_block_rows(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    kept, gone = make_block(simple(10, service="kept")), make_block(simple(20, service="gone"))
    epoch = store(hot, namespace, kept, gone)
    hot.delete_block_rows(namespace, gone.header.block_id, [epoch])
    ids = [kept.header.block_id, gone.header.block_id]
    assert hot.rows_present(namespace, ids) == dict(zip(ids, (10, 0), strict=True))
    sql = f"SELECT service, sum(count) AS n FROM neve_{namespace}.rollup GROUP BY service"
    assert hot.query(sql).rows == [("kept", 10)]
    store(hot, namespace, gone, token="another attempt")
    assert hot.rows_present(namespace, ids) == dict(zip(ids, (10, 20), strict=True))


def test_delete_of_the_only_block_empties_the_rollup(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    block = make_block(simple(10))
    store(hot, namespace, block)
    hot.delete_block_rows(namespace, block.header.block_id)
    hot.delete_block_rows(namespace, block.header.block_id)
    assert count(hot, namespace) == 0
    assert count(hot, namespace, "rollup", "sum(count)") == 0


def test_rollup_seen_and_templates(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    minute = 60 * 10**9
    batch = [
        {"timestamp": BASE + row * minute // 2, "service": "api", "level": "info", "fingerprint": row % 2}
        for row in range(4)
    ]
    epoch = store(hot, namespace, make_block(batch))
    columns = "epoch, toUnixTimestamp(minute) AS m, service, level, fingerprint, count"
    sql = f"SELECT {columns} FROM neve_{namespace}.rollup"
    start = BASE // minute * 60
    assert sorted(hot.query(sql).rows) == [
        (epoch, start, "api", "info", 0, 1),
        (epoch, start, "api", "info", 1, 1),
        (epoch, start + 60, "api", "info", 0, 1),
        (epoch, start + 60, "api", "info", 1, 1),
    ]
    sql = (
        "SELECT fingerprint AS f, toUnixTimestamp64Nano(min(first_seen)) AS a, "
        f"toUnixTimestamp64Nano(max(last_seen)) AS b FROM neve_{namespace}.seen GROUP BY f ORDER BY f"
    )
    half = minute // 2
    assert hot.query(sql).rows == [(0, BASE, BASE + 2 * half), (1, BASE + half, BASE + 3 * half)]
    hot.add_templates(namespace, [(1, b"took <*> \xff"), (2**64 - 1, "it's")])
    hot.add_templates(namespace, [(1, b"took <*> \xff")])
    hot.add_templates(namespace, [])
    sql = f"SELECT fingerprint, template FROM neve_{namespace}.templates FINAL ORDER BY fingerprint"
    assert hot.query(sql).rows == [(1, b"took <*> \xff"), (2**64 - 1, "it's")]


def test_rebuilt_rollup_is_the_same(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    epoch = store(hot, namespace, make_block(simple(30, fingerprint=3)))
    hot.execute(f"TRUNCATE TABLE neve_{namespace}.rollup")
    hot.execute(f"TRUNCATE TABLE neve_{namespace}.seen")
    for _ in range(2):
        hot.rebuild_rollup(namespace, epoch)
    assert count(hot, namespace, "rollup", "sum(count)") == 30
    assert count(hot, namespace, "seen", "uniqExact(fingerprint)") == 1


def change_column(make_block: MakeBlock, encode: Any, place: int, new: tuple[str, str, bytes]) -> SealedBlock:
    columns = encode(simple(10))
    columns.encoded[place] = new
    return make_block(columns)


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (4, ("message", "UInt64", bytes(80))),
        (4, ("message", "NoSuchType", bytes(80))),
        (4, ("nosuch", "String", bytes(10))),
        (4, ("message", "String", b"\x05cut")),
        (1, ("level", "LowCardinality(String)", bytes(100))),
    ],
)
def test_poison_is_refused_and_the_rest_goes_on(
    hot: Hot,
    namespace: str,
    make_block: MakeBlock,
    plain_columns: Any,
    place: int,
    new: tuple[str, str, bytes],
) -> None:
    poison = change_column(make_block, plain_columns, place, new)
    with pytest.raises(errors.InsertRefused):
        store(hot, namespace, poison, token="poison")
    assert count(hot, namespace) == 0
    store(hot, namespace, make_block(simple(2)), token="good")
    assert count(hot, namespace) == 2


def test_poison_among_good_blocks_keeps_all_out(
    hot: Hot, namespace: str, make_block: MakeBlock, plain_columns: Any
) -> None:
    good = make_block(simple(20_000))
    wrong = change_column(make_block, plain_columns, 4, ("message", "NoSuchType", bytes(80)))
    claimed = dataclasses.replace(wrong.header, columns=good.header.columns)
    poison = dataclasses.replace(wrong, header=claimed)
    with pytest.raises((errors.InsertRefused, errors.InsertUnknown)):
        store(hot, namespace, good, poison, *[good] * 30)  # it is met with much of the rest on its way
    assert count(hot, namespace) == 0
    store(hot, namespace, good, good, token="good")
    assert count(hot, namespace) == 40_000


def test_damaged_frames_are_refused(hot: Hot, namespace: str, make_block: MakeBlock) -> None:
    good = make_block(simple(3))
    cut = dataclasses.replace(good, frames=good.frames[:-10])
    with pytest.raises((errors.InsertRefused, errors.InsertUnknown)):
        store(hot, namespace, good, cut, good)
    assert count(hot, namespace) == 0


def test_blocks_of_other_columns_are_not_for_one_insert(
    hot: Hot, namespace: str, make_block: MakeBlock, plain_columns: Any
) -> None:
    fewer = plain_columns(simple(1))
    del fewer.encoded[6]
    with pytest.raises(ValueError, match="same columns"):
        store(hot, namespace, make_block(simple(1)), make_block(fewer))


def test_block_of_an_older_schema_goes_in(
    hot: Hot, namespace: str, make_block: MakeBlock, plain_columns: Any
) -> None:
    older = plain_columns(simple(3))
    del older.encoded[6]
    store(hot, namespace, make_block(older))
    assert hot.scalars(f"SELECT DISTINCT trace_id FROM neve_{namespace}.events") == [""]


def test_no_blocks_is_nothing_to_do(hot: Hot, namespace: str) -> None:
    hot.insert_blocks(namespace, [], 1, "token")


def test_missing_namespace_is_not_the_fault_of_the_data(hot: Hot, make_block: MakeBlock) -> None:
    block = make_block(simple(1))
    with pytest.raises(errors.StorageUnavailable, match="missing"):
        hot.insert_blocks("nowhere", [block], 1, "token")


def test_epochs_only_grow(hot: Hot, namespace: str) -> None:
    assert hot.current_epoch(namespace) == 1
    assert hot.current_epoch(namespace) == 1
    assert hot.open_epoch(namespace) == 2
    assert hot.current_epoch(namespace) == 2
    columns = "(namespace, epoch, opened_at)"
    old = f"INSERT INTO neve.epochs {columns} VALUES ('{namespace}', 3, now64(3) - INTERVAL 2 HOUR)"
    hot.execute("ALTER TABLE neve.epochs DELETE WHERE namespace = '%s' AND epoch > 1" % namespace)  # noqa: UP031
    hot.execute(old)
    assert hot.current_epoch(namespace) == 4


def test_epochs_opened_at_once_differ(hot: Hot, namespace: str) -> None:
    opened: list[int] = []
    threads = [threading.Thread(target=lambda: opened.append(hot.open_epoch(namespace))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == [1, 2, 3, 4]


def test_epoch_of_a_namespace_that_is_not_there(hot: Hot) -> None:
    with pytest.raises(errors.NamespaceUnknown):
        hot.current_epoch("nowhere")


def test_migrations_are_idempotent(hot: Hot, namespace: str) -> None:
    assert hot.migrate() == 0
    hot.create_namespace(namespace)
    hot.execute(f"ALTER TABLE neve.migrations DELETE WHERE scope = '{namespace}'")
    hot.create_namespace(namespace)  # as after a crash between a migration and its record
    assert hot.migrate() == 0
    assert namespace in hot.namespaces()
