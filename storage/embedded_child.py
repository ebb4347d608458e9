"""The program that is an embedded ClickHouse server; started by `embedded.py`, by path and not as a module.

    embedded_child.py DATA_DIR PARENT_PID BY_SIGNAL

BY_SIGNAL is 1 when the kernel shall kill this process as soon as the parent's thread that started it ends.

It loads the engine out of the chdb wheel without importing the package `chdb`, which would first start an
engine of its own in memory. Configuration comes from $HOME/.clickhouse-local/config.xml. It runs until it is
killed or its standard input, a pipe that the parent holds, comes to its end.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import select
import signal
import sys
import threading
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1

# Nothing ends this query but a signal; the listeners live as long as it runs.
SERVE = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
    "SELECT sleepEachRow(3) FROM numbers(1000000000) FORMAT Null "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0"
)


def die_with(parent: int, *, by_signal: bool) -> None:
    """Make this process end at once when its parent ends, however that ended."""
    if by_signal:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_watch_stdin, daemon=True).start()
    if os.getppid() != parent:  # it ended before the lines above took effect
        os._exit(1)


def _watch_stdin() -> None:
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLHUP)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def load_engine() -> Any:
    """The extension module `_chdb` of the installed wheel."""
    package = importlib.util.find_spec("chdb")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("cannot find package: chdb; install it with pip")
    for folder in package.submodule_search_locations:
        path = Path(folder) / "_chdb.abi3.so"
        if path.exists():
            loader = ExtensionFileLoader("_chdb", str(path))
            spec = importlib.util.spec_from_loader("_chdb", loader)
            assert spec is not None
            engine = importlib.util.module_from_spec(spec)
            loader.exec_module(engine)
            return engine
    raise SystemExit("cannot find clickhouse engine: _chdb.abi3.so; install chdb-core with pip")


def main(data_dir: str, parent: int, *, by_signal: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with(parent, by_signal=by_signal)
    # Another output format would become the default of HTTP answers, and clients' handshakes would fail.
    load_engine().query(SERVE, "TabSeparated", path=data_dir)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), by_signal=sys.argv[3] == "1")
