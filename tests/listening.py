"""An ASGI app that listens on a port of its own, and a client of it."""

import threading
from typing import Any

import httpx
import uvicorn


class Listening(httpx.Client):
    """A gateway that listens on a port of its own while this is entered, and a client of it."""

    def __init__(self, app: Any, port: int = 0) -> None:
        self.app = app
        config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", ws="none")
        self.listening = config.bind_socket()
        self.listening.listen(64)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],))
        url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        super().__init__(base_url=url, trust_env=False, timeout=120)

    def __enter__(self) -> "Listening":
        self.thread.start()
        super().__enter__()
        self.get("/gateway/status")
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self.server.should_exit = True
        self.thread.join()
        self.listening.close()
