"""What is in `deploy/` is what its tools take, and a built wheel runs where there is no compiler."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.server import Server
from ingest.metrics import PREFIX, SHARD_GAUGES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "build" / "deploy-tools"
METRIC = re.compile(r"\bneve_\w+")
EVERYTHING = (
    "serviceMonitor.enabled=true,ingress.enabled=true,ingress.tlsSecretName=t,networkPolicy.enabled=true,"
    "secretName=s,agent.keySecret.name=k,server.storage.className=fast"
)


def tool(name: str) -> str:
    """A program that checks something; where it is not, the test skips."""
    for place in (TOOLS / "venv" / "bin" / name, TOOLS / name / name):
        if place.exists():
            return str(place)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: `make deploy-tools system-packages` installs it where it may")
    return found


def run(arguments: Sequence[str], cwd: Path = ROOT, **more: str) -> str:
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **more}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_runs_without_a_compiler(tmp_path: Path) -> None:
    """Built by pip, and run by an interpreter that sees what Neve needs, but neither the checkout nor a compiler."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    build += [
        "--config-settings=build-dir=" + str(tmp_path / "build"),
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    run(build, PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    [wheel] = tmp_path.glob("neve-*.whl")
    home = tmp_path / "venv"
    run([sys.executable, "-m", "venv", str(home)])
    run([str(home / "bin" / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    # The packages that it needs, but not the editable install beside them.
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    program = home / "bin" / "neve"
    lexed = subprocess.run(
        [program, "lex"], input=b"took 12 ms\n", capture_output=True, check=True, env={"PATH": ""}
    )
    assert lexed.stdout.endswith(b"\ttook <*>\n")
    where = [
        str(home / "bin" / "python"),
        "-c",
        "import query.page, lexer._lexer as l; print(query.__file__, l.__file__)",
    ]
    assert run(where, cwd=tmp_path, PATH="").count(str(packages)) == 2
    with Server(tmp_path / "server", program=[str(program)]) as server:
        assert "<html" in server.client.get("/").text
        answer = server.client.post("/api/v1/ingest", params={"service": "w"}, content=b"from a wheel\n")
        assert answer.json()["accepted"] == 1
        server.wait_for("service:w wheel", 1)


def test_the_pins_of_an_image_are_all_that_is_needed_and_no_tests() -> None:
    command = [sys.executable, DEPLOY / "runtime_pins.py", "mcp"]
    with open(ROOT / "constraints.txt") as constraints:
        pins = subprocess.run(command, stdin=constraints, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", pins, re.MULTILINE))
    assert {"chdb", "chdb-core", "pyarrow", "pyiceberg", "uvicorn", "mcp"} <= names
    assert not {"pytest", "moto", "ruff", "matplotlib", "cmake"} & names
    assert pins.count("--hash=sha256:") >= len(names)


def test_the_image() -> None:
    run([tool("hadolint"), str(DEPLOY / "Dockerfile")])


def test_the_compose_file() -> None:
    assert "neve.toml:/etc/neve/neve.toml:ro" in run(
        [tool("docker-compose"), "-f", str(DEPLOY / "compose.yaml"), "config"]
    )


@pytest.mark.parametrize("unit", ["neve", "neve-agent"])
def test_the_units(unit: str, tmp_path: Path) -> None:
    """They can be loaded, and leave a process little that it could do beside its work."""
    text = (DEPLOY / "systemd" / f"{unit}.service").read_text()
    here = tmp_path / f"{unit}.service"
    here.write_text(text.replace("/opt/neve/bin/neve", shutil.which("true") or "/bin/true"))
    run([tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", str(here)])
    run([tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", str(here)])


@pytest.mark.parametrize("values", ["agent.enabled=false", EVERYTHING])
def test_the_chart(values: str, tmp_path: Path) -> None:
    helm, validate = tool("helm"), tool("kubernetes-validate")
    run([helm, "lint", "--strict", str(DEPLOY / "helm" / "neve"), "--set", values], HOME=str(tmp_path))
    rendered = tmp_path / "all.yaml"
    rendered.write_text(
        run([helm, "template", "a", str(DEPLOY / "helm" / "neve"), "--set", values], HOME=str(tmp_path))
    )
    run([validate, "--strict", "--quiet", str(rendered)])


def test_the_alerts() -> None:
    promtool = tool("promtool")
    run([promtool, "check", "rules", str(DEPLOY / "prometheus" / "neve.rules.yaml")])
    run([promtool, "test", "rules", str(DEPLOY / "prometheus" / "neve.rules.test.yaml")])


def test_alerts_and_dashboard_ask_for_metrics_that_there_are(server: Server) -> None:
    server.client.post("/api/v1/ingest", params={"service": "dashboard"}, content=b"one\n").raise_for_status()
    server.wait_for("service:dashboard", 1)
    while "neve_storage_events" not in (said := server.client.get("/metrics").text):
        time.sleep(0.1)
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=said, text=True, capture_output=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    there = {line.split("{")[0].split(" ")[0] for line in said.splitlines() if not line.startswith("#")}
    there |= {PREFIX + name for name in SHARD_GAUGES}  # which a server without a cluster has not
    dashboard = json.loads((DEPLOY / "grafana" / "neve.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = (DEPLOY / "prometheus" / "neve.rules.yaml").read_text()
    asked += [line for line in rules.splitlines() if "expr:" in line or line.startswith(" " * 10)]
    names = {name for text in asked for name in METRIC.findall(text)}
    assert len(names) > 15
    assert names <= there
