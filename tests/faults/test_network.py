"""Connections that are refused, cut, stalled and half closed between agent and gateway; then every line once."""

from typing import Any

import pytest

from tests.faults.proxy import BadNetwork

pytestmark = pytest.mark.faults

LINES = 400_000  # some ten blocks


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bad_network(shared_site: Any, lines: Any, exit_code: Any, seed: int) -> None:
    log, first = shared_site.new_log()
    log.write_text(lines(range(first, first + LINES)))
    network = BadNetwork(shared_site.port, seed)
    agent = shared_site.start_agent(log, to=network.url, once=True)
    while agent.is_alive() and not set(network.faults) - {"none"}:
        agent.join(0.1)
    agent.join(4.0)
    network.calm()
    assert exit_code(agent) == 0
    network.close()
    shared_site.check(first, LINES)
    assert set(network.faults) != {"none"}, "the network was never bad"
