"""Queries: parameters, streams, limits, cancellation, and the pool."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import errors
from storage.config import ClickHouseConfig
from storage.embedded import EmbeddedServer
from storage.hot import Hot

HOSTILE = [
    "it's", "'", "''",
    "\\", "\\'", "\\\\n", "tab\there", "new\nline\r", "nul\0nul", "\b\f\a\v\x7f", "é漢🎉", '"`$%s',
    "{x:String}", "NULL", "\\N", "\\x41", "'; DROP TABLE neve.epochs; --", "", " ", "[1]", "%_%", "\u2028",
]  # fmt: skip
ROUND_TRIP = "SELECT {p:String} AS p, {l:Array(String)} AS l, {n:Nullable(String)} AS n"


def comes_back(hot: Hot, value: str | bytes) -> None:
    row = hot.query(ROUND_TRIP, {"p": value, "l": ["x", value], "n": value}).rows[0]
    assert row == (value, ["x", value], value)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_strings(hot: Hot, value: str) -> None:
    comes_back(hot, value)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_string(hot: Hot, value: str) -> None:
    comes_back(hot, value)


def test_every_byte(hot: Hot) -> None:
    comes_back(hot, bytes(range(256)))


def test_string_with_escaped_bytes_is_those_bytes(hot: Hot) -> None:
    sql = "SELECT hex({p:String}) AS h"
    assert hot.scalars(sql, {"p": "caf\udce9"}) == ["636166E9"]


def test_other_types(hot: Hot) -> None:
    sql = (
        "SELECT {i:Int64} AS i, {u:UInt64} AS u, {f:Float64} AS f, {b:Bool} AS b, {n:Nullable(String)} AS n, "
        "{l:Array(UInt32)} AS l, {e:Array(String)} AS e, {m:Array(Nullable(String))} AS m"
    )
    values = (-(2**63), 2**64 - 1, 1e-300, True, None, [1, 2], [], [None, "a"])
    assert hot.query(sql, dict(zip("iufbnlem", values, strict=True))).rows == [values]


def test_result_says_what_was_read(hot: Hot) -> None:
    result = hot.query("SELECT count() AS n FROM numbers(1000000) WHERE number % 2 = 0")
    assert result.columns == [("n", "UInt64")]
    assert result.rows == [(500_000,)]
    assert result.rows_read == 1_000_000
    assert result.bytes_read == 8_000_000
    assert result.elapsed_ms > 0


def test_no_rows_still_names_columns(hot: Hot) -> None:
    result = hot.query("SELECT 1 AS a, 'x' AS b WHERE 0")
    assert result.columns == [("a", "UInt8"), ("b", "String")]
    assert result.rows == []


def test_stream_gives_rows_as_they_come(hot: Hot) -> None:
    sql = "SELECT number AS n FROM numbers(100000)"
    with hot.query_iter(sql, settings={"max_block_size": 10_000}) as stream:
        assert stream.columns == [("n", "UInt64")]
        batches = list(stream)
    assert len(batches) == 10
    assert [row[0] for rows in batches for row in rows] == list(range(100_000))
    assert stream.rows_read == 100_000


def running(hot: Hot, query_id: str) -> bool:
    sql = "SELECT 1 AS x FROM system.processes WHERE query_id = {q:String}"
    return bool(hot.scalars(sql, {"q": query_id}))


def wait_until_gone(hot: Hot, query_id: str) -> None:
    ended = threading.Event()
    for _ in range(3000):
        if not running(hot, query_id):
            return
        ended.wait(0.02)
    pytest.fail("the query still runs")


ENDLESS = "SELECT number AS n FROM system.numbers"


def test_stream_closed_early_ends_the_query(hot: Hot) -> None:
    query_id = str(uuid.uuid4())
    with hot.query_iter(ENDLESS, query_id=query_id) as stream:
        assert next(iter(stream))[0] == (0,)
        assert running(hot, query_id)
    wait_until_gone(hot, query_id)


def test_cancel(hot: Hot) -> None:
    query_id = str(uuid.uuid4())
    with hot.query_iter(ENDLESS, query_id=query_id) as stream:
        rows = iter(stream)
        next(rows)
        hot.cancel(query_id)
        with pytest.raises(errors.QueryCancelled):
            for _ in rows:
                pass
    hot.cancel(query_id)
    assert hot.scalars("SELECT 1 AS x") == [1]


def test_timeout(hot: Hot) -> None:
    with pytest.raises(errors.QueryTimeout):
        hot.query("SELECT count() AS n FROM system.numbers", timeout=0.2)
    assert hot.scalars("SELECT 1 AS x") == [1]


@pytest.mark.parametrize(
    "limits", [{"max_rows_to_read": 10}, {"max_memory_usage": 1_000_000}, {"max_bytes_to_read": 100}]
)
def test_limits(hot: Hot, limits: dict[str, int]) -> None:
    with pytest.raises(errors.QueryLimit):
        hot.query("SELECT uniqExact(number) AS n FROM numbers(10000000)", settings=limits)


def test_refused_query_keeps_sql_to_the_detail(hot: Hot) -> None:
    with pytest.raises(errors.QueryFailed) as caught:
        hot.query("SELECT no_such_column AS x")
    assert "no_such_column" not in str(caught.value.to_json())
    assert "no_such_column" in caught.value.detail
    assert caught.value.server_code == 47
    assert hot.scalars("SELECT 1 AS x") == [1]


def test_unknown_setting_fails(hot: Hot) -> None:
    with pytest.raises(errors.QueryFailed):
        hot.query("SELECT 1 AS x", settings={"no_such_setting": 1})


def test_error_after_rows_began_to_come(hot: Hot) -> None:
    sql = "SELECT throwIf(number = 1000000) AS x FROM numbers(2000000)"
    with hot.query_iter(sql, settings={"max_block_size": 1000}) as stream, pytest.raises(errors.QueryFailed):
        list(stream)


def test_many_threads_share_few_connections(clickhouse: EmbeddedServer) -> None:
    config = replace(clickhouse.config, pool_size=2)
    answers: list[int] = []
    with Hot(config) as few:

        def ask(number: int) -> None:
            answers.append(few.scalars("SELECT {n:UInt32} AS n", {"n": number})[0])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == list(range(20))


def test_full_pool_is_said_and_does_not_stop_cancel_or_ping(clickhouse: EmbeddedServer) -> None:
    config = replace(clickhouse.config, pool_size=1, connect_timeout=2.0)
    with Hot(config) as one, one.query_iter(ENDLESS, query_id=str(uuid.uuid4())) as stream:
        next(iter(stream))
        with pytest.raises(errors.StorageUnavailable, match="all 1 are in use"):
            one.query("SELECT 1 AS x")
        one.ping()
        one.cancel("nothing of the sort")


def test_wrong_password_is_said(clickhouse: EmbeddedServer) -> None:
    config = ClickHouseConfig(port=clickhouse.config.port, user="neve", password="wrong")
    with Hot(config) as hot, pytest.raises(errors.StorageUnavailable, match="cannot log in"):
        hot.ping()


def test_passwordless_default_user_may_do_nothing(clickhouse: EmbeddedServer) -> None:
    with Hot(ClickHouseConfig(port=clickhouse.config.port)) as hot:
        assert hot.scalars("SELECT count() AS n FROM system.tables WHERE database LIKE 'neve%'") == [0]
        for sql in ("SELECT scope AS s FROM neve.migrations", "CREATE DATABASE x", "SYSTEM SHUTDOWN"):
            with pytest.raises(errors.QueryFailed):
                hot.query(sql)


def test_nobody_listens() -> None:
    with Hot(ClickHouseConfig(port=1)) as hot, pytest.raises(errors.StorageUnavailable, match="cannot reach"):
        hot.ping()
