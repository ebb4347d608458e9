"""Clocks that jump by hours in either direction, while things are killed; then every line once."""

from typing import Any

import pytest

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("seed", [1, 2])
def test_clocks_that_jump(site: Any, lines: Any, exit_code: Any, seed: int) -> None:
    log = site.folder / "app.log"
    site.clock = seed
    site.start_gateway()
    for part in range(4):
        with log.open("a") as file:
            file.write(lines(range(part * 2000, part * 2000 + 2000)))
        agent = site.start_agent(log, once=True)
        if part == 1:
            agent.join(0.5)
            site.kill_agent()
        elif part == 2:
            site.kill_gateway()
            site.start_gateway()
            assert exit_code(agent) == 0
        else:
            assert exit_code(agent) == 0
    assert exit_code(site.start_agent(log, once=True)) == 0
    site.check(0, 8000)
