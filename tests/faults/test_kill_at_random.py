"""Agent, gateway and ClickHouse killed at random while a log is written and rotated; then every line once.

The seed is the test's parameter, so a failure is run again by its name.
"""

import random
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults

ROUNDS = 14
LINES_A_ROUND = 1500


class Writer:
    """A program that writes numbered lines, and whatever rotates its log."""

    def __init__(self, path: Path, chance: random.Random, lines: Any) -> None:
        self.path = path
        self.chance = chance
        self.lines = lines
        self.written = 0
        self.rotated = 0

    def write(self, count: int) -> None:
        """Some lines, in writes that end anywhere, also within a line."""
        text = self.lines(range(self.written, self.written + count))
        self.written += count
        with self.path.open("a") as file:
            while text:
                size = self.chance.randrange(1, 40_000)
                file.write(text[:size])
                file.flush()
                text = text[size:]

    def rotate(self) -> None:
        for number in range(self.rotated, 0, -1):
            old = self.path.with_name(f"{self.path.name}.{number}")
            old.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.rename(self.path.with_name(self.path.name + ".1"))
        self.rotated += 1


@pytest.mark.parametrize("seed", [1, 2])
def test_every_line_once(site: Any, lines: Any, seed: int) -> None:
    chance = random.Random(seed)
    writer = Writer(site.folder / "app.log", chance, lines)
    writer.write(1)
    site.start_gateway()
    site.start_agent(f"{writer.path}*")
    for _ in range(ROUNDS):
        writer.write(chance.randrange(1, LINES_A_ROUND))
        # Let some of it get through, so that kills meet every stage; how far it got is left to chance.
        site.agent.join(chance.uniform(0, 0.4))
        step = chance.choice(["agent", "agent", "gateway", "gateway", "clickhouse", "rotate", "rotate"])
        if step == "agent":
            site.kill_agent()
            site.start_agent(f"{writer.path}*")
        elif step == "gateway":
            site.kill_gateway()
            site.start_gateway()
        elif step == "clickhouse":
            site.kill_clickhouse()
            site.restart_clickhouse()
        else:
            writer.rotate()
            writer.write(1)
    found = site.wait_for(writer.written)
    assert found == list(range(writer.written))
    site.kill_agent()
    assert site.numbers() == found, "nothing comes after"
