"""What the canary counts."""

import pytest

from ingest.canary import Report, compare, quantiles


@pytest.mark.parametrize(
    ("numbers", "lost", "doubled", "out_of_order"),
    [
        ([0, 1, 2, 3], 0, 0, 0),
        ([0, 1, 3], 1, 0, 0),
        ([0, 1, 1, 2, 3], 0, 1, 0),
        ([0, 2, 1, 3], 0, 0, 1),
        ([3, 3], 3, 1, 0),
        ([], 4, 0, 0),
    ],
)
def test_numbers(numbers: list[int], lost: int, doubled: int, out_of_order: int) -> None:
    report = Report(rate=4, seconds=1, path="agent", written=4)
    compare(report, iter(numbers))
    assert (report.lost, report.doubled, report.out_of_order) == (lost, doubled, out_of_order)
    assert report.found == len(numbers)
    assert report.whole is (not lost and not doubled)


def test_quantiles_are_of_lines_and_not_of_batches() -> None:
    assert quantiles([(9.0, 1), (1.0, 99)]) == {"p50": 1.0, "p99": 1.0, "max": 9.0}
    assert quantiles([]) == {}


def test_report_for_prometheus() -> None:
    text = Report(rate=4, seconds=1, path="agent", written=4, lost=2, searchable={"p99": 1.5}).metrics()
    assert "\nneve_canary_lost 2\n" in text
    assert '\nneve_canary_searchable_seconds{quantile="p99"} 1.5\n' in text
