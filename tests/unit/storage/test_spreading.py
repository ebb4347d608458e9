"""What a statement over shards becomes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.config import ClickHouseConfig, ShardConfig
from storage.shards import Shards
from storage.spreading import PART, on_each, over, own_table


@pytest.mark.parametrize(("secure", "remote"), [(False, "remote("), (True, "remoteSecure(")])
def test_what_each_shard_reads_is_asked_of_each_and_of_its_own_tables(secure: bool, remote: str) -> None:
    plain = ClickHouseConfig("one.example", 9000, password="hush", secure=secure)
    configs = [ShardConfig("a", 1, plain), ShardConfig("b", 2, replace(plain, host="::1"))]
    inner = f"SELECT 1 AS x FROM {own_table('neve_default', 'events')} UNION ALL SELECT 2 AS x WHERE {PART}"
    sql = f"SELECT count() FROM {on_each(inner)} WHERE x IN (SELECT x FROM neve_default.patterns)"
    text, bound = over(sql, {"p0": 1}, list(Shards(configs)))
    assert f"FROM {remote}{{shards:String}}, view({inner}), {{shards_user:String}}" in text
    assert f"(SELECT x FROM {remote}{{shards:String}}, 'neve_default', 'patterns', " in text
    assert "hush" not in text
    assert bound["shards"] == "one.example:9000,[::1]:9000"
    assert (bound["shards_asked"], bound["p0"]) == (2, 1)
