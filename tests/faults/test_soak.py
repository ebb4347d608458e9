"""Two minutes of random kills and rotation: agent, gateway, ClickHouse and the whole server, as users run them."""

import os
import random
from pathlib import Path

import pytest

from bench.soak import Soak

pytestmark = pytest.mark.faults

SECONDS = 120.0 if os.environ.get("CI") else 20.0
RATE = 5000


def test_every_line_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"python -m bench.soak --seconds {SECONDS:.0f} --rate {RATE} --seed {seed}")
    report = Soak(tmp_path, RATE, seed).run(SECONDS)
    assert report.result("neve")["kills"] > 0
