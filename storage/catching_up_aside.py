"""`catching_up.py` for a process that has no Iceberg library: it is done in one that ends."""

from __future__ import annotations

import pickle
import subprocess
import sys

from storage.cold_config import ColdConfig
from storage.config import ClickHouseConfig
from storage.errors import ColdUnavailable

ASIDE_SECONDS = 300.0


def catch_up_aside(clickhouse: ClickHouseConfig, cold: ColdConfig, number: int = 1) -> str:
    """Do it for every namespace of a shard; what there is to tell. ColdUnavailable where it could not be done."""
    if not cold.catalog and not (cold.folder / "catalog.db").exists():
        return ""  # nothing has ever aged here
    try:
        done = subprocess.run(
            [sys.executable, "-m", "storage.catching_up"],
            input=pickle.dumps((clickhouse, cold, number)),  # through a pipe: credentials are in it
            capture_output=True,
            timeout=ASIDE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ColdUnavailable("cannot compare epochs with the cold tier: it does not answer") from None
    text = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        raise ColdUnavailable(text or "cannot compare epochs with the cold tier")
    return text
