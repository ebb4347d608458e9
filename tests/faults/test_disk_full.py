"""The disk fills up: senders are told to wait, files are not read on, and nothing that was acknowledged is lost."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.faults

SMALL = "48m"
FILLER_BYTES = 36 << 20  # what is left is less than a spool leaves free for its own ends


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at `folder`; gives a file that fills it while it is there."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder / "filler"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def post(url: str, body: str) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/ingest", content=body.encode(), timeout=240, trust_env=False)


def test_the_gateways_disk_is_full(site: Any, lines: Any) -> None:
    with small_disk(site.folder / "gateway") as filler:
        site.start_gateway()
        first = post(site.url, lines(range(10)))
        while first.status_code == 503:  # it listens before it has made its namespace: a sender comes back
            time.sleep(int(first.headers["retry-after"]))
            first = post(site.url, lines(range(10)))
        assert first.status_code == 200
        filler.write_bytes(bytes(FILLER_BYTES))
        refused = post(site.url, lines(range(10, 20)))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["message"] == "cannot spool block: the disk is full"
        status = httpx.get(f"{site.url}/gateway/status", trust_env=False, timeout=240).json()
        assert status["spool"]["reasons"] == {"disk_full": 1}
        filler.unlink()
        assert post(site.url, lines(range(10, 20))).status_code == 200
        site.check(0, 20)
        site.kill_gateway()


def test_the_agents_disk_is_full(site: Any, lines: Any) -> None:
    site.start_gateway()
    with small_disk(site.state) as filler:
        log = site.folder / "app.log"
        log.write_text(lines(range(1000)))
        filler.write_bytes(bytes(FILLER_BYTES))
        agent = site.start_agent(log)
        agent.join(3.0)
        assert agent.is_alive()
        assert site.numbers() == [], "a block that could not be made durable was sent"
        filler.unlink()
        site.wait_for(1000)
        with log.open("a") as file:
            file.write(lines(range(1000, 1500)))
        site.check(0, 1500)
        site.kill_agent()


def test_the_agents_disk_fills_while_clickhouse_and_gateway_are_away(site: Any, lines: Any) -> None:
    with small_disk(site.state) as filler:
        log = site.folder / "app.log"
        log.write_text(lines(range(300_000)))
        filler.write_bytes(bytes(FILLER_BYTES - (6 << 20)))
        agent = site.start_agent(log)
        time.sleep(2.0)  # nobody to wait for: it is to stand still
        assert agent.is_alive()
        site.start_gateway()
        filler.unlink()
        site.check(0, 300_000)
        site.kill_agent()
