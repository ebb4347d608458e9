"""The whole system as its users run it: `neve serve` and `neve ship` as processes."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import neve as program
from bench.server import NEVE, Server, is_ready

LOGHUB = Path(__file__).parents[3] / "shared" / "loghub"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that do not stop it; each uses a service name of its own."""
    with Server(tmp_path_factory.mktemp("server")) as running:
        yield running


PARTS = {"supervisor", "clickhouse", "gateway", "api", "ager", "alerts", "front"}


@pytest.fixture(scope="session")
def _mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mortal")
    (folder / "neve.toml").write_text("[alerts]\nallow_private = true\n")  # tests listen on the loopback
    with Server(folder, options=["--config", str(folder / "neve.toml")]) as running:
        yield running


@pytest.fixture
def mortal(_mortal: Server) -> Server:
    """One server for the tests that kill or stop parts of it; a test gets it with all of them running again."""
    deadline = time.monotonic() + 240
    while set(_mortal.pids()) != PARTS or not is_ready(_mortal.client):
        assert time.monotonic() < deadline, _mortal.pids()
        time.sleep(0.05)
    return _mortal


def run_neve(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    done = subprocess.run([*NEVE, *arguments], input=stdin, capture_output=True, timeout=600, check=False)
    return subprocess.CompletedProcess(
        done.args,
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


@pytest.fixture
def neve() -> Run:
    """The program: `neve("lex", "-", stdin=b"…")`."""
    return run_neve


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Run:
    """The same within this process, for what is refused at once."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        try:
            code = program.main(list(arguments))
        except SystemExit as end:  # of argparse
            code = int(end.code or 0)
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def loghub() -> Path:
    """Loghub's samples, kept beside the checkout."""
    if not LOGHUB.is_dir():
        pytest.skip(f"needs the Loghub samples in {LOGHUB}")
    return LOGHUB
