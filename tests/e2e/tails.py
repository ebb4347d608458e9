"""A viewer of a live tail, for tests: reads in a thread, waits for what it is told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from query.client import Told, told

SECONDS = 180.0


class Tail:
    """One connection. For a with statement; `last_id` goes on after an event."""

    def __init__(self, url: str, query: str, last_id: str = "") -> None:
        self.url = url
        self.query = query
        self.last_id = last_id
        self.told: list[Told] = []
        self.counts: Counter[str] = Counter()  # of what was told, by kind
        self.going = threading.Event()  # cleared, nothing is read
        self.going.set()
        self.changed = threading.Condition()
        self._begin()

    def _begin(self) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        self.status = 0
        self.over = False
        self.thread = threading.Thread(target=self._read, daemon=True)

    def _lines(self) -> Iterator[str]:
        headers = {"last-event-id": self.last_id} if self.last_id else {}
        self.connection.request("GET", "/api/v1/tail?" + urlencode({"q": self.query}), headers=headers)
        self.socket = self.connection.sock
        answer = self.connection.getresponse()
        self.status = answer.status
        with answer:
            while self.going.wait() and (line := answer.readline()):
                yield line.decode().rstrip("\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for one in told(self._lines()):
                with self.changed:
                    self.last_id = one.id or self.last_id
                    self.told.append(one)
                    self.counts[one.kind] += 1
                    self.changed.notify_all()
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def __enter__(self) -> Tail:
        """Comes again where the server does not take it: it is busy, or a part of it starts."""
        deadline = time.monotonic() + SECONDS
        while True:
            self.thread.start()
            assert self.wait(lambda: bool(self.told) or self.over)
            if self.status == 200:
                return self
            self.connection.close()
            assert time.monotonic() < deadline, self.status
            time.sleep(0.05)
            self._begin()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.going.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(60)
        self.connection.close()

    def wait(self, until: Callable[[], bool], seconds: float = SECONDS) -> bool:
        with self.changed:
            return bool(self.changed.wait_for(until, seconds))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(one.data) for one in self.told if one.kind == "log"]

    def messages(self) -> list[str]:
        return [event["message"] for event in self.events()]

    def gaps(self) -> list[dict[str, Any]]:
        return [json.loads(one.data) for one in self.told if one.kind == "gap"]

    def wait_for(self, events: int, seconds: float = SECONDS) -> list[str]:
        """Messages, once there are so many."""
        assert self.wait(lambda: self.counts["log"] >= events or self.over, seconds), self.told[-3:]
        return self.messages()
