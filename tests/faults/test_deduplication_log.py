"""ClickHouse's own memory of tokens may be wrong after a crash: it decides nothing.

The gateway dies after an INSERT whose end it never noted. Meanwhile ClickHouse's log loses its last record, has one
for a part that is gone, or ends within a line. Each would double or lose rows if a resend were left to it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.hot import Hot

pytestmark = pytest.mark.faults

LINES = 3000


def last_record_gone(_events: Path, log: Path) -> None:
    records = log.read_text().splitlines(keepends=True)
    log.write_text("".join(records[:-1]))


def part_gone(events: Path, log: Path) -> None:
    part = log.read_text().splitlines()[-1].split("\t")[1]
    shutil.rmtree(events / part)


def torn_last_line(_events: Path, log: Path) -> None:
    text = log.read_text()
    log.write_text(text[:-9])


@pytest.mark.parametrize("damage", [last_record_gone, part_gone, torn_last_line])
def test_every_line_once(site: Any, lines: Any, exit_code: Any, damage: Any) -> None:
    log, first = site.new_log()
    log.write_text(lines(range(first, first + LINES)))
    with Hot(site.config) as hot:
        hot.create_namespace("default")
        hot.execute("SYSTEM STOP MERGES neve_default.events")
        sql = (
            "SELECT data_paths[1] AS p FROM system.tables WHERE database = 'neve_default' AND name = 'events'"
        )
        events = Path(hot.scalars(sql)[0])
    gateway = site.start_gateway(kill_at="storage.hot:Hot.insert_blocks:after:1")
    agent = site.start_agent(log, once=True)
    assert exit_code(gateway) == -9
    assert len(site.numbers(first)) == LINES
    site.kill_clickhouse()
    record = max((events / "deduplication_logs").glob("deduplication_log_*.txt"))
    damage(events, record)
    site.restart_clickhouse()
    assert len(site.numbers(first)) == (0 if damage is part_gone else LINES)
    site.start_gateway()
    assert exit_code(agent) == 0
    site.check(first, LINES)
