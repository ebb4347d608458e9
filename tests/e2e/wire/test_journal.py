"""systemd's journal, a file made for the test: by its own uploader, unmodified, and by the agent over kills."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.guarded import patiently
from tests.e2e.wire.conftest import Place, running
from tests.pages import blocks

REMOTE, UPLOAD = Path("/lib/systemd/systemd-journal-remote"), Path("/lib/systemd/systemd-journal-upload")
NEVE = [sys.executable, "-m", "neve"]
BOOT = "0123456789abcdef0123456789abcdef"
SECOND = 1_700_000_000

pytestmark = pytest.mark.skipif(
    not (REMOTE.exists() and UPLOAD.exists() and shutil.which("journalctl")),
    reason="needs systemd and systemd-journal-remote",
)


def export(unit: str, numbers: range) -> bytes:
    """Entries as journalctl exports them; every third message has a newline, and so is binary."""
    data = b""
    for n in numbers:
        text = f"entry {n}"
        if n % 3 == 0:
            text += "\nmore"
        message = f"MESSAGE={text}\n".encode()
        if "\n" in text:
            message = b"MESSAGE\n" + len(text).to_bytes(8, "little") + text.encode() + b"\n"
        data += (
            (
                f"__CURSOR=s={BOOT};i={n:x};b={BOOT};m={n:x};t={n:x};x={n:x}\n__REALTIME_TIMESTAMP={SECOND}{n:06}\n"
                f"__MONOTONIC_TIMESTAMP={n}\n_BOOT_ID={BOOT}\n_MACHINE_ID={BOOT}\n_HOSTNAME=jh\n_PID=7\nPRIORITY=4\n"
                f"SYSLOG_FACILITY=3\n_SYSTEMD_UNIT={unit}.service\nORDER_ID=o{n}\n"
            ).encode()
            + message
            + b"\n"
        )
    return data


def write(folder: Path, unit: str, numbers: range) -> None:
    """Append to a journal file."""
    command = [str(REMOTE), "-o", str(folder / "remote.journal"), "-"]
    subprocess.run(command, input=export(unit, numbers), check=True, capture_output=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def test_the_uploader(wire: Place, journal: Path, tmp_path: Path) -> None:
    (page,) = blocks("ingest/journald.md", "ini")
    said = configparser.ConfigParser()
    said.read_string(page.replace("http://127.0.0.1:8780", wire.server.url))
    write(journal, "uploaded", range(1, 101))
    state = tmp_path / "state"
    command = [str(UPLOAD), "-u", said["Upload"]["URL"], f"--file={journal}/remote.journal", "--follow=no"]

    def upload() -> bool | None:  # systemd starts it again where it gives up, as on a 429
        done = subprocess.run(
            [*command, f"--save-state={state}"], capture_output=True, text=True, check=False
        )
        print(done.stderr)
        return done.returncode == 0 or None

    for _ in range(2):  # as after an answer that was lost: its place was not kept
        patiently(upload)
        state.unlink()
    events = wire.events("service:uploaded", 100)
    assert [one["message"] for one in events[:3]] == ["entry 1", "entry 2", "entry 3\nmore"]
    assert events[0]["timestamp"] == "2023-11-14T22:13:20.000001000Z"
    assert {(one["level"], one["host"]) for one in events} == {("warn", "jh")}
    assert events[0]["tags"] == {
        "boot_id": BOOT,
        "machine_id": BOOT,
        "order_id": "o1",
        "pid": "7",
        "syslog.facility": "daemon",
        "systemd_unit": "uploaded.service",
    }


def test_the_agent_over_kills(wire: Place, journal: Path, tmp_path: Path) -> None:
    lines = [shlex.split(line, comments=True) for line in blocks("ingest/journald.md", "sh")[0].splitlines()]
    assert all(words[:3] == ["neve", "ship", "--journal"] for words in lines)
    ship = [*NEVE, *lines[0][1:], "--journal-directory", str(journal), "--to", wire.server.url]
    ship += ["--state", str(tmp_path / "state"), "--tag", "rack=r1"]
    write(journal, "agent", range(1, 1001))
    for last in (1000, 1300, 1600):
        with running(ship) as process:
            wire.server.wait_for("service:agent", last)
            write(journal, "agent", range(last + 1, last + 301))
            process.kill()  # wherever it is with these
    done = subprocess.run([*ship, "--once"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    wire.server.wait_for("service:agent", 1900)
    rows = wire.server.search("service:agent rack:r1 | stats count() as n by order_id | limit 10000")["rows"]
    assert sorted(rows) == sorted([f"o{n}", 1] for n in range(1, 1901))


def test_units(wire: Place, journal: Path, tmp_path: Path) -> None:
    for unit in ("unit-a", "unit-b", "unit-c"):
        write(journal, unit, range(1, 11))
    ship = [
        *NEVE,
        "ship",
        "--journal",
        "--journal-directory",
        str(journal),
        "--to",
        wire.server.url,
        "--once",
    ]
    ship += ["--state", str(tmp_path / "state"), "--unit", "unit-a", "--unit", "unit-b"]
    for _ in range(2):
        done = subprocess.run(ship, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
    wire.server.wait_for("service:unit-*", 20)


def test_what_is_asked_wrongly_is_said(wire: Place, tmp_path: Path) -> None:
    del wire
    for words, why in (
        ([], "name files, -, or give --journal"),
        (["--unit", "a", "x.log"], "give --journal"),
        (["--journal", "--journal-directory", str(tmp_path / "none")], "give a folder"),
    ):
        done = subprocess.run([*NEVE, "ship", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert why in done.stderr


def test_requests_that_no_uploader_sends(wire: Place) -> None:
    client, kind = wire.server.client, {"content-type": "application/vnd.fdo.journal"}
    good = export("odd", range(1, 4))
    assert client.post("/upload", content=good).status_code == 415

    def refuse() -> httpx.Response | None:
        answer = client.post("/upload", content=good + b"A\n\xff", headers=kind)
        return None if answer.status_code == 429 else answer  # what others sent is still waiting

    refused = patiently(refuse)
    assert refused.status_code == 400
    assert wire.counter("requests_refused_journal") >= 1
    assert re.search("after 3 entries", refused.json()["error"]["message"])
    assert patiently(
        lambda: (
            client.post("/upload", content=iter([good[:100], good[100:]]), headers=kind).text == "OK.\n"
            or None
        )
    )
    assert client.post("/upload", content=b"", headers=kind).status_code == 202
    wire.server.wait_for("service:odd", 3)
