"""What a backup asks of the gateway beside it: to rest between two INSERTs for as long as tables are cloned."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import httpx

from ingest.holding import HOLD_SECONDS
from storage.errors import BackupFailed

ANSWER_SECONDS = 10.0


def connection(gateway: str, headers: Mapping[str, str]) -> httpx.Client:
    """To the socket of a gateway of this machine; `headers`: how it knows us."""
    return httpx.Client(
        base_url="http://neve",
        transport=httpx.HTTPTransport(uds=gateway),
        timeout=HOLD_SECONDS + ANSWER_SECONDS,
        headers=dict(headers),
    )


def name_of(gateway: str, headers: Mapping[str, str]) -> str:
    """As what it inserts. Raises BackupFailed."""
    with connection(gateway, headers) as http:
        try:
            return str(http.get("/gateway/status").raise_for_status().json()["inserter"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise BackupFailed(f"cannot ask the gateway: {type(error).__name__}") from None


class Held:
    """The gateway rests between two INSERTs while this context is open. Raises BackupFailed."""

    def __init__(self, gateway: str, headers: Mapping[str, str], without: Collection[int] = ()) -> None:
        """`gateway`: its socket; `without`: numbers of shards that are not copied, and may be away."""
        self._http = connection(gateway, headers)
        self._wish = {"seconds": HOLD_SECONDS, "without": sorted(without)}
        self._number = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Held:
        self._number = self._ask("/gateway/hold", self._wish)["hold"]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            kept = self._ask("/gateway/release", {"hold": self._number})["held"]
        finally:
            self._http.close()
        if kind is None and not kept:
            raise BackupFailed("cannot back up: the gateway went on while tables were cloned", "try again")

    def _renew(self) -> None:
        """Whether that has worked all the time is what the end of the hold says."""
        while not self._over.wait(HOLD_SECONDS / 4):
            with suppress(BackupFailed):
                self._ask("/gateway/hold", self._wish)

    def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self._http.post(path, json=dict(body))
            said: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BackupFailed(f"cannot hold the gateway: {type(error).__name__}") from None
        if not answer.is_success:
            raise BackupFailed(
                str(said.get("error", {}).get("message", f"cannot hold the gateway: {answer.status_code}"))
            )
        return said
