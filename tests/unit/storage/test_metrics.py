"""Prometheus's text: what is in a label cannot break out of it, and a histogram's buckets add up."""

import re

from hypothesis import given
from hypothesis import strategies as st

from storage.metrics import Histogram, labels, metric

VALUE = re.compile(r'\{name="((?:[^"\\\n]|\\["\\n])*)"\}')


@given(st.text())
def test_any_text_may_be_a_label(text: str) -> None:
    found = VALUE.fullmatch(labels(name=text))
    assert found
    back = re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), found[1])
    assert back == text


def test_a_family_without_samples_is_left_out() -> None:
    assert metric("a_total", "counter", "b", []) == ""
    assert (
        metric("a_total", "counter", "b", [("", 1)])
        == "# HELP a_total b\n# TYPE a_total counter\na_total 1\n"
    )


@given(st.lists(st.floats(0, 100)))
def test_buckets_add_up(seconds: list[float]) -> None:
    bounds = (0.1, 1.0, 10.0)
    histogram = Histogram(bounds)
    for one in seconds:
        histogram.observe(one, kind="a")
    values = dict(
        line.rsplit(" ", 1) for line in histogram.text("x", "y").splitlines() if not line.startswith("#")
    )
    if not seconds:
        assert values == {}
        return
    for bound in bounds:
        assert int(values[f'x_bucket{{kind="a",le="{bound}"}}']) == sum(one <= bound for one in seconds)
    assert int(values['x_bucket{kind="a",le="+Inf"}']) == int(values['x_count{kind="a"}']) == len(seconds)
    assert float(values['x_sum{kind="a"}']) == sum(seconds)
