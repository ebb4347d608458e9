"""The same on S3: files by pyiceberg, read by ClickHouse, and no credential where it can be read."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from query import asking
from query.limits import Limits
from query.serving import Gate
from storage.cold_config import ColdConfig
from storage.errors import ColdUnavailable
from storage.spreading import Spread
from storage.upkeep import Upkeep, named_files, stored_files
from tests.integration.conftest import Cluster

from .test_ageing_shards import counted

Both = Any
KEY, SECRET = "AKIDHUSHHUSHHUSHHUSH", "hush-hush-secret"


def test_an_epoch_ages_to_s3(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    both = new_both(on_s3)
    both.insert(
        make_block([*events(50, tags={"region": "eu"}), {"message": b"\xff", "tags": {"k": b"\xfe"}}])
    )
    before = both.hot_events()
    assert both.age() == 51
    assert both.cold_events() == before
    assert both.count() == (51, 51)


def test_chores_on_s3(
    new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("storage.upkeep.COMPACT_FILES", 2)
    both = new_both(on_s3)
    for _ in range(4):
        both.insert(make_block(events(10)))
        both.age()
    later = 40 * 86400
    upkeep = Upkeep(both.ager, now=lambda: 1_800_000_000 + later)
    upkeep.run(both.namespace)
    assert {"compact", "expire", "orphans"} <= set(both.said())
    assert both.count() == (40, 40)


@pytest.mark.parametrize("both", ["s3"], indirect=True)
def test_orphans_go_and_what_is_named_stays(both: Both, make_block: Any, events: Any) -> None:
    both.insert(make_block(events(5)))
    both.age()
    table = both.cold.catalog.table(both.namespace)
    orphan = f"{table.location()}/data/orphan.parquet"
    with table.io.new_output(orphan).create() as file:
        file.write(b"x")
    assert Upkeep(both.ager).remove_orphans(both.namespace, table) == 0  # it may be of a commit under way
    assert Upkeep(both.ager, now=lambda: time.time() + 2 * 86400).remove_orphans(both.namespace, table) == 1
    assert {place for place, _ in stored_files(table)} <= named_files(table)
    assert both.count() == (5, 5)


def test_credentials_are_said_nowhere(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    both = new_both(on_s3)
    both.insert(make_block(events(5)))
    both.age()
    pinned = both.cold.pin(both.namespace)
    said = [repr(pinned), pinned.source, repr(on_s3), *(one.text for one in both.steps)]
    assert not any(SECRET in one or KEY in one for one in said)
    log = both.clickhouse.log_file.read_text(errors="replace")
    assert SECRET not in log


def test_shards_that_read_a_part_each_say_no_credential(
    cluster: Cluster,
    on_s3: ColdConfig,
    make_block: Any,
    events: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.cold, cluster.gate = on_s3, Gate(Spread(cluster.reading), Limits(), on_s3)
    day = 86_400 * 10**9
    cluster.insert(1, make_block(events(4, step=day)))
    cluster.insert(2, make_block(events(3, step=day)))
    assert cluster.age() == 7
    assert counted(cluster) == (7, [])
    real, said = asking.over, []

    def elsewhere(sql: str, params: Any, shards: Any) -> Any:
        text, bound = real(sql, params, shards)
        said.append(text)
        return text, {
            **bound,
            **({"cold_path": f"{bound['cold_path']}none/"} if "cold_path" in bound else {}),
        }

    with monkeypatch.context() as patch:
        patch.setattr(asking, "over", elsewhere)
        assert counted(cluster) == (0, ["cold"])
    assert any(asking.PART in one for one in said)
    assert "cannot read the cold tier" in caplog.text
    logs = [one.log_file.read_text(errors="replace") for one in cluster.servers]
    for text in (*said, *logs, caplog.text):
        assert SECRET not in text
        assert cluster.reading.home.config.password not in text


def test_s3_that_is_away(new_both: Any, on_s3: ColdConfig, make_block: Any, events: Any) -> None:
    properties = {**on_s3.catalog, "s3.endpoint": "http://127.0.0.1:1", "s3.connect-timeout": "1"}
    both = new_both(replace(on_s3, catalog=properties))
    both.insert(make_block(events(5)))
    with pytest.raises(ColdUnavailable) as raised:
        both.age()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert both.hot_rows() == 5
