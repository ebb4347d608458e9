"""The soak in short: everything is killed at random while a log is written and rotated. Two minutes of it in CI.

`python -m bench.soak` is the long form. The seed is printed with every outcome.
"""

import os
import time
from pathlib import Path

import pytest

from bench.soak import Soak

pytestmark = pytest.mark.faults

SECONDS = 120 if os.environ.get("CI") else 20
RATE = 5000


def test_every_line_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("SOAK_SEED", time.time()))
    with capsys.disabled():
        print(f"\nsoak of {SECONDS} s with seed {seed}; SOAK_SEED={seed} makes the same choices")
    report = Soak(tmp_path, RATE, seed).run(SECONDS)
    [found] = report.results
    assert (found["lost"], found["doubled"]) == (0, 0)
    assert found["lines"] == report.rows
    assert found["kills"] > 0
