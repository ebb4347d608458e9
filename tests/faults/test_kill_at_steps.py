"""SIGKILL before and after every step at which something becomes durable or is answered; then every line once."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.steps import AGENT_STEPS, GATEWAY_STEPS, WHEN

pytestmark = pytest.mark.faults


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("step", AGENT_STEPS)
def test_agent_killed(shared_site: Any, lines: Any, exit_code: Any, step: str, when: str) -> None:
    log, first = shared_site.new_log()
    write(log, lines(range(first, first + 4000)))
    agent = shared_site.start_agent(log, once=True, kill_at=f"{step}:{when}:1")
    assert exit_code(agent) == -9
    write(log, lines(range(first + 4000, first + 6000)))
    assert exit_code(shared_site.start_agent(log, once=True)) == 0
    shared_site.check(first, 6000)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("step", GATEWAY_STEPS)
def test_gateway_killed(shared_site: Any, lines: Any, exit_code: Any, step: str, when: str) -> None:
    log, first = shared_site.new_log()
    write(log, lines(range(first, first + 6000)))
    shared_site.kill_gateway()
    gateway = shared_site.start_gateway(kill_at=f"{step}:{when}:1")
    agent = shared_site.start_agent(log, once=True)
    assert exit_code(gateway) == -9
    shared_site.start_gateway()
    assert exit_code(agent) == 0
    shared_site.check(first, 6000)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(
    "step", ["storage.hot:Hot.insert_blocks", "ingest.checkpoints:Checkpoints.acknowledge"]
)
def test_agent_that_inserts_itself_killed(
    shared_site: Any, lines: Any, exit_code: Any, step: str, when: str
) -> None:
    log, first = shared_site.new_log()
    write(log, lines(range(first, first + 4000)))
    url = shared_site.config.url()
    agent = shared_site.start_agent(log, to=url, once=True, kill_at=f"{step}:{when}:1")
    assert exit_code(agent) == -9
    write(log, lines(range(first + 4000, first + 6000)))
    assert exit_code(shared_site.start_agent(log, to=url, once=True)) == 0
    shared_site.check(first, 6000)
