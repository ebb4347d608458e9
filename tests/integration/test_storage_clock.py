"""ClickHouse's clock, by which leases and epochs are dated, jumps: what was said before it is dated by another clock.

To jump by so much is to find every date moved by as much the other way.
"""

from __future__ import annotations

import pytest

from storage.epochs import EPOCH_SECONDS, EPOCHS
from storage.errors import AgerBusy
from storage.hot import Hot
from storage.leases import LEASE_SECONDS, LEASES, held

HOUR, MONTH = 3600, 30 * 86400


def lease_of_another(hot: Hot, name: str, seconds: float) -> None:
    """Somebody who does not renew it any more, and whose lease runs for so long from now."""
    hot.execute(
        f"INSERT INTO {LEASES} SELECT {{name:String}}, 'another', 'there', 1, 0, "
        "now64(3) + toIntervalMillisecond({ms:Int64})",
        {"name": name, "ms": int(seconds * 1000)},
    )


def opened(hot: Hot, namespace: str, epoch: int, seconds: float) -> None:
    hot.execute(
        f"INSERT INTO {EPOCHS} (namespace, epoch, opened_at, opener) SELECT {{n:String}}, {{epoch:UInt32}}, "
        "now64(3) + toIntervalMillisecond({ms:Int64}), 'another'",
        {"n": namespace, "epoch": epoch, "ms": int(seconds * 1000)},
    )


@pytest.mark.parametrize("ahead", [HOUR, MONTH])
def test_lease_from_before_a_jump_back_holds_nobody_up(hot: Hot, namespace: str, ahead: int) -> None:
    """It was taken for a minute: one that runs longer is from another time, and who has it would have said it again."""
    lease_of_another(hot, f"ager of {namespace}", ahead + LEASE_SECONDS)
    with held(hot, f"ager of {namespace}") as lease:
        lease.check()


def test_lease_that_runs_is_respected(hot: Hot, namespace: str) -> None:
    lease_of_another(hot, f"ager of {namespace}", LEASE_SECONDS)
    with pytest.raises(AgerBusy), held(hot, f"ager of {namespace}"):
        pass


def test_epoch_goes_on_over_a_small_jump(hot: Hot, namespace: str) -> None:
    opened(hot, namespace, 1, EPOCH_SECONDS / 2)
    assert hot.epochs.current(namespace) == 1


@pytest.mark.parametrize("away", [-MONTH, -2 * HOUR, 2 * HOUR, MONTH])
def test_epoch_ends_within_an_hour_of_any_jump(hot: Hot, namespace: str, away: int) -> None:
    opened(hot, namespace, 1, away)
    assert hot.epochs.current(namespace) == 2, "numbers only grow"
    assert hot.epochs.current(namespace) == 2


def test_epochs_that_were_opened_by_a_clock_that_was_ahead_have_ended(hot: Hot, namespace: str) -> None:
    """Else nothing would age until that time has come."""
    opened(hot, namespace, 1, -2 * HOUR)
    opened(hot, namespace, 2, MONTH)
    opened(hot, namespace, 3, MONTH + HOUR)
    assert hot.epochs.current(namespace) == 4
    ends = hot.epochs.ends(namespace)
    [now] = hot.scalars("SELECT toUnixTimestamp64Milli(now64(3)) / 1000 AS now")
    assert all(ends[epoch] <= now for epoch in (1, 2, 3))
    assert ends[4] == float("inf")
