"""Rates by namespace: what may come at once, what is told to wait, and for how long."""

import pytest

from ingest.limits import BURST_SECONDS, IngestLimits, Rate, RateExceeded, Rates, Share
from storage.errors import ConfigError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def namespace(name: str, lines: int = 0, size: int = 0) -> Share:
    return Share("namespace", name, Rate(lines, size))


def rates() -> tuple[Rates, Clock]:
    clock = Clock()
    return Rates(clock), clock


def test_without_a_rate_all_is_taken() -> None:
    some, _ = rates()
    for _ in range(3):
        some.take([namespace("default")], 10**9, 10**12)


def test_a_burst_is_taken_and_what_is_too_much_is_waited_for() -> None:
    some, clock = rates()
    a, b = [namespace("a", 100)], [namespace("b", 100)]
    some.take(a, int(100 * BURST_SECONDS), 0)
    with pytest.raises(RateExceeded) as refused:
        some.take(a, 1, 0)
    assert refused.value.retry_after == 1
    some.take(b, 1, 0)  # another namespace is no worse off
    clock.now += 0.5
    some.take(a, 1000, 0)  # none is too large to be ever taken
    with pytest.raises(RateExceeded) as refused:
        some.take(a, 0, 0)
    assert refused.value.retry_after == 10
    clock.now += 9.6
    some.take(a, 1, 0)


def test_bytes_count_too_and_a_namespace_may_have_its_own() -> None:
    limits = IngestLimits(bytes_per_second=10, namespaces={"big": Rate(0, 10_000), "free": Rate()})
    some, _ = rates()

    def take(name: str, size: int) -> None:
        some.take([Share("namespace", name, limits.rate(name))], 1, size)

    take("small", 1000)
    with pytest.raises(RateExceeded, match="namespace small sends more than it may"):
        take("small", 1)
    take("big", 1000)
    take("big", 1)
    for _ in range(3):
        take("free", 10**9)


def test_a_key_has_a_rate_beside_its_namespace() -> None:
    some, clock = rates()
    slow = [namespace("a", 1000), Share("key", "slow", Rate(10, 0))]
    quick = [namespace("a", 1000), Share("key", "quick", Rate(0, 0))]
    some.take(slow, 50, 0)
    with pytest.raises(RateExceeded, match="key slow sends more than it may") as refused:
        some.take(slow, 1, 0)
    assert refused.value.reason == "key_rate"
    some.take(quick, 4950, 0)  # what was refused took nothing of the namespace's
    with pytest.raises(RateExceeded) as refused:
        some.take(quick, 1, 0)
    assert refused.value.reason == "namespace_rate"
    clock.now += 1
    some.take(slow, 1, 0)


@pytest.mark.parametrize(
    "wrong", [{"requests": 0}, {"lines_per_second": -1}, {"slow_body_seconds": float("inf")}]
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"cannot use limit {next(iter(wrong))}"):
        IngestLimits(**wrong)  # type: ignore[arg-type]
