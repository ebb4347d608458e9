"""Power fails before and after every step: what was not synced is gone, and still every line is there once."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.faults.power import Mirror
from tests.faults.steps import AGENT_STEPS, GATEWAY_STEPS, WHEN

pytestmark = pytest.mark.faults

# Nothing that was not synced; or some of it, by this seed.
SURVIVORS = [None, 1, pytest.param(2, marks=pytest.mark.slow)]


def chance_of(seed: int | None) -> random.Random | None:
    return None if seed is None else random.Random(seed)


class Powered:
    """A site whose agent's or gateway's folder can lose what was not synced."""

    def __init__(self, site: Any, part: str, folder: Path) -> None:
        self.site = site
        self.log, self.first = site.new_log()
        root = site.state if part == "agent" else site.folder / "gateway"
        site.mirrors = {part: folder}
        self.mirror = Mirror(root, folder)

    def write(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)


@pytest.fixture
def powered(shared_site: Any, tmp_path: Path) -> Any:
    def make(part: str) -> Powered:
        return Powered(shared_site, part, tmp_path / "mirror")

    yield make
    shared_site.mirrors, shared_site.forget = {}, ""


@pytest.mark.parametrize("seed", SURVIVORS)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("step", AGENT_STEPS)
def test_the_agents_power_fails(
    powered: Any, lines: Any, exit_code: Any, step: str, when: str, seed: int | None
) -> None:
    place = powered("agent")
    place.write(lines(range(place.first, place.first + 4000)))
    agent = place.site.start_agent(place.log, once=True, kill_at=f"{step}:{when}:1")
    assert exit_code(agent) == -9
    place.mirror.cut_power(chance_of(seed))
    place.write(lines(range(place.first + 4000, place.first + 6000)))
    assert exit_code(place.site.start_agent(place.log, once=True)) == 0
    place.site.check(place.first, 6000)


@pytest.mark.parametrize("seed", SURVIVORS)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("step", GATEWAY_STEPS)
def test_the_gateways_power_fails(
    powered: Any, lines: Any, exit_code: Any, step: str, when: str, seed: int | None
) -> None:
    place = powered("gateway")
    site = place.site
    site.kill_gateway()
    place.mirror.adopt()
    place.write(lines(range(place.first, place.first + 6000)))
    gateway = site.start_gateway(kill_at=f"{step}:{when}:1")
    agent = site.start_agent(place.log, once=True)
    assert exit_code(gateway) == -9
    place.mirror.cut_power(chance_of(seed))
    site.start_gateway()
    assert exit_code(agent) == 0
    site.check(place.first, 6000)
    site.kill_gateway()


@pytest.mark.parametrize("forgotten", ["fsync", "fsync_folder"])
def test_a_forgotten_sync_would_be_found(powered: Any, lines: Any, exit_code: Any, forgotten: str) -> None:
    """The gateway answers for a block that is not on the disk: its lines are lost, and this layer shows it."""
    place = powered("gateway")
    site = place.site
    site.kill_gateway()
    place.mirror.adopt()
    site.forget = forgotten
    site.start_gateway(kill_at="storage.hot:Hot.insert_blocks:before:1")
    place.write(lines(range(place.first, place.first + 1000)))
    assert exit_code(site.start_agent(place.log, once=True)) == 0  # acknowledged
    assert exit_code(site.gateway) == -9
    place.mirror.cut_power()
    site.forget = ""
    site.start_gateway()
    last, after = site.new_log()
    last.write_text(lines(range(after, after + 10)))
    assert exit_code(site.start_agent(last, once=True)) == 0
    site.check(after, 10)
    assert [number for number in site.numbers(place.first) if number < after] == []
    site.kill_gateway()
