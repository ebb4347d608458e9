"""Some fuzzing in each run of the tests, under the sanitizers; `make fuzz` does more."""

import subprocess
from pathlib import Path

from bench import corpus, native

LINES = 50_000


def test_made_up_lines_find_nothing(tmp_path: Path) -> None:
    fuzz = native.program("fuzz", sanitize=True)
    files = corpus.write(tmp_path, 500)
    done = subprocess.run(
        [fuzz, str(LINES), "1", *files], capture_output=True, text=True, errors="replace", check=False
    )
    assert (done.returncode, done.stdout.split()[1:]) == (0, ["lines,", "no", "finding"]), done.stderr[-4000:]
