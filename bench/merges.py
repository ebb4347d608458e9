"""When ClickHouse merges no more: a figure that is read before has merges in it that another one has not."""

from __future__ import annotations

import time
from collections.abc import Sequence

from storage.hot import Hot

ASK_SECONDS = 0.2
QUIET_SECONDS = 2.0
"""Without a merge for so long, none is to come."""
END_SECONDS = 600.0


def wait_until_merged(hots: Sequence[Hot]) -> None:
    """Wait until none of these servers has merged for a while. Raises RuntimeError where that does not come."""
    quiet_since = time.monotonic()
    deadline = quiet_since + END_SECONDS
    while time.monotonic() < quiet_since + QUIET_SECONDS:
        if any(one.scalars("SELECT count() AS n FROM system.merges")[0] for one in hots):
            quiet_since = time.monotonic()
        if time.monotonic() > deadline:
            raise RuntimeError(f"cannot wait for merges any longer than {END_SECONDS:.0f} s")
        time.sleep(ASK_SECONDS)
