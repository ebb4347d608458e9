"""A process that cannot start says why in its last line, without a traceback."""

import socket
import subprocess
from pathlib import Path

from bench.server import NEVE
from storage.embedded import EmbeddedServer


def test_a_receiver_whose_address_is_taken(tmp_path: Path, clickhouse: EmbeddedServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "neve.toml"
        config.write_text(f'clickhouse = "{clickhouse.config.url()}"\n[receivers]\notlp_grpc = "{address}"\n')
        done = subprocess.run(
            [*NEVE, "serve", "--role", "gateway", "--data", str(tmp_path / "data"), "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"neve: cannot listen on {address} for otlp_grpc: ")
    assert "Traceback" not in done.stderr
