"""A real HTTP server that answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.server import free_port

LOST = 0
"""In place of a status: the request is taken, and the connection closed without an answer."""


class Server(ThreadingHTTPServer):
    """Answers each POST with the next of `script`, 200 after its end: (status, headers); LOST: not at all."""

    daemon_threads = True

    def __init__(self, *script: tuple[int, dict[str, str]], port: int = 0) -> None:
        super().__init__(
            ("127.0.0.1", port or free_port()), Handler
        )  # nobody else gets it when this one ends
        self.script = list(script)
        self.received: list[bytes] = []
        self.authorization: list[str] = []
        self.again: list[bool] = []  # whether each was said to have been sent before

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.server.again.append("neve-again" in self.headers)
        if "authorization" in self.headers:
            self.server.authorization.append(self.headers["authorization"])
        status, headers = self.server.script.pop(0) if self.server.script else (200, {})
        if status == LOST:
            self.close_connection = True
            return
        body = b'{"error":{"code":"x","message":"because","hint":""}}'
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


@contextmanager
def serving(*script: tuple[int, dict[str, str]], port: int = 0) -> Iterator[Server]:
    """A server that listens while this is entered."""
    with Server(*script, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
