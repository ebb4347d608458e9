"""What a rate takes follows from what was measured, and the documentation's example from what is kept of that."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from bench.capacity import EXAMPLE, SMALL, example, need_table
from bench.capacity_model import Demand, Unit, Units, limits, needs

ROOT = Path(__file__).parents[3]
KEPT = Units.read(ROOT / "bench" / "capacity_units.json")


def test_the_documented_example_is_what_the_command_prints() -> None:
    said = (ROOT / "docs" / "scale.md").read_text()
    assert "\n".join(example(KEPT)) in said, (
        "make it anew: python -m bench.capacity --units bench/capacity_units.json --example"
    )


def test_every_unit_names_a_benchmark_that_is_there() -> None:
    for unit in KEPT.units.values():
        assert importlib.util.find_spec(unit.source.split(",")[0]) is not None, unit.name


def test_a_unit_lies_on_the_line_through_both_sizes() -> None:
    unit = Unit("x", "", "", {1000: 10.0, 3000: 30.0})
    assert unit.of(2000) == 20.0
    assert unit.of(5000) == 50.0
    assert unit.of(0) == 0.0


@pytest.mark.parametrize("demand", [SMALL, EXAMPLE], ids=["small", "large"])
def test_twice_the_events_take_twice_as_much(demand: Demand) -> None:
    once, twice = needs(KEPT, demand), needs(KEPT, replace(demand, rate=2 * demand.rate))
    for name in ("agent_cores", "insert_cores", "age_cores", "hot_tb", "cold_tb", "spool_tb", "network_gbit"):
        assert getattr(twice, name) == pytest.approx(2 * getattr(once, name)), name
    assert twice.shards >= once.shards


def test_copies_are_of_the_hot_tier_alone() -> None:
    once, thrice = needs(KEPT, SMALL), needs(KEPT, replace(SMALL, copies=3))
    assert thrice.hot_tb == pytest.approx(3 * once.hot_tb)
    assert thrice.cold_tb == pytest.approx(once.cold_tb)


def test_a_full_disk_asks_for_another_machine() -> None:
    roomy = needs(KEPT, replace(SMALL, disk_tb=1000))
    tight = needs(KEPT, replace(SMALL, disk_tb=0.5))
    assert tight.shards > roomy.shards
    assert tight.bound_by == "disk"


def test_too_many_searches_for_any_number_of_machines_are_said_to_be() -> None:
    demand = replace(SMALL, searches=100_000)
    assert not needs(KEPT, demand).possible
    assert "more cells" in "\n".join(need_table(KEPT, demand))
    assert needs(KEPT, replace(demand, cells=10_000)).possible


def test_limits_are_met_where_they_are_said_to_be() -> None:
    found = limits(KEPT, SMALL)
    assert [one.rate for one in found] == sorted(one.rate for one in found)
    disk = next(one for one in found if "disk" in one.what)
    at_it = replace(SMALL, rate=disk.rate, searches=0)
    assert needs(KEPT, at_it).hot_tb == pytest.approx(SMALL.disk_tb * 0.8)
    ager = next(one for one in found if "ager" in one.what)
    assert needs(KEPT, replace(SMALL, rate=ager.rate * 1.01)).agers == 2
