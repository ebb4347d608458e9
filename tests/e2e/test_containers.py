"""The logs of containers as a kubelet keeps them: links to files that are renamed and packed, lines that it wrapped."""

import gzip
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.server import NEVE, Server

Run = Callable[..., subprocess.CompletedProcess[str]]
POD, UID, ID = "shop-7d9f-x2", "3f1c9a52-1111-4222-8333-444455556666", "0123456789abcdef" * 4
TRACE = ["java.lang.IllegalStateException: no pool", "\tat a.B.c(B.java:5)", "\tat a.D.e(D.java:6)"]


def stamp(number: int) -> str:
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{number:09d}Z", time.gmtime(time.time() - 60))


def wrapped(number: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"{stamp(number)} {stream} {tag} {text}\n"


class Kubelet:
    """Files below a folder in the place of /var/log."""

    def __init__(self, folder: Path, container: str) -> None:
        self.file = folder / "pods" / f"prod_{POD}_{UID}" / container / "0.log"
        self.file.parent.mkdir(parents=True)
        self.file.touch()
        self.link = folder / "containers" / f"{POD}_prod_{container}-{ID}.log"
        self.link.parent.mkdir(exist_ok=True)
        self.link.symlink_to(self.file)

    def write(self, *lines: str) -> None:
        with self.file.open("a") as out:
            out.writelines(lines)

    def rotate(self) -> Path:
        old = self.file.with_name("0.log.20261129-100000")
        self.file.rename(old)
        self.file.touch()
        return old


def test_each_line_once_with_its_pod_over_rotation(server: Server, tmp_path: Path) -> None:
    kubelet = Kubelet(tmp_path / "log", "e2econtainer")
    kubelet.write(wrapped(1, "hello from a container"))
    kubelet.write(wrapped(2, "a line that the run", tag="P"), wrapped(3, "time had cut"))
    kubelet.write(wrapped(4, '{"msg":"as json","level":"warn","n":7}', "stderr"))
    kubelet.write(*(wrapped(10 + n, text, "stderr") for n, text in enumerate(TRACE)), wrapped(20, "after it"))
    arguments = [
        "ship",
        str(tmp_path / "log" / "containers" / "*.log"),
        "--to",
        server.url,
        "--multiline",
        "auto",
    ]
    agent = subprocess.Popen([*NEVE, *arguments, "--state", str(tmp_path / "state")])
    try:
        server.wait_for("service:e2econtainer", 5)
        old = kubelet.rotate()
        kubelet.write(wrapped(30, "in the next file"))
        server.wait_for("service:e2econtainer", 6)
        packed = old.with_name(f"{old.name}.gz")
        packed.write_bytes(gzip.compress(old.read_bytes()))
        os.unlink(old)
        kubelet.write(wrapped(40, "after packing"))
        server.wait_for("service:e2econtainer", 7)
    finally:
        agent.terminate()
        assert agent.wait(120) == 0
    found = server.search("service:e2econtainer", order="oldest")["events"]
    assert [one["message"] for one in found] == [
        "hello from a container",
        "a line that the runtime had cut",
        "as json",
        "\n".join(TRACE),
        "after it",
        "in the next file",
        "after packing",
    ]
    assert all(
        one["tags"]["k8s.pod.name"] == POD
        and one["tags"]["k8s.namespace.name"] == "prod"
        and one["tags"]["k8s.container.name"] == "e2econtainer"
        for one in found
    )
    assert [one["tags"]["log.iostream"] for one in found] == ["stdout", "stdout", "stderr", "stderr"] + [
        "stdout"
    ] * 3
    assert (found[2]["level"], found[2]["tags"]["n"]) == ("warn", "7")
    assert found[0]["timestamp"].endswith(".000000001Z"), "the runtime's time, where the line has none"


def test_any_file_is_unwrapped_where_that_is_asked_for(server: Server, neve: Run, tmp_path: Path) -> None:
    log = tmp_path / "mine.log"
    log.write_text(wrapped(5, "read by --container"))
    done = neve("ship", str(log), "--container", "--service", "e2ewrapped", "--to", server.url, "--once",
                "--state", str(tmp_path / "state"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    server.wait_for("service:e2ewrapped", 1)
    assert server.search("service:e2ewrapped")["events"][0]["message"] == "read by --container"
