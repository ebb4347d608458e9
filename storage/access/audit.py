"""The audit log: who did what, as events of the namespace `audit`, through the gateway as any others.

What is said is queued, and sent by a thread; a request never waits for it and never fails because of it. What finds no
room in the queue, or no gateway for too long, is lost, counted and said in the metrics and the log.
"""

from __future__ import annotations

import http.client
import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from storage.access.access import Shown
from storage.access.identity import AUDIT, Identity
from storage.access.keys import id_of
from storage.access.middleware import IDENTITY, SHOWN
from storage.errors import NeveError

log = logging.getLogger("neve.audit")
SERVICE = "neve"
WAITING = 10_000  # events; a few megabytes
BATCH = 500
PAUSE_SECONDS = 0.5
SEND_SECONDS = 10.0
REPEATED_SECONDS = 10.0  # refusals of one address for one reason within that are one event
MAX_REPEATED = 4096


class Audit:
    """Hands events over to a gateway. Thread-safe."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        """`address`: the path of the gateway's Unix socket; `headers`: by which it knows us."""
        self._address = address
        self._headers = {**headers, "content-type": "application/x-ndjson", "host": "neve"}
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._ended = threading.Event()
        self._repeated: dict[tuple[str, ...], tuple[float, int]] = {}
        self.written = 0
        self.lost = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, if the gateway takes it soon."""
        self._ended.set()
        if self._thread.is_alive():
            with suppress(queue.Full):  # then it is awake
                self._waiting.put_nowait(None)
            self._thread.join(PAUSE_SECONDS * 4)

    def say(self, action: str, level: str = "info", **facts: Any) -> None:
        """Write an event. Never waits; `facts` become its tags, those that are None or empty do not."""
        said = {key: value for key, value in facts.items() if value not in (None, "", [], ())}
        at = datetime.now(UTC).isoformat()
        event = {"time": at, "level": level, "msg": action, "host": socket.gethostname(), **said}
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._lose(1, "more happens than the gateway takes")

    def say_refused(self, address: str, code: str, **facts: Any) -> None:
        """Write that somebody was refused; who tries again and again is written down once in a while, with a count."""
        now, key = time.monotonic(), (address, code, str(facts.get("key", "")))
        since, count = self._repeated.get(key, (now, 0))
        if count and now - since < REPEATED_SECONDS:
            self._repeated[key] = (since, count + 1)
            return
        if len(self._repeated) >= MAX_REPEATED:
            self._repeated.clear()
        self._repeated[key] = (now, 1)
        self.say(
            "refused", "warn", address=address, code=code, repeated=count if count > 1 else None, **facts
        )

    def metrics(self, prefix: str) -> list[tuple[str, str, str, int]]:
        """Name, kind, help and number of what Prometheus reads."""
        return [
            (f"{prefix}audit_written_total", "counter", "audit events handed over", self.written),
            (f"{prefix}audit_lost_total", "counter", "audit events lost", self.lost),
        ]

    def _lose(self, count: int, why: str) -> None:
        if not self.lost:
            log.error("cannot write audit log: %s; events are lost, and counted in the metrics", why)
        self.lost += count

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            batch = [first] if first is not None else []
            while len(batch) < BATCH:
                try:
                    one = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if one is not None:
                    batch.append(one)
            self._deliver(batch)
            if self._ended.is_set() and self._waiting.empty():
                return

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        """Send until it is taken, or can never be. The same batch twice is stored once."""
        body = b"".join(
            json.dumps(one, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for one in batch
        )
        while batch:
            try:
                status = self._post(body)
            except (OSError, http.client.HTTPException):
                status = 0
            if 200 <= status < 300:
                self.written += len(batch)
                return
            if 400 <= status < 500 and status != 429:
                self._lose(len(batch), f"the gateway answered {status}")
                return
            if self._ended.wait(PAUSE_SECONDS):
                self._lose(len(batch), "the gateway does not answer, and this process ends")
                return

    def _post(self, body: bytes) -> int:
        connection = _UnixConnection(self._address)
        try:
            path = f"/api/v1/ingest?namespace={AUDIT}&service={SERVICE}"
            connection.request("POST", path, body, self._headers)
            return connection.getresponse().status
        finally:
            connection.close()


def who(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Who a request is from, as events have it."""
    identity: Identity | None = scope.get(IDENTITY)
    shown: Shown | None = scope.get(SHOWN)
    said: dict[str, Any] = {"address": shown.address if shown is not None else None}
    if identity is not None:
        said |= {"actor": identity.name, "actor_kind": identity.kind, "key": identity.key}
    return said


def refused(audit: Audit | None, scope: Mapping[str, Any], shown: Shown, error: NeveError) -> None:
    """Write down that somebody was refused before anything was looked at. The key's id alone is known of it."""
    if audit is not None and error.status in (401, 403):
        path = str(scope.get("path", ""))[:200]
        key = id_of(shown.key)
        audit.say_refused(
            shown.address, error.code, path=path, key=key, certificate=",".join(shown.certificates)
        )


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("neve", timeout=SEND_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
