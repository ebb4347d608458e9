"""Every line of eight real data sets is there, and words are found as grep finds them."""

import subprocess
from pathlib import Path

import pytest

from bench.server import NEVE, Server

pytestmark = pytest.mark.loghub

# Each with a word's edge at both ends.
PHRASES = {
    "Android": ["acquire lock", "setSystemUiVisibility", "PowerManagerService", "ws=null", "running"],
    "BGL": [
        "data TLB error interrupt",
        "instruction cache parity error corrected",
        "FATAL",
        "ciod",
        "KERNEL",
    ],
    "HPC": ["Link error", "node", "unavailable", "Component State Change", "normal"],
    "HealthApp": [
        "onStandStepChanged",
        "Step_LSC",
        "REPORT",
        "calculateCaloriesWithCache",
        "getTodayTotalDetailSteps",
    ],
    "Mac": ["kernel", "Thermal pressure state", "No network route", "wl0", "com.apple.cts"],
    "OpenStack": [
        "GET",
        "Instance destroyed successfully",
        "status: 200",
        "nova.compute.manager",
        "VM Started",
    ],
    "Spark": ["INFO", "Registered signal handlers", "bytes", "executor.Executor", "task"],
    "Windows": ["CBS", "Failed to get next element", "HRESULT", "Warning", "0x800f080d"],
}


@pytest.fixture(scope="module")
def shipped(server: Server, loghub: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server that holds all eight."""
    for name in PHRASES:
        state = tmp_path_factory.mktemp("agent")
        arguments = ["ship", str(sample(loghub, name)), "--once", "--service", name]
        subprocess.run(
            [*NEVE, *arguments, "--to", server.url, "--state", str(state)], check=True, timeout=600
        )
    expected = sum(lines(sample(loghub, name)) for name in PHRASES)
    server.wait_for(f"service:({' OR '.join(PHRASES)})", expected)
    return server


def sample(loghub: Path, name: str) -> Path:
    return loghub / name / f"{name}_2k.log"


def lines(path: Path) -> int:
    """Lines that are not empty."""
    return sum(1 for line in path.read_bytes().split(b"\n") if line.rstrip(b"\r"))


def grep(path: Path, phrase: str) -> int:
    command = ["grep", "-ciwaF", "--", phrase, str(path)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, env={"LC_ALL": "C.UTF-8"}, check=False).stdout)


@pytest.mark.parametrize("name", PHRASES)
def test_every_line_is_there(shipped: Server, loghub: Path, name: str) -> None:
    assert shipped.count(f"service:{name}") == lines(sample(loghub, name))


@pytest.mark.parametrize(
    ("name", "phrase"), [(name, p) for name, phrases in PHRASES.items() for p in phrases]
)
def test_phrases_are_found_as_grep_finds_them(shipped: Server, loghub: Path, name: str, phrase: str) -> None:
    expected = grep(sample(loghub, name), phrase)
    assert expected > 0
    assert shipped.count(f'service:{name} "{phrase}"') == expected


def test_openstack_has_few_patterns(shipped: Server) -> None:
    answer = shipped.client.get("/api/v1/patterns", params={"q": "service:OpenStack", "limit": 1000}).json()
    assert 20 < len(answer["patterns"]) < 60
    assert sum(pattern["count"] for pattern in answer["patterns"]) == 2000
    assert all("<*>" in pattern["template"] for pattern in answer["patterns"])
