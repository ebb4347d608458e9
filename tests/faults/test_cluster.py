"""Two shards and two gateways, of which each is killed; then every line once."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.server import free_port
from storage.embedded import EmbeddedServer
from tests.faults.conftest import Site, ended, kill, numbered
from tests.faults.proxy import BadNetwork

pytestmark = pytest.mark.faults

ROUNDS = 8
AGENTS = 3
MOST_AGENTS = 20


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An installation with two shards, for the tests of this file."""
    site = Site(tmp_path_factory.mktemp("pair"))
    site.add_shard()
    try:
        yield site
    finally:
        site.close()


def end(server: EmbeddedServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(60) is not None


@pytest.mark.parametrize(
    "step",
    [
        "ingest.spool:Spool.put:after:2",
        "ingest.attempts:AttemptRecord.write:after:2",
        "storage.hot:Hot.insert_blocks:after:2",
        "ingest.committer:Committer.retire:after:1",
    ],
)
def test_gateway_with_shards_killed(pair: Site, step: str) -> None:
    gateway = pair.start_gateway(kill_at=step)
    sent, agents = [], []
    # Each agent's lines are a block of their own, but blocks that wait together become one insert: send until it dies.
    while len(sent) < AGENTS or (ended(gateway, 2.0) is None and len(sent) < MOST_AGENTS):
        log, first = pair.new_log()
        log.write_text(numbered(range(first, first + 500)))
        sent.append(first)
        state = pair.folder / f"agent-of-{first}"
        agents.append(pair.child(["agent", log, "--state", state, "--to", pair.url, "--once"], ""))
    assert ended(gateway) == -9
    pair.start_gateway()
    assert [ended(agent) for agent in agents] == [0] * len(agents)
    stored = pair.wait_for(500 * len(sent), sent[0])
    assert stored == [number for first in sent for number in range(first, first + 500)]
    pair.kill_gateway()


@pytest.mark.parametrize("seed", [1])
def test_gateways_and_shards_killed_at_random(pair: Site, seed: int) -> None:
    """Agents that ship to two gateways, each to the other one first."""
    chance = random.Random(seed)
    ports = [free_port(), free_port()]
    names = [f"gateway-{number}-{seed}" for number in (1, 2)]
    gateways = [pair.start_other(name, port) for name, port in zip(names, ports, strict=True)]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    logs = [pair.new_log() for _ in urls]
    states = [pair.folder / f"agent-of-{first}" for _, first in logs]
    written = [0, 0]

    def write(log: Path, place: int, count: int) -> None:
        first = logs[place][1] + written[place]
        with log.open("a") as file:
            file.write(numbered(range(first, first + count)))
        written[place] += count

    def start(place: int, *options: str) -> Any:
        order = [urls[place], urls[1 - place]]
        to = [text for url in order for text in ("--to", url)]
        return pair.child(["agent", logs[place][0], "--state", states[place], *to, *options], "")

    for place, (log, _) in enumerate(logs):
        write(log, place, 1)
    agents = [start(0), start(1)]
    for _ in range(ROUNDS):
        for place, (log, _) in enumerate(logs):
            write(log, place, chance.randrange(1, 1500))
        # Let some of it get through, so that kills meet every stage; how far it got is left to chance.
        agents[0].join(chance.uniform(0, 0.5))
        place = chance.randrange(2)
        step = chance.choice(["gateway", "gateway", "agent", "shard"])
        if step == "gateway":
            kill(gateways[place])
            agents[0].join(chance.uniform(0, 1.0))
            gateways[place] = pair.start_other(names[place], ports[place])
        elif step == "agent":
            kill(agents[place])
            agents[place] = start(place)
        else:
            end(pair.shards[0])
            agents[0].join(chance.uniform(0, 1.0))
            pair.shards[0].start()
    for agent in agents:
        kill(agent)
    last = [start(place, "--once") for place in (0, 1)]
    assert [ended(agent) for agent in last] == [0, 0]
    for (_, first), count in zip(logs, written, strict=True):
        expected = list(range(first, first + count))
        found = [one for one in pair.wait_for(sum(written), logs[0][1]) if first <= one < first + 1_000_000]
        assert found == expected, f"{len(found)} lines, {len(set(found))} of {count} numbers"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gateways_behind_one_bad_address(pair: Site, seed: int) -> None:
    """Each connection reaches one of two gateways, by chance, and breaks by chance; one is killed meanwhile."""
    log, first = pair.new_log()
    count = 200_000  # some five blocks
    log.write_text(numbered(range(first, first + count)))
    ports = [free_port(), free_port()]
    pair.beside = [f"http://127.0.0.1:{port}" for port in ports]
    gateways = [pair.start_other(f"beside-{number}-{seed}", port) for number, port in enumerate(ports)]
    network = BadNetwork(ports[0], seed, ports[1])
    agent = pair.start_agent(log, to=network.url)
    while agent.is_alive() and not set(network.faults) - {"none"}:
        agent.join(0.1)
    agent.join(2.0)
    kill(gateways[0])
    agent.join(1.0)
    pair.start_other(f"beside-0-{seed}", ports[0])
    pair.beside = []
    agent.join(2.0)
    kill(agent)
    network.calm()
    assert ended(pair.start_agent(log, to=network.url, once=True)) == 0
    network.close()
    pair.check(first, count)
    assert set(network.faults) != {"none"}, "the network was never bad"
