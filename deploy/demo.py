"""`make demo`: a server, the real logs of this machine, a live stream, and three searches.

Everything is kept in ./data. With DEMO_ONCE=1 it ends after the searches, else at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import corpus  # noqa: E402 - the checkout is not on the path before
from bench.server import NEVE, is_ready  # noqa: E402

DATA = ROOT / "data"
PORT = 8780
READY_SECONDS = 90
STREAM_LINES = 2000  # written at once, with times over the last quarter of an hour
STREAM_PAUSE_SECONDS = 0.05  # between live lines
JOURNAL_LINES = "20000"
MAX_FILE_BYTES = 256 << 20
SEARCHES = ["level:>=error", '"publickey for deploy"', "* | stats count() as lines by service"]


def say(text: str = "") -> None:
    print(text, flush=True)


def free_port() -> int:
    """The default port, or another where somebody has it."""
    for port in (PORT, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise SystemExit("demo: cannot find a free port; free one and try again")


def wait_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(base_url=url, trust_env=False) as client:
        while not is_ready(client):
            if server.poll() is not None:
                raise SystemExit("demo: the server ended; see data/logs")
            if time.monotonic() > deadline:
                raise SystemExit("demo: the server does not answer; see data/logs")
            time.sleep(0.1)


def log_files() -> list[Path]:
    """What the machine has in /var/log and can be read as text."""
    found = []
    for path in sorted(Path("/var/log").glob("**/*")):
        with contextlib.suppress(OSError):
            if path.is_file() and 0 < path.stat().st_size < MAX_FILE_BYTES and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    if b"\0" not in file.read(4096) and path.suffix not in (".gz", ".xz", ".zst"):
                        found.append(path)
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """(service, command) of what else tells this machine's story, line by line."""
    if shutil.which("journalctl"):
        yield "journal", ["journalctl", "--no-pager", "-q", "-o", "short-iso-precise", "-n", JOURNAL_LINES]
    if shutil.which("git"):
        yield "git", ["git", "-C", str(ROOT), "log", "--format=%cI commit %h: %s"]


def ship(url: str, *arguments: str, source: subprocess.Popen[bytes] | None = None) -> None:
    """Ship once, and wait until all is acknowledged."""
    command = [*NEVE, "ship", *arguments, "--once", "--to", url]
    subprocess.run(command, stdin=source.stdout if source else subprocess.DEVNULL, check=True)


def ship_machine(url: str) -> None:
    if files := log_files():
        say(f"shipping {len(files)} files of /var/log")
        ship(url, *map(str, files), "--state", str(DATA / "demo" / "varlog"))
    for service, command in commands():
        state = DATA / "demo" / service
        if state.exists():  # an earlier demo shipped it, and a pipe does not say where it was left
            continue
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
            say(f"shipping {service}")
            ship(url, "-", "--service", service, "--state", str(state), source=source)


def stamped(event: dict[str, object], seconds: float) -> str:
    """The event as a line of text of another time."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return corpus.text_line({**event, "timestamp": stamp}) + "\n"


def write_stream(path: Path) -> None:
    """A quarter of an hour of a made-up service."""
    now = time.time()
    with open(path, "a") as file:
        for i, event in enumerate(corpus.events(STREAM_LINES)):
            file.write(stamped(event, now - 900 * (1 - i / STREAM_LINES)))


def keep_streaming(path: Path, stop: threading.Event) -> None:
    with open(path, "a") as file:
        for event in cycle(corpus.events(100_000)):
            file.write(stamped(event, time.time()))
            file.flush()
            if stop.wait(STREAM_PAUSE_SECONDS):
                return


def show_searches(url: str) -> int:
    """Run the searches as a user would; how many had an answer."""
    answered = 0
    for query in SEARCHES:
        elsewhere = "" if url.endswith(f":{PORT}") else f" --url {url}"
        say(f"\n$ .venv/bin/neve search '{query}' --limit 5{elsewhere}")
        command = [*NEVE, "search", query, "--limit", "5", "--url", url]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        say(found.rstrip() or "(nothing)")
        answered += bool(found.strip())
    return answered


def main() -> int:
    once = bool(os.environ.get("DEMO_ONCE"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stream = DATA / "demo" / "stream.log"
    stream.parent.mkdir(parents=True, exist_ok=True)
    say(f"starting the server on {url}, data in {DATA}")
    server = subprocess.Popen([*NEVE, "serve", "--data", str(DATA), "--listen", f"127.0.0.1:{port}"])
    agent, stop = None, threading.Event()
    try:
        wait_ready(url, server)
        write_stream(stream)
        state = str(DATA / "demo" / "stream")
        ship(url, str(stream), "--service", "shop", "--state", state)
        ship_machine(url)
        answered = show_searches(url)
        say(f"\nthe page: {url}/    the API: {url}/docs")
        if once:
            return 0 if answered == len(SEARCHES) else 1
        agent = subprocess.Popen(
            [*NEVE, "ship", str(stream), "--service", "shop", "--state", state, "--to", url]
        )
        threading.Thread(target=keep_streaming, args=(stream, stop), daemon=True).start()
        say("a stream of lines is live; Ctrl-C ends the demo, the data stays")
        server.wait()
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        stop.set()
        for process in filter(None, (agent, server)):
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
