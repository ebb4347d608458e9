"""Clients that ask at a rate, whatever the answers take: `python -m bench.search_clients JOB.json`, for `bench.search`.

Prints one JSON object: latencies in ms from the moment that a search was due, so that a slow server can't slow the
questions down; failures by status; and the CPU seconds that the clients took.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

LATE_START_SECONDS = 0.3


class Clients:
    """So many threads, each with a connection; the next search is whoever's turn comes first."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.asked: list[Any] = job["asked"]
        self.rate: float = job["rate"]
        self.address = urlsplit(job["url"])
        self.took: list[float] = []
        self.failed: Counter[str] = Counter()
        self._next = 0
        self._lock = threading.Lock()
        self._begun = time.monotonic() + LATE_START_SECONDS
        self._threads = [threading.Thread(target=self._work) for _ in range(job["clients"])]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _turn(self) -> int | None:
        with self._lock:
            turn = self._next
            self._next += 1
        return turn if turn < len(self.asked) else None

    def _work(self) -> None:
        assert self.address.hostname is not None
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=60)
        while (turn := self._turn()) is not None:
            path, parameters, low, high = self.asked[turn]
            due = self._begun + turn / self.rate
            time.sleep(max(0.0, due - time.monotonic()))
            connection.request("GET", f"{path}?{urlencode({**parameters, 'from': low, 'to': high})}")
            reply = connection.getresponse()
            reply.read()
            took = (time.monotonic() - due) * 1000
            with self._lock:
                if reply.status == 200:
                    self.took.append(took)
                else:
                    self.failed[str(reply.status)] += 1
        connection.close()

    def figures(self) -> dict[str, Any]:
        ranked = sorted(self.took)
        seconds = time.monotonic() - self._begun
        return {
            "per_s": len(ranked) / seconds,
            "p50_ms": ranked[len(ranked) // 2] if ranked else None,
            "p99_ms": ranked[len(ranked) * 99 // 100] if ranked else None,
            "failed": sum(self.failed.values()),
            "clients_cpu_s": time.process_time(),
        }


def main() -> int:
    clients = Clients(json.loads(Path(sys.argv[1]).read_text()))
    clients.run()
    print(json.dumps(clients.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
